"""Benchmarks: their lists against the published ones, their files as they really are."""

import json
from pathlib import Path

import numpy as np
import pytest

from lib.datasets.benchmarks.check import expected_frames
from lib.datasets.benchmarks.layout import list_entries, open_tree
from lib.datasets.benchmarks.open import CATALOG, open_dataset
from lib.datasets.sequence import FrameSource
from lib.datasets.sequence_files import SequenceFiles
from lib.utils.errors import DataError
from tests.helpers.dataset_files import (
    boxes_text,
    flags_column,
    flags_line,
    make_otb,
    paths_of,
    write_frames,
    write_got10k,
    write_lasot,
    write_text,
)

PUBLISHED = json.loads(
    (Path(__file__).parents[1] / "kits" / "parity" / "test_sequences.json").read_text("utf-8")
)


# --- LaSOT ------------------------------------------------------------------------------------


def test_lasot_list_is_the_published_one(tmp_path: Path, lasot: Path) -> None:
    names = open_dataset("lasot", paths_of(tmp_path)).sequence_names
    assert len(names) == 280
    assert list(names) == PUBLISHED["lasot"]


def test_lasot_sequence(tmp_path: Path, lasot: Path) -> None:
    sequence = open_dataset("lasot", paths_of(tmp_path)).load("airplane-9")
    assert len(sequence) == 4
    assert isinstance(sequence.frames, FrameSource)
    np.testing.assert_array_equal(sequence.ground_truth[1], [11, 20, 30, 40])
    assert sequence.init_box == (10.0, 20.0, 30.0, 40.0)
    assert sequence.visible is not None
    assert sequence.visible.tolist() == [True, True, False, False]
    assert sequence.cover is None
    assert sequence.resolution == (32, 24)
    assert sequence.frames.describe(2) == str(lasot / "img" / "00000003.jpg")
    assert (sequence.frames.read(2) == 20).all()
    assert sequence.annotation == str(lasot / "groundtruth.txt")


def test_lasot_class_with_a_dash_in_a_name(tmp_path: Path) -> None:
    write_lasot(tmp_path / "lasot" / "person" / "person-10")
    assert len(open_dataset("lasot", paths_of(tmp_path)).load("person-10")) == 3


def test_lasot_images_behind_the_last_row_are_left_out(tmp_path: Path, lasot: Path) -> None:
    write_frames(lasot / "img", ["00000005.jpg", "00000006.jpg"])
    assert len(open_dataset("lasot", paths_of(tmp_path)).load("airplane-9")) == 4


def test_lasot_missing_frame(tmp_path: Path, lasot: Path) -> None:
    (lasot / "img" / "00000002.jpg").unlink()
    (lasot / "img" / "00000004.jpg").unlink()
    with pytest.raises(DataError, match=r"00000002\.jpg: frame not found \(2 of the 4 frames"):
        open_dataset("lasot", paths_of(tmp_path)).load("airplane-9")


def test_lasot_flags_must_fit(tmp_path: Path, lasot: Path) -> None:
    dataset = open_dataset("lasot", paths_of(tmp_path))
    write_text(lasot / "out_of_view.txt", flags_line([0, 0, 0]))
    with pytest.raises(DataError, match=r"out_of_view\.txt: 3 flags, expected 4"):
        dataset.load("airplane-9")
    (lasot / "out_of_view.txt").unlink()
    with pytest.raises(DataError, match=r"out_of_view\.txt: file not found"):
        dataset.load("airplane-9")


def test_absent_sequences_fail_alone(tmp_path: Path, lasot: Path) -> None:
    dataset = open_dataset("lasot", paths_of(tmp_path))
    with pytest.raises(DataError, match=r"airplane-1/groundtruth\.txt: file not found"):
        dataset.load("airplane-1")
    assert len(dataset.load("airplane-9")) == 4


# --- Ground truth -----------------------------------------------------------------------------


def test_nan_names_line_and_who_may(tmp_path: Path, lasot: Path) -> None:
    write_text(lasot / "groundtruth.txt", "1,2,3,4\nNaN,NaN,NaN,NaN\n1,2,3,4\n1,2,3,4\n")
    with pytest.raises(DataError) as caught:
        open_dataset("lasot", paths_of(tmp_path)).load("airplane-9")
    message = str(caught.value)
    assert f"{lasot / 'groundtruth.txt'}:2: NaN in 'NaN,NaN,NaN,NaN'" in message
    assert "only UAV123 and VOT" in message
    assert "\n" not in message


