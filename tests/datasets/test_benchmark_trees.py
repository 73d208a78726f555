"""Every benchmark in its real layout: read, tracked, and scored or handed to its server."""

import inspect
import json
import pickle
from pathlib import Path

import numpy as np
import pytest

from lib.analysis.conventions import KINDS
from lib.commands.entry import run
from lib.datasets.benchmarks.layout import Row
from lib.datasets.benchmarks.open import CATALOG, find_row, open_dataset
from lib.datasets.sequence import Dataset, Video
from lib.utils.errors import DataError
from tests.helpers.benchmark_files import NFS_FRAMES, WRITERS, rows, vatic_rows
from tests.helpers.dataset_files import paths_of, write_text
from tests.helpers.tiny import TINY_YAML


def read(data: Path, name: str) -> tuple[Dataset, dict[str, Video]]:
    """Write a benchmark, open it, and load what was written."""
    tree = WRITERS[name](data)
    dataset = open_dataset(name, paths_of(data))
    return dataset, {one: dataset.load(one) for one in tree.sequences}


def levels(sequence: Video) -> list[int]:
    """Grey level of every frame divided by 10: the position in the folder that it came from."""
    return [round(float(sequence.frames.read(i).mean()) / 10) for i in range(len(sequence.frames))]


def test_there_is_a_tree_of_every_row() -> None:
    assert [row.name for row in CATALOG if row.folder] == list(WRITERS)


@pytest.mark.parametrize("name", WRITERS)
def test_read(tmp_path: Path, name: str) -> None:
    dataset, sequences = read(tmp_path, name)
    row = find_row(name)
    assert row is not None and dataset.update_key == name.upper()
    there = [one for one in dataset.sequence_names if one in sequences]
    assert there == list(sequences)
    for sequence in pickle.loads(pickle.dumps(list(sequences.values()))):
        first, last = (sequence.frames.read(i) for i in (0, len(sequence) - 1))
        assert first.shape == last.shape == (24, 32, 3)
        boxes = 1 if row.first_box_only else len(sequence)
        assert sequence.ground_truth.shape == (boxes, 4)
        assert (sequence.visible is None) or len(sequence.visible) == len(sequence)


@pytest.mark.parametrize("name", WRITERS)
def test_tracked_and_scored(tmp_path: Path, name: str, capsys: pytest.CaptureFixture) -> None:
    """From the command line, as people do it; results lie where other tools expect them."""
    tree = WRITERS[name](tmp_path)
    row = find_row(name)
    assert row is not None
    options = ["--dataset", name, "--data_dir", str(tmp_path), "--save_dir", str(tmp_path)]
    for sequence in tree.sequences:
        argv = ["static_box", "default", f"--sequence={sequence}", *options]
        assert run("lib.commands.test", argv) == 0, capsys.readouterr().err
    folder = tmp_path / "test/tracking_results/static_box/default" / row.results_folder
    assert {path.stem for path in folder.glob("*.txt") if not path.stem.endswith("_time")} == set(
        tree.sequences
    )
    argv = ["static_box", "default", "--skip-missing", *options]
    code = run("lib.commands.analyze", argv)
    printed = capsys.readouterr()
    if row.server:
        assert code == 2 and "evaluation server" in printed.err
        return
    assert code == 0, printed.err
    assert row.protocol in KINDS
    scores = json.loads((tmp_path / "test/analysis" / f"{name}.json").read_text())
    assert "static_box/default" in json.dumps(scores)


