"""Raw results in the forms that people publish: found by sequence, whatever they are called."""

from pathlib import Path

import pytest

from lib.datasets.sequence import Dataset
from lib.results.find import ResultFiles, results_below, spelling_key
from lib.utils.errors import ResultsError


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("1,2,3,4\n")
    return folder


def dataset(*names: str, name: str = "otb", results_folder: str = "otb") -> Dataset:
    return Dataset(name, results_folder, "DEFAULT", "otb", "here", names, lambda name: None)  # type: ignore[arg-type,return-value]


@pytest.mark.parametrize(
    ("files", "sequence", "found"),
    [
        pytest.param(["a.txt", "a_time.txt"], "a", ["a.txt"], id="flat"),
        pytest.param(
            ["G_1/G_1_001.txt", "G_1/G_1_time.txt"], "G_1", ["G_1/G_1_001.txt"], id="GOT-10k"
        ),
        pytest.param(
            ["G/G_002.txt", "G/G_001.txt", "G/G_003.txt"],
            "G",
            ["G/G_001.txt", "G/G_002.txt", "G/G_003.txt"],
            id="repetitions in order",
        ),
        pytest.param(["G_001.txt", "G_time.txt"], "G", ["G_001.txt"], id="GOT-10k, flat"),
        pytest.param(["a.txt", "a_001.txt"], "a", ["a.txt"], id="the exact name wins"),
        pytest.param(["Jogging-1.txt"], "Jogging_1", ["Jogging-1.txt"], id="dash"),
        pytest.param(["Jogging.1.txt"], "Jogging_1", ["Jogging.1.txt"], id="dot"),
        pytest.param(["basketball.txt"], "Basketball", ["basketball.txt"], id="case"),
        pytest.param(["bike1.txt"], "uav_bike1", ["bike1.txt"], id="prefix is left out"),
        pytest.param(["nfs_Gymnastics.txt"], "Gymnastics", ["nfs_Gymnastics.txt"], id="or added"),
        pytest.param(
            ["Human4-2/Human4-2_001.txt"],
            "Human4_2",
            ["Human4-2/Human4-2_001.txt"],
            id="folder spelled otherwise",
        ),
        pytest.param(["b.txt", "a_time.txt", "a.csv"], "a", [], id="none"),
    ],
)
def test_files_of_a_sequence(
    tmp_path: Path, files: list[str], sequence: str, found: list[str]
) -> None:
    result = ResultFiles(touch(tmp_path, *files), [sequence]).of(sequence)
    assert result == [tmp_path / name for name in found]


def test_a_sequence_is_no_repetition_of_another(tmp_path: Path) -> None:
    files = ResultFiles(touch(tmp_path, "ball_001.txt"), ["ball", "ball_001"])
    assert files.of("ball") == []
    assert files.of("ball_001") == [tmp_path / "ball_001.txt"]
    other = ResultFiles(touch(tmp_path / "b", "Jogging-1.txt"), ["Jogging_1", "Jogging-1"])
    assert other.of("Jogging_1") == [], "that file is the other sequence's"


def test_two_candidates_are_not_guessed_between(tmp_path: Path) -> None:
    files = ResultFiles(touch(tmp_path, "Jogging-1.txt", "Jogging.1.txt"), ["Jogging_1"])
    with pytest.raises(ResultsError, match=r"both Jogging-1\.txt and Jogging\.1\.txt could be"):
        files.of("Jogging_1")


def test_hint_names_what_may_have_been_meant(tmp_path: Path) -> None:
    touch(tmp_path, "Basketbal.txt", "Bolt_time.txt", "Car4.txt")
    files = ResultFiles(tmp_path, ["Basketball", "Bolt", "Car4"])
    assert files.hint("Basketball") == "; did you mean 'Basketbal'?"
    assert files.hint("Bolt") == "", "times are no boxes, and Car4 has its own"
    assert ResultFiles(tmp_path / "none", ["a"]).hint("a") == ""
    assert ResultFiles(tmp_path / "none", ["a"]).of("a") == []


@pytest.mark.parametrize(
    ("file", "shown"),
    [
        pytest.param("clip1.csv", "clip1.csv", id="another suffix"),
        pytest.param("results_clip1.txt", "results_clip1.txt", id="a prefix"),
        pytest.param("CLIP1_bbox.txt", "CLIP1_bbox.txt", id="an ending"),
        pytest.param("clip1/boxes.txt", "clip1/", id="a folder of something else"),
        pytest.param("clip12.txt", "", id="the file of another sequence"),
        pytest.param("clip1_2.csv", "", id="another sequence spelled otherwise"),
        pytest.param("clip1_time.csv", "", id="times are no boxes"),
    ],
)
def test_a_missing_file_under_another_suffix_or_prefix(
    tmp_path: Path, file: str, shown: str
) -> None:
    files = ResultFiles(touch(tmp_path, file), ["clip1", "clip12", "clip1-2"])
    assert files.hint("clip1") == (f"; there is {shown}" if shown else "")


@pytest.mark.parametrize(
    ("names", "seen"),
    [
        pytest.param(["a.csv", "b.csv", "c.csv"], "there are a.csv, b.csv and 1 more", id="csv"),
        pytest.param(["tracker_a.txt"], "there is tracker_a.txt", id="prefix"),
        pytest.param(["raw/a.txt", "run.json"], "there is raw/", id="a folder further down"),
        pytest.param(["run.json", "a_time.txt"], "nothing like results is there", id="nothing"),
    ],
)
def test_what_lies_there_is_said(tmp_path: Path, names: list[str], seen: str) -> None:
    with pytest.raises(ResultsError, match=rf"and so on there and in otb/; {seen}$"):
        results_below(touch(tmp_path, *names), dataset("a", "b", "c"))
    inner = touch(tmp_path / "top" / "otb", *names).parent
    with pytest.raises(ResultsError, match=rf"; {seen}$"):
        results_below(inner, dataset("a", "b", "c"))


@pytest.mark.parametrize(
    ("file", "where"),
    [
        pytest.param("Bolt.txt", "", id="the folder itself"),
        pytest.param("otb/Bolt.txt", "otb", id="one for each data set, as ours"),
        pytest.param("OTB100/Bolt.txt", "OTB100", id="another name of it"),
        pytest.param("OTB100/Bolt/Bolt_001.txt", "OTB100", id="GOT-10k's toolkit"),
    ],
)
def test_folder_of_a_data_set(tmp_path: Path, file: str, where: str) -> None:
    touch(tmp_path, file)
    assert results_below(tmp_path, dataset("Bolt"), ("otb100",)) == tmp_path / where


def test_folder_without_results_says_what_was_looked_for(tmp_path: Path) -> None:
    touch(tmp_path, "lasot/airplane-1.txt")
    with pytest.raises(ResultsError, match=r"no results on otb; looked for Bolt\.txt, Bolt/Bolt_"):
        results_below(tmp_path, dataset("Bolt"))
    with pytest.raises(ResultsError, match="no such folder"):
        results_below(tmp_path / "none", dataset("Bolt"))
    with pytest.raises(ResultsError, match="not a folder"):
        results_below(tmp_path / "lasot" / "airplane-1.txt", dataset("Bolt"))


def test_keys_keep_different_sequences_apart() -> None:
    names = ["Jogging_1", "Jogging_2", "Human4_2", "Human4", "uav_bird1_1", "uav_bird1_2"]
    assert len({spelling_key(name) for name in names}) == len(names)