@pytest.mark.parametrize(
    "row",
    [
        pytest.param("1,2,0,4", id="no width"),
        pytest.param("1,2,3,0", id="no height"),
        pytest.param("1,2,-3,4", id="negative width"),
    ],
)
def test_first_box_needs_an_area(tmp_path: Path, lasot: Path, row: str) -> None:
    write_text(lasot / "groundtruth.txt", f"{row}\n" + "1,2,3,4\n" * 3)
    with pytest.raises(DataError, match=r"groundtruth\.txt:1: the first box .* has no area"):
        open_dataset("lasot", paths_of(tmp_path)).load("airplane-9")


def test_later_boxes_may_be_empty(tmp_path: Path, lasot: Path) -> None:
    write_text(lasot / "groundtruth.txt", "1,2,3,4\n0,0,0,0\n" + "1,2,3,4\n" * 2)
    truth = open_dataset("lasot", paths_of(tmp_path)).load("airplane-9").ground_truth
    assert truth[1].tolist() == [0, 0, 0, 0]


# --- GOT-10k ----------------------------------------------------------------------------------


def test_got10k_val(tmp_path: Path, got10k_val: Path) -> None:
    dataset = open_dataset("got10k_val", paths_of(tmp_path))
    assert dataset.sequence_names == ("GOT-10k_Val_000001", "GOT-10k_Val_000002")
    sequence = dataset.load("GOT-10k_Val_000001")
    assert len(sequence) == 3
    assert sequence.cover is not None
    assert sequence.cover.tolist() == [8, 0, 5]
    assert sequence.visible is not None
    assert sequence.visible.tolist() == [True, False, True]
    assert sequence.resolution == (32, 24)


def test_got10k_val_labels_shorter_than_the_video(tmp_path: Path, got10k_val: Path) -> None:
    """A public dump of the labels of Val_000175 ends ten frames early."""
    write_text(got10k_val / "GOT-10k_Val_000002" / "cover.label", flags_column([8, 8]))
    dataset = open_dataset("got10k_val", paths_of(tmp_path))
    with pytest.raises(DataError, match=r"000002/cover\.label: 2 flags, expected 3"):
        dataset.load("GOT-10k_Val_000002")


@pytest.mark.parametrize(
    "rows",
    [
        pytest.param(1, id="first box only"),
        pytest.param(2, id="one too few"),
        pytest.param(4, id="one too many"),
    ],
)
def test_got10k_val_needs_a_row_per_frame(tmp_path: Path, got10k_val: Path, rows: int) -> None:
    write_text(got10k_val / "GOT-10k_Val_000001" / "groundtruth.txt", boxes_text(rows))
    with pytest.raises(DataError, match=rf"groundtruth\.txt: {rows} rows, but .* gives 3 frames"):
        open_dataset("got10k_val", paths_of(tmp_path)).load("GOT-10k_Val_000001")


def test_got10k_test_has_the_first_box_only(tmp_path: Path) -> None:
    root = tmp_path / "got10k" / "test"
    write_got10k(root / "GOT-10k_Test_000001", frames=12, rows=1)
    write_text(root / "list.txt", "GOT-10k_Test_000001")
    sequence = open_dataset("got10k_test", paths_of(tmp_path)).load("GOT-10k_Test_000001")
    assert sequence.ground_truth.shape == (1, 4)
    assert len(sequence) == 12
    assert sequence.visible is None
    assert sequence.cover is None


