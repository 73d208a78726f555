"""Regions of VOT and the measures on them, against the kit's oracle and the toolkit's numbers."""

import itertools
import json
from pathlib import Path

import numpy as np
import pytest

from lib.utils.errors import DataError, ResultsError
from lib.vot.evaluate import read_analysis
from lib.vot.regions import (
    Region,
    mask,
    overlap,
    parse_region,
    read_regions,
    rectangle,
    special,
)
from lib.vot.score import measure, score_tracker
from lib.vot.sequences import VotSequence
from tests.helpers.vot_setup import (
    kit_script,
    make_sequences,
    mini_stack,
    write_regions,
    write_static_results,
)

WIDTH, HEIGHT = 40, 30
SQUARE = mask(3, 4, np.ones((5, 6), bool))


@pytest.fixture(scope="module")
def oracle():
    return kit_script("check_eao")


def random_regions(count: int) -> list[str]:
    """Texts of boxes and masks, partly outside the image, some of them empty."""
    rng = np.random.default_rng(3)
    encode = kit_script("make_dataset").mask_to_vot
    texts = []
    for i in range(count):
        if i % 2:
            x, y = rng.uniform(-10, 30, 2)
            w, h = rng.uniform(3, 25, 2)
            texts.append(f"{x:.2f},{y:.2f},{w:.2f},{h:.2f}")
        else:
            pixels = (rng.random((HEIGHT, WIDTH)) < rng.uniform(0.01, 0.9)).astype(np.uint8)
            texts.append(encode(pixels))
    return texts


def test_overlap_agrees_with_the_painted_regions(oracle) -> None:
    texts = random_regions(24)
    for first, second in itertools.product(texts, texts):
        painted = (oracle.paint(oracle.parse(text), WIDTH, HEIGHT) for text in (first, second))
        found = overlap(parse_region(first), parse_region(second), WIDTH, HEIGHT)
        assert found == pytest.approx(oracle.iou(*painted), abs=1e-15), (first, second)


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        pytest.param(rectangle(0, 0, 4, 4), rectangle(2, 0, 4, 4), 8 / 24, id="half"),
        pytest.param(rectangle(0.5, 0, 4, 4), rectangle(0, 0, 4, 4), 1.0, id="half to even"),
        pytest.param(rectangle(1.5, 0, 4, 4), rectangle(2, 0, 4, 4), 1.0, id="half to even, up"),
        pytest.param(rectangle(0, 0, 9, 9), special(1), 0.0, id="special"),
        pytest.param(special(0), special(0), 1.0, id="two specials"),
        pytest.param(rectangle(-5, 0, 10, 4), rectangle(0, 0, 5, 4), 1.0, id="cut by the image"),
        pytest.param(rectangle(50, 0, 9, 9), rectangle(50, 0, 9, 9), 0.0, id="outside"),
        pytest.param(rectangle(5, 5, 1, 9), rectangle(5, 5, 1, 9), 1.0, id="one column"),
        pytest.param(SQUARE, rectangle(3, 4, 6, 5), 1.0, id="mask and its box"),
        pytest.param(SQUARE, mask(0, 0, np.zeros((3, 3), bool)), 0.0, id="empty mask"),
    ],
)
def test_rules_at_the_edges(first: Region, second: Region, expected: float) -> None:
    assert overlap(first, second, WIDTH, HEIGHT) == pytest.approx(expected)
    assert overlap(second, first, WIDTH, HEIGHT) == pytest.approx(expected)


def test_binary_and_text_say_the_same(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).random((9, 12)) < 0.4
    pixels[0, 0] = True
    write_regions(tmp_path / "a.bin", [1, (2.5, 3.0, 7.25, 4.0), pixels, np.zeros((2, 2))])
    text = kit_script("make_dataset").mask_to_vot(pixels.astype(np.uint8))
    (tmp_path / "a.txt").write_text(f"1\n2.5,3,7.25,4\n{text}\nm0,0,0,0,0\n")
    for one, other in zip(
        read_regions(tmp_path / "a.bin"), read_regions(tmp_path / "a.txt"), strict=True
    ):
        assert (one.bounds, one.code) == (other.bounds, other.code)
        assert one.is_empty == other.is_empty
        assert np.array_equal(one.pixels, other.pixels) or one.pixels is other.pixels


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        pytest.param("a.bin", b"", "cut short after 0", id="empty"),
        pytest.param("a.bin", b"\x01\0\x02\0\0\0\0\x01\0\0\0\x01\0\0", "after 1 reg", id="cut"),
        pytest.param("a.bin", b"\x02\0\0\0\0\0", "version 2", id="version"),
        pytest.param("a.bin", b"\x01\0\x01\0\0\0\x07", "of type 7", id="type"),
        pytest.param("a.txt", b"1\n3,4,x,5\n", "a.txt:2", id="word"),
        pytest.param("a.txt", b"1,2,3,4,5,6\n", "polygon", id="polygon"),
        pytest.param("a.txt", b"m0,0,2,2,9\n", "do not fit", id="runs too long"),
    ],
)
def test_malformed_files_are_named(tmp_path: Path, name: str, content: bytes, says: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=says):
        read_regions(tmp_path / name)


