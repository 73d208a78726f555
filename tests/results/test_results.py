"""Raw result files: format, resume, and the record of the run that made them."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lib.datasets.sequence import Dataset, Video
from lib.results.files import (
    RUN_FILE,
    ResultsFolder,
    RunRecord,
    SequenceResult,
    check_run_record,
    claim_folder,
    hash_data,
    read_column,
    read_results,
    read_run_record,
    write_column,
    write_results,
)
from lib.utils.errors import DataError, ResultsError
from tests.helpers.memory_set import MemoryFrames

BOXES = np.array([[1.0, 2.0, 3.0, 4.0], [-1.9, 2.999, 3.5, 0.1], [1e6, 0.0, 7.0, 8.0]])
BOX = (1.0, 2.0, 3.0, 4.0)
RECORD = RunRecord(
    tracker="seqtrack",
    config_name="seqtrack_b256",
    settings={"TEST.WINDOW": True},
    checkpoint_sha256="a" * 64,
    dataset="lasot",
    source="data/lasot",
    version="0.1.0",
)


@pytest.fixture
def folder(tmp_path: Path) -> ResultsFolder:
    return ResultsFolder(tmp_path / "lasot")


def result(rows: int = 3, confidences: bool = True) -> SequenceResult:
    return SequenceResult(
        boxes=BOXES[:rows],
        times=np.full(rows, 0.0123456789),
        confidences=np.full(rows, 0.5) if confidences else None,
    )


def test_boxes_are_cut_toward_zero_and_tab_separated(tmp_path: Path) -> None:
    write_results(tmp_path / "new" / "s.txt", BOXES)
    text = (tmp_path / "new" / "s.txt").read_bytes()
    assert text == b"1\t2\t3\t4\n-1\t2\t3\t0\n1000000\t0\t7\t8\n"


def test_float_results_keep_decimals(tmp_path: Path) -> None:
    write_results(tmp_path / "s.txt", BOXES / 3, as_float=True)
    np.testing.assert_allclose(read_results(tmp_path / "s.txt"), BOXES / 3, atol=5e-7)


@pytest.mark.parametrize(
    "boxes",
    [
        pytest.param([[1.0, 2.0, np.nan, 4.0]], id="nan"),
        pytest.param([[1.0, 2.0, np.inf, 4.0]], id="infinite"),
        pytest.param([1.0, 2.0, 3.0, 4.0], id="one flat row"),
        pytest.param([[1.0, 2.0, 3.0]], id="three columns"),
    ],
)
def test_only_finite_boxes_are_written(tmp_path: Path, boxes: list) -> None:
    with pytest.raises(ResultsError, match=r"s\.txt: box"):
        write_results(tmp_path / "s.txt", np.array(boxes))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("", "s.txt: the file is empty", id="empty"),
        pytest.param("1\t2\t3\t4\nx\t2\t3\t4\n", "s.txt:2: ", id="letters"),
        pytest.param("1\t2\t3\t4\n1\t2\t3\n", "s.txt:2: 3 values", id="columns"),
        pytest.param("1\t2\t3\tnan\n", "s.txt:1: NaN", id="nan"),
        pytest.param("1;2;3;4\n", "s.txt:1: ", id="semicolons"),
    ],
)
def test_malformed_results_name_file_and_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "s.txt"
    path.write_text(text)
    with pytest.raises(ResultsError) as caught:
        read_results(path)
    assert message in str(caught.value)
    assert str(caught.value).startswith(str(path))


def test_missing_results_name_the_file(tmp_path: Path) -> None:
    with pytest.raises(ResultsError, match=r"s\.txt: file not found"):
        read_results(tmp_path / "s.txt")


@pytest.mark.parametrize("separator", ["\t", ",", " ", ", "])
def test_results_of_others_are_read(tmp_path: Path, separator: str) -> None:
    text = "\r\n".join(separator.join(map(str, row)) for row in BOXES.tolist())
    (tmp_path / "s.txt").write_bytes(text.encode())
    np.testing.assert_array_equal(read_results(tmp_path / "s.txt"), BOXES)


def test_times_have_one_number_per_line(tmp_path: Path) -> None:
    write_column(tmp_path / "t.txt", [0.5, 1 / 3])
    assert (tmp_path / "t.txt").read_text() == "0.500000\n0.333333\n"


def test_a_column_has_a_number_for_each_row(tmp_path: Path) -> None:
    path = tmp_path / "t.txt"
    path.write_text("0.5\ninf\n-2\nx\n")
    nan = float("nan")
    np.testing.assert_array_equal(read_column(path, 3), [0.5, nan, -2.0])
    np.testing.assert_array_equal(read_column(path, 1), [0.5])
    with pytest.raises(ResultsError, match=r"t\.txt:4: 'x' is not a number"):
        read_column(path, 4)
    path.write_text("0.5\n-inf\n")
    np.testing.assert_array_equal(read_column(path, 4), [0.5, nan, nan, nan])
    path.write_bytes(b"1\n\xff\n")
    with pytest.raises(ResultsError, match=r"not a text file \(byte 2\)"):
        read_column(path, 1)
    with pytest.raises(ResultsError, match=r"none\.txt: cannot be read"):
        read_column(tmp_path / "none.txt", 1)


def test_the_first_box_that_is_not_finite_is_named(tmp_path: Path) -> None:
    boxes = BOXES.copy()
    boxes[1, 3], boxes[2, 0] = np.inf, np.nan
    with pytest.raises(ResultsError, match="box of frame 1 is not finite"):
        write_results(tmp_path / "s.txt", boxes)


def test_folder_writes_three_files(folder: ResultsFolder) -> None:
    folder.write("s", result())
    assert sorted(path.name for path in folder.root.iterdir()) == [
        "s.txt",
        "s_confidence.txt",
        "s_time.txt",
    ]
    assert folder.time_file("s").read_text() == "0.012346\n" * 3


def test_confidences_of_an_earlier_run_do_not_stay(folder: ResultsFolder) -> None:
    folder.write("s", result())
    folder.write("s", result(confidences=False))
    assert not folder.confidence_file("s").exists()


def test_lengths_must_agree(folder: ResultsFolder) -> None:
    with pytest.raises(ResultsError, match="2 times for 3 boxes"):
        folder.write("s", dataclasses.replace(result(), times=np.zeros(2)))
    with pytest.raises(ResultsError, match="1 confidences for 3 boxes"):
        folder.write("s", dataclasses.replace(result(), confidences=np.zeros(1)))


@pytest.mark.parametrize(
    ("text", "complete"),
    [
        pytest.param("1\t2\t3\t4\n" * 3, True, id="as many rows as frames"),
        pytest.param("1\t2\t3\t4\n" * 2, False, id="too few rows"),
        pytest.param("1\t2\t3\t4\n" * 4, False, id="too many rows"),
        pytest.param("1\t2\t3\t4\n" * 2 + "1\t2\n", False, id="cut off in the last row"),
        pytest.param("", False, id="empty"),
        pytest.param(None, False, id="missing"),
    ],
)
def test_resume_goes_by_rows(folder: ResultsFolder, text: str | None, complete: bool) -> None:
    folder.root.mkdir()
    if text is not None:
        folder.boxes_file("s").write_text(text)
    assert folder.is_complete("s", 3) is complete


def test_first_run_claims_the_folder(folder: ResultsFolder) -> None:
    check_run_record(folder, RECORD)
    assert not folder.root.exists()
    claim_folder(folder, RECORD)
    assert read_run_record(folder.root / RUN_FILE) == dataclasses.asdict(RECORD)


def test_same_run_goes_on(folder: ResultsFolder) -> None:
    claim_folder(folder, RECORD)
    folder.write("s", result())
    check_run_record(folder, dataclasses.replace(RECORD, version="0.2.0"))
    claim_folder(folder, RECORD)
    assert folder.is_complete("s", 3)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"checkpoint_sha256": "b" * 64}, id="other weights"),
        pytest.param({"settings": {"TEST.WINDOW": False}}, id="other configuration"),
        pytest.param({"source": "elsewhere"}, id="other data"),
        pytest.param({"max_frames": 5}, id="other limit"),
        pytest.param({"float_results": True}, id="other format"),
    ],
)
def test_another_run_stops_and_is_overwritten_on_request(
    folder: ResultsFolder, change: dict[str, Any]
) -> None:
    claim_folder(folder, RECORD)
    folder.write("s", result())
    other = dataclasses.replace(RECORD, **change)  # type: ignore[arg-type]
    with pytest.raises(ResultsError) as caught:
        check_run_record(folder, other)
    message = str(caught.value)
    named = (*change.get("settings", change), "--overwrite", "--runid", RUN_FILE)
    assert all(word in message for word in named)
    assert "tracker was" not in message
    assert folder.is_complete("s", 3)

    with pytest.raises(ResultsError):
        claim_folder(folder, other)
    assert folder.is_complete("s", 3)
    claim_folder(folder, other, overwrite=True)
    assert [path.name for path in folder.root.iterdir()] == [RUN_FILE]
    assert read_run_record(folder.root / RUN_FILE) == dataclasses.asdict(other)


MOVED = {"source": "other/disk"}


@pytest.mark.parametrize(
    ("before", "now", "same"),
    [
        pytest.param({"data_sha256": "d"}, {"data_sha256": "d", **MOVED}, True, id="it moved"),
        pytest.param({"data_sha256": "d"}, {"data_sha256": "e"}, True, id="a sequence was added"),
        pytest.param({"data_sha256": "d"}, {"data_sha256": "e", **MOVED}, False, id="other data"),
        pytest.param({}, {"data_sha256": "e"}, True, id="an old record"),
        pytest.param({}, {"data_sha256": "e", **MOVED}, False, id="an old record elsewhere"),
        pytest.param(
            {},
            {"data_sha256": "e", "benchmark": True, **MOVED},
            True,
            id="a benchmark with an old record",
        ),
        pytest.param(
            {"data_sha256": "d", "benchmark": True},
            {"data_sha256": "e", "benchmark": True, **MOVED},
            False,
            id="another list of sequences",
        ),
    ],
)
def test_data_may_move_but_not_be_other_data(
    folder: ResultsFolder, before: dict[str, Any], now: dict[str, Any], same: bool
) -> None:
    old = dataclasses.replace(RECORD, **before)
    claim_folder(folder, old)
    folder.write("s", result())
    if not before:  # as versions wrote it that knew neither key
        known = read_run_record(folder.root / RUN_FILE)
        del known["data_sha256"], known["benchmark"]
        (folder.root / RUN_FILE).write_text(json.dumps(known))
    new = dataclasses.replace(RECORD, **now)
    if same:
        check_run_record(folder, new)
        claim_folder(folder, dataclasses.replace(new, version="0.9.9"))
        known = read_run_record(folder.root / RUN_FILE)
        assert (known["source"], known["data_sha256"]) == (new.source, new.data_sha256)
        assert known["version"] == "0.1.0", "what made the results that are there"
        check_run_record(folder, dataclasses.replace(new, source="a third disk"))
    else:
        with pytest.raises(ResultsError, match=r"source was 'data/lasot' and is now 'other/disk'"):
            check_run_record(folder, new)
    assert folder.is_complete("s", 3)


def test_a_setting_that_another_version_added_says_nothing(folder: ResultsFolder) -> None:
    claim_folder(folder, RECORD)
    folder.write("s", result())
    settings = {**RECORD.settings, "TEST.NEW": 3}
    check_run_record(folder, dataclasses.replace(RECORD, settings=settings))


def test_boxes_in_the_place_of_another_ones_times_are_found(folder: ResultsFolder) -> None:
    assert folder.clashes(["x", "x_time", "y_confidence", "z"]) == {"x_time": "x"}


def test_a_record_without_results_stops_nobody(folder: ResultsFolder) -> None:
    other = dataclasses.replace(RECORD, max_frames=5)
    claim_folder(folder, other)
    check_run_record(folder, RECORD)
    claim_folder(folder, RECORD)
    assert read_run_record(folder.root / RUN_FILE) == dataclasses.asdict(RECORD)


def test_results_of_unknown_origin_stop_the_run(folder: ResultsFolder) -> None:
    folder.write("s", result())
    with pytest.raises(ResultsError, match=r"no run\.json"):
        check_run_record(folder, RECORD)
    claim_folder(folder, RECORD, overwrite=True)
    assert not folder.is_complete("s", 3)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(b"{\n,", r"run\.json:2: not valid JSON", id="not json"),
        pytest.param(b"[]", r"run\.json: expected a JSON object, found list", id="list"),
        pytest.param(b"\xff\xfe", r"run\.json: not a text file", id="binary"),
    ],
)
def test_broken_record_is_named(folder: ResultsFolder, content: bytes, message: str) -> None:
    folder.root.mkdir()
    (folder.root / RUN_FILE).write_bytes(content)
    with pytest.raises(ResultsError, match=message):
        read_run_record(folder.root / RUN_FILE)
    folder.write("s", result())
    with pytest.raises(ResultsError, match=message + r".*--overwrite"):
        check_run_record(folder, RECORD)
    claim_folder(folder, RECORD, overwrite=True)
    assert json.loads((folder.root / RUN_FILE).read_text())["dataset"] == "lasot"


def data(**videos: tuple[int, tuple[float, ...]]) -> Dataset:
    """A data set of videos with so many frames and such a first box; 0 frames cannot be loaded."""

    def load(name: str) -> Video:
        frames, box = videos[name]
        if not frames:
            raise DataError(f"{name}: no frames")
        return Video(name, MemoryFrames(name, frames), np.array([box, (9.0,) * 4]))

    return Dataset("d", "d", "DEFAULT", "otb", "data/d", tuple(videos), load)


def test_data_is_told_from_other_data_of_its_name() -> None:
    known = hash_data(data(a=(3, BOX), b=(4, BOX)), False)
    assert known == hash_data(data(a=(3, BOX), b=(4, BOX)), False)
    others = [
        data(a=(3, BOX), b=(5, BOX)),
        data(a=(3, BOX), b=(4, (1.0, 2.0, 3.0, 5.0))),
        data(a=(4, BOX), b=(3, BOX)),
        data(b=(4, BOX), a=(3, BOX)),
        data(a=(3, BOX), b=(0, BOX)),
        data(a=(3, BOX), c=(4, BOX)),
        data(a=(3, BOX)),
    ]
    found = {known, *(hash_data(one, False) for one in others)}
    assert len(found) == len(others) + 1


def test_a_benchmark_is_told_by_its_list_alone() -> None:
    known = hash_data(data(a=(3, BOX), b=(4, BOX)), True)
    assert known == hash_data(data(a=(0, BOX), b=(5, BOX)), True)
    assert known != hash_data(data(a=(3, BOX)), True)
    assert known != hash_data(data(a=(3, BOX), b=(4, BOX)), False)