def test_got10k_frames_are_sorted_as_numbers(tmp_path: Path) -> None:
    root = tmp_path / "got10k" / "test" / "a"
    write_frames(root, ["2.jpg", "10.jpg", "1.jpg"])
    write_text(root / "groundtruth.txt", boxes_text(1))
    write_text(root.parent / "list.txt", "a\n")
    frames = open_dataset("got10k_test", paths_of(tmp_path)).load("a").frames
    assert [Path(frames.describe(i)).name for i in range(3)] == ["1.jpg", "2.jpg", "10.jpg"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("", r"list\.txt: the list of sequences is empty", id="empty"),
        pytest.param("a\nb\na\n", r"list\.txt:3: 'a' is listed before, in line 1", id="twice"),
        pytest.param("a\n../b\n", r"list\.txt:2: '\.\./b' is not the name", id="path"),
    ],
)
def test_got10k_list_refused(tmp_path: Path, got10k_val: Path, text: str, message: str) -> None:
    write_text(got10k_val / "list.txt", text)
    with pytest.raises(DataError, match=message):
        open_dataset("got10k_val", paths_of(tmp_path))


# --- OTB --------------------------------------------------------------------------------------


def test_otb_rows_are_the_published_ones(tmp_path: Path) -> None:
    row = next(row for row in CATALOG if row.name == "otb")
    entries = list_entries(row, open_tree(row, tmp_path))
    assert list(entries) == [row[0] for row in PUBLISHED["otb"]]
    for name, images, first, last, digits, suffix, annotation, omit, _ in PUBLISHED["otb"]:
        entry = entries[name]
        assert [one.files for one in entry.layouts] == [SequenceFiles(images, annotation)]
        assert entry.omit == omit
        assert (entry.first_frame, entry.last_frame) == (first + omit, last)
        assert entry.layouts[0].frame_pattern % 7 == f"{7:0{digits}d}.{suffix}"
    frames = [entry.last_frame - entry.first_frame + 1 for entry in entries.values()]
    assert sum(frames) == 59035  # the number of annotated frames of OTB100


@pytest.mark.parametrize("name", ["nfs", "uav"])
def test_ranges_are_the_published_ones(tmp_path: Path, name: str) -> None:
    row = next(row for row in CATALOG if row.name == name)
    entries = list_entries(row, open_tree(row, tmp_path))
    assert list(entries) == [row[0] for row in PUBLISHED[name]]
    for one, images, first, last, digits, suffix, annotation, omit, _ in PUBLISHED[name]:
        entry = entries[one]
        assert SequenceFiles(images, annotation) in [layout.files for layout in entry.layouts]
        assert (entry.first_frame, entry.last_frame, entry.omit) == (first, last, omit)
        assert {layout.frame_pattern % 7 for layout in entry.layouts} == {
            f"{7:0{digits}d}.{suffix}"
        }


def test_seqtrack_form_of_nfs_is_named_as_by_the_reference(tmp_path: Path) -> None:
    row = next(row for row in CATALOG if row.name == "nfs")
    entry = list_entries(row, open_tree(row, tmp_path))["nfs_MachLoop_jet"]
    folder = "MachLoop_jet/30/MachLoop_jet"
    assert entry.layouts[0].files == SequenceFiles(folder, f"{folder}_pytracking.txt")


def test_lasot_extension_list_is_the_published_one(tmp_path: Path) -> None:
    row = next(row for row in CATALOG if row.name == "lasot_extension_subset")
    names = list(list_entries(row, open_tree(row, tmp_path)))
    assert names == PUBLISHED["lasot_extension_subset"]


def test_uav_frames_are_as_many_as_the_papers_say(tmp_path: Path) -> None:
    """Those of the version at 10 frames a second: papers on drones that report it."""
    totals = {}
    for name in ("uav", "uav20l", "uav123_10fps"):
        row = next(row for row in CATALOG if row.name == name)
        totals[name] = expected_frames(row, list_entries(row, open_tree(row, tmp_path)))
    assert totals == {"uav": 112578, "uav20l": 58670, "uav123_10fps": 37607}


def test_uav_at_10_frames_a_second_has_the_published_ranges(tmp_path: Path) -> None:
    """Some of the list (configSeqs.m) that its publishers put beside the frames."""
    row = next(row for row in CATALOG if row.name == "uav123_10fps")
    entries = list_entries(row, open_tree(row, tmp_path))
    for name, first, last in (
        ("bike1", 1, 1029),
        ("bird1_2", 259, 493),
        ("car6_5", 1309, 1621),
        ("group3_4", 1457, 1843),
        ("uav1_3", 825, 1157),
        ("car1_s", 1, 492),
        ("car2_s", 1, 107),
        ("person1_s", 1, 534),
        ("person2_s", 1, 84),
        ("wakeboard10", 1, 157),
    ):
        assert (entries[name].first_frame, entries[name].last_frame) == (first, last), name


