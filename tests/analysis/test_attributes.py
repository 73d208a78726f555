"""Attributes of sequences: what ships, what is read from data sets, and the scores by them."""

from pathlib import Path

import numpy as np
import pytest

from lib.analysis.attributes import MEANINGS, read_attributes, score_attributes
from lib.analysis.frames import TrackedSequence
from lib.analysis.metrics import score_dataset
from lib.datasets.benchmarks.folder import open_folder
from lib.datasets.sequence import Dataset, Video
from lib.datasets.sequence_files import packaged_names
from lib.utils.errors import DataError
from tests.helpers.dataset_files import write_otb, write_text


def never(name: str) -> Video:
    raise AssertionError(f"{name} was loaded for its attributes")


def dataset(name: str, source: Path, names: tuple[str, ...]) -> Dataset:
    return Dataset(name, name, "DEFAULT", "otb", str(source), names, never)


def test_lasot_ships(tmp_path: Path) -> None:
    names = tuple(packaged_names("lasot_test.txt"))
    found = read_attributes(dataset("lasot", tmp_path, names))
    assert len(found.names) == 14 and set(found.names) <= set(MEANINGS)
    assert tuple(found.by_sequence) == names
    assert found.by_sequence["airplane-1"] == ("POC", "ROT", "SV", "LR")
    assert "airplane-9" in found.sequences("IV") and "airplane-1" not in found.sequences("IV")
    assert all(found.sequences(one) for one in found.names)


def test_some_of_lasot_in_a_folder_of_any_name(tmp_path: Path) -> None:
    found = read_attributes(dataset("mine", tmp_path, ("bear-17", "airplane-1")))
    assert list(found.by_sequence) == ["bear-17", "airplane-1"]


@pytest.mark.parametrize(
    ("name", "folder", "file", "sequence", "line", "expected"),
    [
        pytest.param(
            "uav",
            "anno/UAV123/att",
            "bike1.txt",
            "uav_bike1",
            "1,0,0,0,0,0,0,0,0,0,0,1\n",
            ("SV", "SOB"),
            id="UAV123",
        ),
        pytest.param(
            "uav20l",
            "anno/UAV20L/att",
            "bike1.txt",
            "bike1",
            "0,1,0,0,0,0,0,0,0,0,1,0\n",
            ("ARC", "CM"),
            id="UAV20L",
        ),
        pytest.param(
            "otb",
            "anno/att",
            "Jogging-1.txt",
            "Jogging_1",
            "0,1,0,1,0,0,0,0,0,0,0\r\n",
            ("OPR", "OCC"),
            id="OTB, spelled with a dash",
        ),
        pytest.param(
            "dtb70",
            "att",
            "Animal2.txt",
            "Animal2",
            "1,1,0,0,0,0,0,0,0,1,0\n",
            ("SV", "ARV", "SOA"),
            id="DTB70",
        ),
        pytest.param(
            "visdrone_sot",
            "attributes",
            "uav0000011_00000_s_attr.txt",
            "uav0000011_00000_s",
            "0,0,1,1,1,0,0,0,1,1,1,1\n",
            ("CM", "FM", "FOC", "POC", "SOB", "SV", "VC"),
            id="VisDrone, with an ending",
        ),
        pytest.param(
            "lasot_extension_subset",
            "att",
            "atv-1.txt",
            "atv-1",
            "0,0,0,0,1,0,0,0,0,0,0,0,0,1\n",
            ("CM", "ARC"),
            id="LaSOT extension",
        ),
    ],
)
def test_files_of_the_benchmarks(
    tmp_path: Path, name: str, folder: str, file: str, sequence: str, line: str, expected: tuple
) -> None:
    write_text(tmp_path / folder / file, line)
    found = read_attributes(dataset(name, tmp_path, (sequence,)))
    assert found.by_sequence == {sequence: expected}
    assert found.source == str(tmp_path / folder)
    write_text(tmp_path / folder / file, "0,1\n")
    with pytest.raises(DataError, match=rf"{file}:1: 2 values, expected 1[124]"):
        read_attributes(dataset(name, tmp_path, (sequence,)))
    (tmp_path / folder / file).unlink()
    with pytest.raises(DataError, match="file not found"):
        read_attributes(dataset(name, tmp_path, (sequence,)))


def test_any_folder_can_have_its_own(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_otb(tmp_path / "videos" / name)
    own = tmp_path / "videos" / "attributes.csv"
    write_text(own, "sequence,night,rain\nb,1,1\nextra,0,1\na,0,1\n")
    found = read_attributes(open_folder(tmp_path / "videos"))
    assert found.names == ("night", "rain")
    assert found.by_sequence == {"a": ("rain",), "b": ("night", "rain")}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("", ":1: the header is ''", id="empty"),
        pytest.param("name,IV\na,1\n", ":1: the header is 'name,IV'", id="other header"),
        pytest.param("sequence,IV,IV\na,1,1\n", ":1: the header", id="a name twice"),
        pytest.param("sequence,IV\na,2\n", ":2: 'a,2' is not", id="not 0 or 1"),
        pytest.param("sequence,IV\na,1\nb\n", ":3: 'b' is not", id="a value is missing"),
        pytest.param("sequence,IV\na,1\n", "no line for sequence b .1 of 2", id="a line is"),
    ],
)
def test_wrong_tables_name_the_line(tmp_path: Path, text: str, message: str) -> None:
    write_text(tmp_path / "attributes.csv", text)
    with pytest.raises(DataError, match=r"attributes\.csv.*" + message) as caught:
        read_attributes(dataset("videos", tmp_path, ("a", "b")))
    assert "\n" not in str(caught.value)


def test_without_any_it_says_where_it_looked(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"otb: no attributes .* attributes\.csv, att/, anno/att/"):
        read_attributes(dataset("otb", tmp_path, ("Basketball",)))


def test_scores_are_means_over_the_sequences_that_share_it(tmp_path: Path) -> None:
    box, far = (20.0, 30.0, 40.0, 50.0), (500.0, 500.0, 40.0, 50.0)

    def track(name: str, hits: int) -> TrackedSequence:
        rows = [box] * hits + [far] * (4 - hits)
        return TrackedSequence(name, np.array([box] * 4), np.array(rows))

    score = score_dataset([track("a", 4), track("b", 2), track("c", 1)], "otb")
    write_text(tmp_path / "attributes.csv", "sequence,X,Y,Z\na,1,0,0\nb,1,1,0\nc,0,1,0\n")
    attributes = read_attributes(dataset("videos", tmp_path, ("a", "b", "c")))
    found = score_attributes(score, attributes)
    assert {name: one.percentages()["OP50"] for name, one in found.items()} == {"X": 75, "Y": 37.5}