def test_a_box_that_is_not_finite_is_refused(tmp_path: Path) -> None:
    """To the toolkit it overlaps with everything."""
    write_regions(tmp_path / "a.bin", [1, (1.0, float("nan"), 2.0, 2.0)])
    with pytest.raises(DataError, match="not finite"):
        read_regions(tmp_path / "a.bin")


def test_failure_needs_ten_frames_with_a_target() -> None:
    here, gone = rectangle(5, 5, 10, 10), rectangle(25, 15, 10, 10)
    truth = [here] * 30
    lost = measure([here] * 5 + [gone] * 9 + [here] * 4 + [gone] * 12, truth, WIDTH, HEIGHT)
    assert lost.progress == 18, "nine are forgiven, ten are not"
    absent = [*truth[:18], *[special(0)] * 12]
    kept = measure([here] * 18 + [gone] * 12, absent, WIDTH, HEIGHT)
    assert not kept.failed


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        # Of vot-toolkit 0.7.4, recorded in the specification.
        pytest.param("mask", (0.2617, 0.3924, 0.3712, 0.1245), id="masks as truth"),
        pytest.param("box", (0.2739, 0.3924, 0.3874, None), id="boxes as truth"),
    ],
)
def test_scores_of_the_toolkit(tmp_path: Path, kind: str, expected: tuple, oracle, capsys) -> None:
    sequences = make_sequences(tmp_path / "sequences", kind)
    experiments = mini_stack().experiments
    results = tmp_path / "results" / "static"
    write_static_results(results, experiments, sequences)
    baseline, realtime, unsupervised = score_tracker(results, experiments, sequences)
    found = (baseline.eao, baseline.accuracy, baseline.robustness, unsupervised.accuracy)
    for value, recorded in zip(found, expected, strict=True):
        assert recorded is None or value == pytest.approx(recorded, abs=5e-5)
    assert (realtime.eao, realtime.accuracy) == (baseline.eao, baseline.accuracy)
    assert unsupervised.eao is None and unsupervised.robustness is None
    oracle.main(str(tmp_path), "static", 10, 40)
    words = capsys.readouterr().out.split()
    digits = (float(words[2]), float(words[4]), float(words[6]))
    assert found[:3] == pytest.approx(digits, abs=1e-10)


def test_missing_and_foreign_results(tmp_path: Path) -> None:
    sequences = make_sequences(tmp_path / "sequences")
    experiments = mini_stack().experiments[:1]
    results = tmp_path / "results" / "static"
    write_static_results(results, experiments, sequences)
    path = results / "baseline/slowdisc/slowdisc_00000030.bin"
    path.unlink()
    with pytest.raises(ResultsError, match=r"1 of 9 runs are missing.*slowdisc_00000030"):
        score_tracker(results, experiments, sequences)
    write_regions(path, [1, (1.0, 1.0, 9.0, 9.0)])
    with pytest.raises(ResultsError, match="2 regions for a run of 30 frames"):
        score_tracker(results, experiments, sequences)


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        pytest.param(lambda s: (s / "anchor.value").unlink(), "anchor.value: not found", id="none"),
        pytest.param(lambda s: (s / "anchor.value").write_text("0\n"), "no anchor", id="all 0"),
        pytest.param(lambda s: (s / "anchor.value").write_text("a\n"), "not a number", id="word"),
        pytest.param(lambda s: (s / "sequence").unlink(), "sequence: not found", id="no facts"),
        pytest.param(lambda s: (s / "groundtruth.txt").unlink(), "not found", id="no truth"),
    ],
)
def test_sequences_that_cannot_be_scored(tmp_path: Path, spoil, says: str) -> None:
    make_sequences(tmp_path)
    spoil(tmp_path / "slowdisc")
    with pytest.raises(DataError, match=says):
        VotSequence(tmp_path / "slowdisc").runs(mini_stack().experiments[0])


def test_order_and_direction_of_runs(tmp_path: Path) -> None:
    short = make_sequences(tmp_path)[2]
    baseline, _, unsupervised = mini_stack().experiments
    runs = {run.stem: list(run.frames) for run in short.runs(baseline)}
    assert list(runs) == [f"shortsquare_{i:08d}" for i in (0, 20, 39)]
    assert runs["shortsquare_00000020"] == list(range(20, -1, -1))
    assert [run.stem for run in short.runs(unsupervised)] == ["shortsquare_001"]


@pytest.mark.parametrize(
    ("kind", "results", "expected"),
    [
        pytest.param("MultiStart", [[0.3], [0.6, 0.7]], {"EAO": 0.3, "A": 0.6, "R": 0.7}, id="VOT"),
        pytest.param("Unsupervised", [[0.6]], {"A": 0.6}, id="VOT without anchors"),
        pytest.param(
            "Unsupervised", [[0.5], [0.7, 0.8]], {"Q": 0.5, "A": 0.7, "R": 0.8}, id="VOTS, DiDi"
        ),
    ],
)
def test_a_lone_number_is_an_eao_with_anchors_only(
    tmp_path: Path, kind: str, results: list[list[float]], expected: dict[str, float]
) -> None:
    """As the toolkit writes it: a list of numbers by analysis, then by tracker."""
    part = {"type": f"vot.experiment.{kind}Experiment", "results": [[one] for one in results]}
    content = {"trackers": {"mine": {}}, "results": {"baseline": part}}
    (tmp_path / "latest.json").write_text(json.dumps(content))
    assert read_analysis(tmp_path / "latest.json") == {"mine": {"baseline": expected}}