@pytest.mark.parametrize(
    ("name", "count", "frames", "some"),
    [
        # 15,777 frames are the sum of configDTBSeqs.m, and what papers on drones report.
        pytest.param("dtb70", 70, 15777, ("Animal1", "SkateBoarding4", "Zebra"), id="DTB70"),
        pytest.param("uavdt", 50, None, ("S0101", "S1313", "S1702"), id="UAVDT"),
        pytest.param("visdrone_sot", 35, None, ("uav0000368_03612_s",), id="VisDrone-SOT"),
        pytest.param("latot", 165, None, ("aircraft11", "fly4-1", "poker_box"), id="LaTOT"),
    ],
)
def test_lists_of_drones_and_tiny_objects(
    tmp_path: Path, name: str, count: int, frames: int | None, some: tuple[str, ...]
) -> None:
    """As many as their publishers say; frames where these say how many."""
    row = next(row for row in CATALOG if row.name == name)
    entries = list_entries(row, open_tree(row, tmp_path))
    assert (len(entries), expected_frames(row, entries)) == (count, frames)
    assert set(some) <= set(entries)


@pytest.mark.parametrize(
    ("name", "first", "last", "rows", "frames"),
    [
        pytest.param("Deer", 1, 71, 71, ("0001.jpg", "0071.jpg"), id="plain"),
        pytest.param("BlurCar3", 3, 359, 357, ("0003.jpg", "0359.jpg"), id="starts later"),
        pytest.param("Football1", 1, 80, 74, ("0001.jpg", "0074.jpg"), id="ends earlier"),
        pytest.param("Board", 1, 698, 698, ("00001.jpg", "00698.jpg"), id="five digits"),
    ],
)
def test_otb_ranges(
    tmp_path: Path,
    name: str,
    first: int,
    last: int,
    rows: int,
    frames: tuple[str, str],
) -> None:
    make_otb(tmp_path, name, first, last, rows)
    sequence = open_dataset("otb", paths_of(tmp_path)).load(name)
    assert len(sequence) == len(sequence.ground_truth) == rows
    assert Path(sequence.frames.describe(0)).name == frames[0]
    assert Path(sequence.frames.describe(len(sequence) - 1)).name == frames[1]


def test_otb_tiger1_omits_five_frames_and_rows(tmp_path: Path) -> None:
    folder = make_otb(tmp_path, "Tiger1", 1, 354, 354)
    dataset = open_dataset("otb", paths_of(tmp_path))
    sequence = dataset.load("Tiger1")
    assert len(sequence) == len(sequence.ground_truth) == 349
    assert sequence.init_box[0] == 15
    assert Path(sequence.frames.describe(0)).name == "0006.jpg"
    rows = boxes_text(354).splitlines()
    rows[5] = "1,1,0,0"
    write_text(folder / "groundtruth_rect.txt", "\n".join(rows))
    with pytest.raises(DataError, match=r"groundtruth_rect\.txt:6: the first box"):
        dataset.load("Tiger1")


def test_otb_two_targets_share_their_frames(tmp_path: Path) -> None:
    folder = make_otb(tmp_path, "Jogging", 1, 307, 1)
    (folder / "groundtruth_rect.txt").unlink()
    write_text(folder / "groundtruth_rect.1.txt", boxes_text(307))
    write_text(folder / "groundtruth_rect.2.txt", boxes_text(307, first=100))
    dataset = open_dataset("otb", paths_of(tmp_path))
    assert dataset.load("Jogging_1").init_box[0] == 10
    assert dataset.load("Jogging_2").init_box[0] == 110


def test_otb_rows_must_fit_the_range(tmp_path: Path) -> None:
    make_otb(tmp_path, "Deer", 1, 71, 70)
    with pytest.raises(DataError, match=r"70 rows, but .*img gives 71 frames"):
        open_dataset("otb", paths_of(tmp_path)).load("Deer")


def test_otb_has_its_usual_other_names(tmp_path: Path) -> None:
    make_otb(tmp_path, "Deer", 1, 71, 71)
    assert open_dataset("otb100", paths_of(tmp_path)).name == "otb"