def test_tracked_by_a_network(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """A data set with sub-ranges goes through the network, and its raw results fit the frames."""
    WRITERS["otb"](tmp_path)
    write_text(tmp_path / "tiny.yaml", TINY_YAML)
    argv = ["--config", str(tmp_path / "tiny.yaml"), "--checkpoint", "random", "--device", "cpu"]
    argv += ["--dataset", "OTB100", "--data_dir", str(tmp_path), "--save_dir", str(tmp_path)]
    assert run("lib.commands.test", [*argv, "--sequence", "Football1"]) == 0
    folder = tmp_path / "test/tracking_results/seqtrack/tiny/otb"
    assert len((folder / "Football1.txt").read_text().splitlines()) == 74
    argv = ["--config", "tiny", "--dataset", "otb", "--skip-missing"]
    argv += ["--data_dir", str(tmp_path), "--save_dir", str(tmp_path)]
    assert run("lib.commands.analyze", argv) == 0, capsys.readouterr().err


@pytest.mark.parametrize(
    ("typed", "name"),
    [
        ("LaSOT", "lasot"),
        ("lasot_ext", "lasot_extension_subset"),
        ("LaSOT-ext", "lasot_extension_subset"),
        ("uav123", "uav"),
        ("UAV20L", "uav20l"),
        ("OTB100", "otb"),
        ("otb2015", "otb"),
        ("TC128CE", "tc128ce"),
        ("GOT-10k_val", "got10k_val"),
        ("NFS", "nfs"),
        ("VisDrone2018", "visdrone_sot"),
        ("TREK-150", "trek150"),
        ("LaTOT", "latot"),
        ("DiDi", "didi"),
    ],
)
def test_names_that_people_type(typed: str, name: str) -> None:
    row = find_row(typed)
    assert row is not None and row.name == name


def test_part_of_a_name_is_no_name() -> None:
    assert find_row("got10k") is None  # val or test?
    assert find_row("vot2020") is None


# --- The odd things, one by one ---------------------------------------------------------------


def test_trackingnet_frames_are_sorted_as_numbers(tmp_path: Path) -> None:
    _, sequences = read(tmp_path, "trackingnet")
    names = [Path(sequences["-abc_0"].frames.describe(i)).name for i in range(12)]
    assert names == [f"{i}.jpg" for i in range(12)]


def test_lists_do_not_depend_on_the_order_of_a_folder(tmp_path: Path) -> None:
    dataset, _ = read(tmp_path, "trackingnet")
    assert dataset.sequence_names == ("-abc_0", "EoallCLchmo_0")
    (tmp_path / "trackingnet/TEST/anno/._EoallCLchmo_0.txt").touch()  # of macOS
    assert len(open_dataset("trackingnet", paths_of(tmp_path))) == 2


def test_tnl2k_mixes_formats_and_marks_absence_by_empty_boxes(tmp_path: Path) -> None:
    _, sequences = read(tmp_path, "tnl2k")
    sequence = sequences["Assian_video_Z03_done"]
    assert [Path(sequence.frames.describe(i)).suffix for i in range(4)] == [
        ".png",
        ".jpg",
        ".png",
        ".jpg",
    ]
    assert levels(sequence) == [0, 1, 2, 3]
    assert sequence.ground_truth[2].tolist() == [0, 0, 0, 0]
    assert sequence.visible is None  # its rules use the boxes


def test_tnl2k_known_broken_frame_shows_the_one_before(tmp_path: Path) -> None:
    _, sequences = read(tmp_path, "tnl2k")
    sequence = sequences["test_015_Sord_video_Q01_done"]
    assert Path(sequence.frames.describe(5)).name == "00492.png"
    assert levels(sequence) == [0, 1, 2, 3, 4, 4, 6, 7, 8]


def test_tnl2k_other_broken_frames_are_errors(tmp_path: Path) -> None:
    _, sequences = read(tmp_path, "tnl2k")
    for one, index, file in (
        ("test_015_Sord_video_Q01_done", 2, "00489.png"),
        ("Assian_video_Z03_done", 1, "00002.jpg"),
    ):
        (tmp_path / "tnl2k" / one / "imgs" / file).write_bytes(b"broken")
        with pytest.raises(DataError, match=file.replace(".", r"\.")):
            sequences[one].frames.read(index)


def test_lasot_absence_is_either_flag(tmp_path: Path) -> None:
    for name in ("lasot", "lasot_extension_subset", "avist"):
        _, sequences = read(tmp_path, name)
        sequence = next(iter(sequences.values()))
        hidden = [2, 4] if name == "avist" else [2, 3]
        assert sequence.visible is not None
        assert np.flatnonzero(~sequence.visible).tolist() == hidden


def test_vasttrack_row_of_zeros_is_absent(tmp_path: Path) -> None:
    _, sequences = read(tmp_path, "vasttrack")
    for sequence in sequences.values():
        assert sequence.visible is not None
        assert sequence.visible.tolist() == [True, True, False, True, True]


def test_vasttrack_zero_coordinates_alone_are_not_absent(tmp_path: Path) -> None:
    WRITERS["vasttrack"](tmp_path)
    file = tmp_path / "vasttrack/test/Zebra/Zebra-2/groundtruth.txt"
    write_text(file, "1,2,3,4\n0,0,5,5\n0,0,0,0\n0,7,0,0\n1,1,1,1\n")
    visible = open_dataset("vasttrack", paths_of(tmp_path)).load("Zebra-2").visible
    assert visible is not None and visible.tolist() == [True, True, False, True, True]


def test_vasttrack_root_may_be_the_test_split_itself(tmp_path: Path) -> None:
    WRITERS["vasttrack"](tmp_path)
    (tmp_path / "vasttrack/test").rename(tmp_path / "elsewhere")
    (tmp_path / "vasttrack").rmdir()
    (tmp_path / "elsewhere").rename(tmp_path / "vasttrack")
    assert len(open_dataset("vasttrack", paths_of(tmp_path)).load("Zebra-2")) == 5


def test_trek150_frames_without_the_target_are_flagged(tmp_path: Path) -> None:
    _, sequences = read(tmp_path, "trek150")
    sequence = sequences["P03-P03_02-558"]
    assert sequence.visible is not None
    assert sequence.visible.tolist() == [True, True, False, True, True]
    names = [Path(sequence.frames.describe(i)).name for i in (0, 2)]
    assert names == ["frame_0000009998.jpg", "frame_0000010000.jpg"]


def test_didi_nan_is_an_empty_box_that_is_flagged(tmp_path: Path) -> None:
    _, sequences = read(tmp_path, "didi")
    sequence = sequences["LaSOT_bird-2"]
    assert sequence.visible is not None
    assert np.flatnonzero(~sequence.visible).tolist() == [3]
    assert sequence.ground_truth[3].tolist() == [0, 0, 0, 0]


def test_didi_in_a_workspace_of_the_toolkit_is_found(tmp_path: Path) -> None:
    WRITERS["didi"](tmp_path / "elsewhere")
    (tmp_path / "didi").mkdir()
    (tmp_path / "elsewhere/didi").rename(tmp_path / "didi/sequences")
    with pytest.raises(DataError, match=r"they lie in .*didi/sequences: give that folder"):
        open_dataset("didi", paths_of(tmp_path))


def test_didi_with_masks_is_refused_in_words(tmp_path: Path) -> None:
    dataset, _ = read(tmp_path, "didi")
    write_text(tmp_path / "didi/LaSOT_bird-2/groundtruth.txt", "m2,3,2,2,0,4\n" * 5)
    with pytest.raises(DataError, match=r"groundtruth\.txt:1: this is a mask"):
        dataset.load("LaSOT_bird-2")


def test_latot_leaves_its_training_part_out(tmp_path: Path) -> None:
    dataset, _ = read(tmp_path, "latot")
    assert len(dataset) == 165 and "car33-1" not in dataset.sequence_names
    assert (tmp_path / "LaTOT/car33-1/img").is_dir()


def test_uavdt_is_read_as_trackers_have_it_and_as_it_is_downloaded(tmp_path: Path) -> None:
    _, sequences = read(tmp_path, "uavdt")
    root = tmp_path / "UAVDT"
    for name, annotation in (
        ("S0101", "anno/S0101_gt.txt"),
        ("S0601", "annotations/S0601_gt.txt"),
        ("S1702", "UAV-benchmark-SOT_v1.0/anno/S1702_gt.txt"),
    ):
        assert sequences[name].annotation == str(root / annotation)
        assert Path(sequences[name].frames.describe(0)).name == "img000001.jpg"


def test_uavdt_without_its_second_archive_says_what_is_missing(tmp_path: Path) -> None:
    """The archive of frames has no annotation."""
    dataset, _ = read(tmp_path, "uavdt")
    (tmp_path / "UAVDT/UAV-benchmark-SOT_v1.0/anno/S1702_gt.txt").unlink()
    with pytest.raises(DataError, match=r"S1702_gt\.txt: file not found, nor anno/S1702_gt\.txt"):
        dataset.load("S1702")


def test_uav_part_of_a_video(tmp_path: Path) -> None:
    _, sequences = read(tmp_path, "uav")
    part = sequences["uav_person8_2"]
    assert len(part) == len(part.ground_truth) == 451
    assert Path(part.frames.describe(0)).name == "001075.jpg"
    assert Path(part.frames.describe(450)).name == "001525.jpg"
    assert np.isnan(part.ground_truth[5]).all() and part.visible is None


def test_uav_neighbour_without_annotation_fails_alone(tmp_path: Path) -> None:
    dataset, _ = read(tmp_path, "uav")
    with pytest.raises(DataError, match=r"person8_1\.txt: file not found"):
        dataset.load("uav_person8_1")


def test_tc128_frames_file_gives_the_range(tmp_path: Path) -> None:
    _, sequences = read(tmp_path, "tc128")
    frames = sequences["Bolt"].frames
    assert [Path(frames.describe(i)).name for i in (0, 6)] == ["0003.jpg", "0009.jpg"]
    assert len(frames) == 7


@pytest.mark.parametrize("text", ["", "1", "1,2,3", "a,b", "5,1", "1.0,5"])
def test_tc128_malformed_frames_file(tmp_path: Path, text: str) -> None:
    dataset, _ = read(tmp_path, "tc128")
    write_text(tmp_path / "TC128/Bolt/Bolt_frames.txt", text)
    with pytest.raises(DataError, match=r"Bolt_frames\.txt"):
        dataset.load("Bolt")


def test_tc128_two_annotations_are_not_guessed_from(tmp_path: Path) -> None:
    dataset, _ = read(tmp_path, "tc128")
    write_text(tmp_path / "TC128/Bolt/Bolt2_gt.txt", rows(7))
    with pytest.raises(DataError, match=r"\*_gt\.txt: 2 files .*expected one"):
        dataset.load("Bolt")


def test_tc128ce_is_the_part_of_that_name(tmp_path: Path) -> None:
    dataset, _ = read(tmp_path, "tc128ce")
    assert dataset.sequence_names == ("Ball_ce1",)
    assert (dataset.protocol, dataset.results_folder) == ("tc128", "tc128ce")


def test_itb_videos_of_one_name_are_refused(tmp_path: Path) -> None:
    WRITERS["itb"](tmp_path)
    (tmp_path / "itb/Cartoon/kick").mkdir()
    with pytest.raises(DataError, match="Cartoon/kick and Sport/kick are both called 'kick'"):
        open_dataset("itb", paths_of(tmp_path))


def test_got10k_labels_that_are_known_to_be_short_say_so(tmp_path: Path) -> None:
    tree = WRITERS["got10k_val"](tmp_path)
    root = tmp_path / tree.folder
    (root / tree.sequences[1]).rename(root / "GOT-10k_Val_000175")
    write_text(root / "list.txt", "GOT-10k_Val_000001\nGOT-10k_Val_000175\n")
    write_text(root / "GOT-10k_Val_000175/cover.label", "8\n8\n")
    dataset = open_dataset("got10k_val", paths_of(tmp_path))
    with pytest.raises(DataError, match=r"cover\.label: 2 flags, expected 5 .*original archive"):
        dataset.load("GOT-10k_Val_000175")


# --- NFS --------------------------------------------------------------------------------------


def test_nfs_forms_give_the_same_boxes_and_frames(tmp_path: Path) -> None:
    _, sequences = read(tmp_path, "nfs")
    converted = sequences["nfs_shuffleboard_5"].ground_truth
    for name, sequence in sequences.items():
        count = NFS_FRAMES[name.removeprefix("nfs_")]
        assert len(sequence) == len(sequence.ground_truth) == count
        np.testing.assert_array_equal(sequence.ground_truth[:22], converted[:22])
        assert sequence.visible is None
    raw = sequences["nfs_motorcross"]
    assert [Path(raw.frames.describe(i)).name for i in (0, 1, 38)] == [
        "00001.jpg",
        "00009.jpg",
        "00305.jpg",
    ]
    assert levels(raw)[:4] == [0, 8, 16, 24]


def test_nfs_converted_form_is_preferred(tmp_path: Path) -> None:
    dataset, _ = read(tmp_path, "nfs")
    folder = tmp_path / "nfs/car_camaro/30"
    write_text(folder / "car_camaro_pytracking.txt", rows(36))
    assert dataset.load("nfs_car_camaro").annotation.endswith("_pytracking.txt")


@pytest.mark.parametrize(
    ("count", "frames"),
    [
        pytest.param(288, 36, id="240 a second"),
        pytest.param(281, 36, id="seven rows before the next"),
        pytest.param(280, 35, id="a frame without a row"),
        pytest.param(296, 36, id="a row too many"),
        pytest.param(36, 36, id="30 a second"),
        pytest.param(35, 35, id="30 a second, a frame without a row"),
    ],
)
def test_nfs_raw_rows(tmp_path: Path, count: int, frames: int) -> None:
    dataset, _ = read(tmp_path, "nfs")
    write_text(tmp_path / "nfs/car_camaro/30/car_camaro.txt", vatic_rows(count))
    sequence = dataset.load("nfs_car_camaro")
    assert len(sequence) == len(sequence.ground_truth) == frames


def test_nfs_raw_rows_follow_their_frame_numbers(tmp_path: Path) -> None:
    dataset, sequences = read(tmp_path, "nfs")
    file = tmp_path / "nfs/car_camaro/30/car_camaro.txt"
    lines = vatic_rows(285).splitlines()
    write_text(file, "\n".join(reversed(lines)) + "\n")
    np.testing.assert_array_equal(
        dataset.load("nfs_car_camaro").ground_truth, sequences["nfs_car_camaro"].ground_truth
    )
    write_text(file, "\n".join(lines[:9] + lines[10:]) + "\n")
    with pytest.raises(DataError, match=r"car_camaro\.txt:10: frame 10 follows frame 8"):
        dataset.load("nfs_car_camaro")
    write_text(file, "\n".join(lines[:9] + lines[8:]) + "\n")
    with pytest.raises(DataError, match=r"car_camaro\.txt:10: frame 8 follows frame 8"):
        dataset.load("nfs_car_camaro")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        pytest.param("2,3,12,10", "is not a row of NFS's annotation", id="converted by mistake"),
        pytest.param('0 2 3 x 13 0 0 0 0 "a"', "is not a row", id="letters"),
        pytest.param('0 2 3 nan 13 0 0 0 0 "a"', "is not a row", id="nan"),
        pytest.param('0 2 3 14 13 0.5 0 0 0 "a"', "is not a row", id="half a frame"),
        pytest.param('0 2 3 2 13 0 0 0 0 "a"', "has no area", id="empty first box"),
    ],
)
def test_nfs_raw_malformed(tmp_path: Path, line: str, message: str) -> None:
    dataset, _ = read(tmp_path, "nfs")
    later = vatic_rows(285).split("\n", 1)[1]
    write_text(tmp_path / "nfs/car_camaro/30/car_camaro.txt", f"{line}\n{later}")
    with pytest.raises(DataError, match=rf"car_camaro\.txt:1: .*{message}"):
        dataset.load("nfs_car_camaro")


def test_nfs_raw_of_another_length(tmp_path: Path) -> None:
    dataset, _ = read(tmp_path, "nfs")
    write_text(tmp_path / "nfs/car_camaro/30/car_camaro.txt", vatic_rows(100))
    with pytest.raises(DataError, match=r"100 rows for 36 frames .*expected about 288"):
        dataset.load("nfs_car_camaro")


def test_row_of_every_field_has_its_documentation() -> None:
    """Each field has a comment beside it, or on the line above."""
    lines = inspect.getsource(Row).splitlines()
    for name in Row.__dataclass_fields__:
        at = next(i for i, line in enumerate(lines) if line.startswith(f"    {name}: "))
        assert "  # " in lines[at] or lines[at - 1].startswith("    # "), name
