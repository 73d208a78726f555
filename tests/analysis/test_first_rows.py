"""Raw results in another form than x, y, w, h: told from the first row, which everybody knows."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from lib.analysis.compare import OddFirstRow, first_rows_caution, odd_first_row
from lib.analysis.frames import TrackedSequence
from lib.commands.entry import run
from lib.datasets.text.box_reading import CENTRES, CORNERS, SHARES
from tests.helpers.report_files import SIZE, World, truth_of

GIVEN = (40.0, 30.0, 24.0, 20.0)

Row = tuple[float, float, float, float]


def odd(row: Row, given: Row = GIVEN) -> OddFirstRow | None:
    rows = np.array([row, (1, 1, 1, 1)], dtype=np.float64)
    return odd_first_row(TrackedSequence("clip", np.array([given] * 2), rows))


@pytest.mark.parametrize(
    ("row", "reading"),
    [
        pytest.param((40, 30, 64, 50), CORNERS, id="corners"),
        pytest.param((41, 31, 64, 50), CORNERS, id="corners from 1, the last pixel inside"),
        pytest.param((52, 40, 24, 20), CENTRES, id="centre"),
        pytest.param((0.25, 0.25, 0.15, 0.1667), SHARES, id="shares"),
        pytest.param((0.25, 0.25, 0.4, 0.4167), SHARES, id="corners in shares"),
        pytest.param((0.325, 0.3333, 0.15, 0.1667), SHARES, id="YOLO"),
        pytest.param((100, 80, 24, 20), "", id="another target"),
        pytest.param((0, 0, 0, 0), SHARES, id="nothing"),
    ],
)
def test_a_first_row_that_is_another_box(row: Row, reading: str) -> None:
    found = odd(row)
    assert found is not None
    line = first_rows_caution([found], 1)
    assert line.startswith(
        "in 1 of 1 sequences the first row is not the given box, as in clip: "
        f"({', '.join(f'{value:g}' for value in row)}), not (40, 30, 24, 20); "
    )
    assert reading in line and line.endswith("are they of other data?")


@pytest.mark.parametrize(
    ("row", "given"),
    [
        pytest.param(GIVEN, GIVEN, id="the given box"),
        pytest.param((40, 30, 24, 20), (40.9, 30.7, 24.5, 20.99), id="cut to whole pixels"),
        pytest.param((39, 29, 24, 20), GIVEN, id="counted from 0"),
        pytest.param((41, 31, 25, 21), GIVEN, id="counted from 1, the last pixel added"),
        pytest.param((44, 33, 20, 18), GIVEN, id="the tracker's own idea of it"),
        pytest.param((0, 0, 24, 20), (0, 0, 24, 20), id="corners and sizes are the same there"),
        pytest.param((0, 1, 1, 1), (0.3, 1.2, 1.4, 1.1), id="a speck in the corner"),
        pytest.param((np.nan,) * 4, GIVEN, id="no box"),
        pytest.param((40, 30, 64, 50), (np.nan,) * 4, id="no truth"),
        pytest.param((40, 30, 64, 50), (40, 30, 0, 0), id="empty truth"),
    ],
)
def test_no_reason_to_warn(row: Row, given: Row) -> None:
    assert odd(row, given) is None


def test_runs_of_a_sequence_count_once() -> None:
    rows = [one for one in (odd((40, 30, 64, 50)), odd((41, 31, 64, 50))) if one]
    assert first_rows_caution(rows, 9).startswith("in 1 of 9 sequences ")


def corners(boxes: np.ndarray) -> np.ndarray:
    return np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)


def centred(boxes: np.ndarray) -> np.ndarray:
    return np.concatenate([boxes[:, :2] + boxes[:, 2:] / 2, boxes[:, 2:]], axis=1)


def shares(boxes: np.ndarray) -> np.ndarray:
    return boxes / [*SIZE, *SIZE]


@pytest.mark.parametrize(
    ("written", "reading"),
    [(corners, CORNERS), (centred, CENTRES), (shares, SHARES), (np.floor, "")],
    ids=["corners", "centre", "shares", "whole pixels"],
)
def test_results_are_scored_as_asked_with_a_warning(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    written: Callable[[np.ndarray], np.ndarray],
    reading: str,
) -> None:
    world = World(tmp_path, ("one", "two"))
    (tmp_path / "raw").mkdir()
    for place, name in enumerate(world.names):
        rows = written(truth_of(place))
        np.savetxt(tmp_path / "raw" / f"{name}.txt", rows, delimiter=",", fmt="%.6f")
    words = ["--results", f"theirs={tmp_path / 'raw'}", "--dataset", str(world.data)]
    words += ["--save_dir", str(world.save)]
    assert run("lib.commands.analyze", words) == 0
    shown = capsys.readouterr()
    line = "theirs: in 2 of 2 sequences the first row is not the given box"
    assert (line in shown.out) == (line in shown.err) == bool(reading)
    assert reading in shown.out
    assert run("lib.commands.analyze", [*words, "--strict"]) == (2 if reading else 0)
