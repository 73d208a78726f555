"""`--dataset PATH`: each layout is recognised, and what is wrong is named."""

import os
import pickle
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from lib.config.paths import resolve_paths
from lib.datasets.benchmarks.check import check_folder
from lib.datasets.benchmarks.folder import open_folder
from lib.datasets.benchmarks.open import open_dataset
from lib.datasets.sequence import Dataset
from lib.datasets.training.open import open_training_set
from lib.utils.errors import DataError
from tests.helpers.dataset_files import (
    boxes_text,
    flags_column,
    flags_line,
    numbered,
    write_frames,
    write_got10k,
    write_lasot,
    write_otb,
    write_text,
    write_vot,
)
from tests.helpers.tiny import write_got10k_folder

WRITERS = [
    pytest.param(write_got10k, id="GOT-10k"),
    pytest.param(write_lasot, id="LaSOT"),
    pytest.param(write_otb, id="OTB"),
    pytest.param(write_vot, id="VOT"),
    pytest.param(partial(write_otb, images="imgs", truth="groundtruth.txt"), id="TNL2K"),
    pytest.param(partial(write_otb, images="imgs", truth="Groundtruth.txt"), id="VastTrack"),
]
LOOKED_FOR = (
    r"img/ and groundtruth\.txt; .*groundtruth_rect\.txt; .*color/ .*images beside .*; "
    "or sequences/<name>/ beside annotations/<name>"
)


def open_path(path: Path | str) -> Dataset:
    return open_dataset(str(path), resolve_paths(env={}))


@pytest.mark.parametrize("write", WRITERS)
def test_each_layout(tmp_path: Path, write: Callable[..., None]) -> None:
    for name in ("ball2", "ball10"):
        write(tmp_path / "videos" / name, frames=12)
    dataset = open_path(tmp_path / "videos")
    assert dataset.name == dataset.results_folder == "videos"
    assert dataset.update_key == "DEFAULT"
    assert dataset.protocol == ("lasot" if write is write_lasot else "otb")
    assert dataset.source == str(tmp_path / "videos")
    assert dataset.sequence_names == ("ball2", "ball10")
    sequence = pickle.loads(pickle.dumps(dataset)).load("ball10")
    assert sequence.name == "ball10"
    assert len(sequence) == len(sequence.ground_truth) == 12
    assert sequence.init_box == (10.0, 20.0, 30.0, 40.0)
    assert (sequence.frames.read(11) == 110).all()


def test_layouts_may_be_mixed(tmp_path: Path) -> None:
    writers = [write_got10k, write_lasot, write_otb, write_vot]
    for i, write in enumerate(writers):
        write(tmp_path / f"s{i}", frames=i + 2)
    dataset = open_path(tmp_path)
    assert [len(dataset.load(name)) for name in dataset.sequence_names] == [2, 3, 4, 5]


@pytest.mark.parametrize("write", WRITERS)
def test_a_single_sequence_is_a_data_set_of_one(tmp_path: Path, write: Callable) -> None:
    write(tmp_path / "ball")
    dataset = open_path(tmp_path / "ball")
    assert dataset.name == "ball"
    assert dataset.sequence_names == ("ball",)
    assert len(dataset.load("ball")) == 3


def test_classes_as_in_lasot(tmp_path: Path) -> None:
    for name in ("cat-2", "cat-10", "dog-1"):
        write_lasot(tmp_path / name.split("-")[0] / name)
    assert open_path(tmp_path).sequence_names == ("cat-2", "cat-10", "dog-1")


def test_equal_names_in_two_classes_are_told_apart(tmp_path: Path) -> None:
    write_got10k(tmp_path / "night" / "1", frames=2)
    write_got10k(tmp_path / "day" / "1", frames=3)
    dataset = open_path(tmp_path)
    assert dataset.sequence_names == ("day_1", "night_1")
    assert len(dataset.load("day_1")) == 3


@pytest.mark.parametrize("spelling", ["{}/", "{}/.", "{}/inner/..", "{}//"])
def test_the_folder_gives_the_name(tmp_path: Path, spelling: str) -> None:
    write_got10k(tmp_path / "videos" / "inner")
    dataset = open_path(spelling.format(tmp_path / "videos"))
    assert dataset.name == dataset.results_folder == "videos"
    assert dataset.source == str(tmp_path / "videos")


def test_relative_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_got10k(tmp_path / "videos" / "ball")
    monkeypatch.chdir(tmp_path / "videos")
    assert open_path(".").name == "videos"
    monkeypatch.chdir(tmp_path)
    dataset = open_path("videos")
    assert dataset.name == "videos"
    monkeypatch.chdir(tmp_path / "videos" / "ball")
    assert len(dataset.load("ball")) == 3  # whatever the current folder is by then


def test_a_name_of_the_catalog_wins_over_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_got10k(tmp_path / "otb" / "ball")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match="data set 'otb': no folder"):
        open_dataset("otb", resolve_paths(data_dir=tmp_path / "nothing", env={}))
    assert open_path("./otb").sequence_names == ("ball",)


def test_a_link_keeps_its_name(tmp_path: Path) -> None:
    write_got10k(tmp_path / "disk7" / "ball")
    os.symlink(tmp_path / "disk7", tmp_path / "videos")
    assert open_path(tmp_path / "videos").name == "videos"


def test_list_file_chooses_and_orders(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        write_vot(tmp_path / name)
    write_text(tmp_path / "list.txt", "c\r\na\r\n\r\n")
    assert open_path(tmp_path).sequence_names == ("c", "a")


def test_listed_but_missing_fails_alone(tmp_path: Path) -> None:
    write_vot(tmp_path / "a")
    write_text(tmp_path / "list.txt", "a\ngone\n")
    dataset = open_path(tmp_path)
    assert len(dataset.load("a")) == 3
    with pytest.raises(DataError, match="gone: no such folder, but it is listed"):
        dataset.load("gone")


# --- Annotation in a folder of its own --------------------------------------------------------


def write_apart(root: Path, frames: str, annotations: str, names: tuple[str, ...]) -> None:
    for count, name in enumerate(names, start=2):
        write_frames(root / frames / name, numbered(count))
        write_text(root / annotations / f"{name}.txt", boxes_text(count))


APART = [
    pytest.param("sequences", "annotations", id="VisDrone-SOT"),
    pytest.param("frames", "anno", id="TrackingNet"),
    pytest.param("data_seq", "anno", id="UAVTrack112"),
]


@pytest.mark.parametrize("packed", [False, True], ids=["folder", "zip"])
@pytest.mark.parametrize(("frames", "annotations"), APART)
def test_annotation_apart(tmp_path: Path, frames: str, annotations: str, packed: bool) -> None:
    root = tmp_path / "videos"
    write_apart(root, frames, annotations, ("uav_s2", "uav_s10"))
    path = root
    if packed:
        # As it is downloaded: a folder round everything.
        path = Path(shutil.make_archive(str(tmp_path / "videos"), "zip", tmp_path, "videos"))
        shutil.rmtree(root)
    dataset = pickle.loads(pickle.dumps(open_path(path)))
    assert (dataset.name, dataset.results_folder, dataset.protocol) == ("videos", "videos", "otb")
    assert dataset.sequence_names == ("uav_s2", "uav_s10")
    sequence = dataset.load("uav_s10")
    assert (len(sequence), len(sequence.ground_truth), sequence.visible) == (3, 3, None)
    assert (sequence.frames.read(2) == 20).all()


def test_annotation_apart_with_flags_is_scored_by_them(tmp_path: Path) -> None:
    write_apart(tmp_path, "sequences", "anno", ("auto",))
    assert open_path(tmp_path).protocol == "otb"
    for flag, values in (("full_occlusion", [0, 1]), ("out_of_view", [0, 0])):
        write_text(tmp_path / flag / f"auto_{flag}.txt", flags_line(values))
    dataset = open_path(tmp_path)
    assert dataset.protocol == "lasot"
    visible = dataset.load("auto").visible
    assert visible is not None and visible.tolist() == [True, False]


def test_annotation_apart_that_does_not_fit_the_frames(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Frames alone are said in a line; annotation alone fails alone."""
    write_apart(tmp_path, "sequences", "annotations", ("a", "b"))
    write_frames(tmp_path / "sequences" / "c", numbered(2))
    shutil.rmtree(tmp_path / "sequences" / "b")
    dataset = open_path(tmp_path)
    assert dataset.sequence_names == ("a", "b")
    assert "1 folder of frames without a file in annotations" in caplog.text
    assert len(dataset.load("a")) == 2
    with pytest.raises(DataError, match="sequences/b: no folder of frames"):
        dataset.load("b")


@pytest.mark.parametrize("layout", ["imgs", "apart"])
def test_layouts_are_trained_on_too(tmp_path: Path, layout: str) -> None:
    if layout == "apart":
        write_apart(tmp_path / "videos", "sequences", "annotations", ("a", "b"))
    else:
        for frames, name in enumerate(("a", "b"), start=2):
            write_otb(tmp_path / "videos" / name, frames, "imgs", "groundtruth.txt")
    opened = open_training_set(str(tmp_path / "videos"), resolve_paths(env={}), tmp_path)
    assert opened.lengths.tolist() == [2, 3]
    sequence = opened.load(1)
    assert sequence.boxes[2].tolist() == [12, 20, 30, 40]
    assert (sequence.frames.read(2) == 20).all()


def test_an_archive_of_another_layout_says_what_to_do(tmp_path: Path) -> None:
    write_got10k(tmp_path / "videos" / "ball")
    path = shutil.make_archive(str(tmp_path / "videos"), "zip", tmp_path, "videos")
    with pytest.raises(DataError, match=r"videos\.zip: no archive with sequences/.*unpack it"):
        open_path(path)


def test_the_folder_above_names_the_one_to_give(tmp_path: Path) -> None:
    write_apart(tmp_path / "all" / "VisDrone", "sequences", "annotations", ("a",))
    with pytest.raises(DataError, match="all/VisDrone holds 1 sequence: give that folder"):
        open_path(tmp_path / "all")


def test_other_texts_than_ground_truth_are_named(tmp_path: Path) -> None:
    write_frames(tmp_path / "a", numbered(2))
    write_text(tmp_path / "a" / "boxes.csv", boxes_text(2))
    with pytest.raises(DataError, match=r"no ground truth, though it has boxes\.csv; looked for"):
        open_path(tmp_path)


# --- What layouts hold besides boxes ----------------------------------------------------------


def test_got10k_labels_are_optional(tmp_path: Path) -> None:
    write_got10k(tmp_path / "a")
    assert open_path(tmp_path).load("a").visible is None
    write_text(tmp_path / "a" / "absence.label", flags_column([0, 0, 1]))
    write_text(tmp_path / "a" / "cover.label", flags_column([8, 7, 0]))
    sequence = open_path(tmp_path).load("a")
    assert sequence.visible is not None
    assert sequence.visible.tolist() == [True, True, False]
    assert sequence.cover is not None
    assert sequence.cover.tolist() == [8, 7, 0]


def test_lasot_flags_are_optional(tmp_path: Path) -> None:
    write_lasot(tmp_path / "a")
    write_text(tmp_path / "a" / "full_occlusion.txt", flags_line([0, 1, 0]))
    (tmp_path / "a" / "out_of_view.txt").unlink()
    sequence = open_path(tmp_path).load("a")
    assert sequence.visible is not None
    assert sequence.visible.tolist() == [True, False, True]


def test_wrong_number_of_labels(tmp_path: Path) -> None:
    write_got10k(tmp_path / "a")
    write_text(tmp_path / "a" / "absence.label", flags_column([0, 0]))
    with pytest.raises(DataError, match=r"absence\.label: 2 flags, expected 3"):
        open_path(tmp_path).load("a")


def test_vot_polygons_and_absent_targets(tmp_path: Path) -> None:
    write_vot(tmp_path / "a", frames=3)
    write_text(
        tmp_path / "a" / "groundtruth.txt",
        "10,5,20,8,18,16,8,13\nnan,nan,nan,nan\n1,2,3,4\n",
    )
    sequence = open_path(tmp_path).load("a")
    np.testing.assert_array_equal(sequence.ground_truth, [[8, 5, 12, 11], [0] * 4, [1, 2, 3, 4]])
    assert sequence.visible is not None
    assert sequence.visible.tolist() == [True, False, True]


def test_vot_first_box_may_not_be_absent(tmp_path: Path) -> None:
    write_vot(tmp_path / "a")
    write_text(tmp_path / "a" / "groundtruth.txt", "nan,nan,nan,nan\n" + boxes_text(2))
    with pytest.raises(DataError, match=r"groundtruth\.txt:1: the first box"):
        open_path(tmp_path).load("a")


@pytest.mark.parametrize("write", WRITERS[:3])
def test_nan_elsewhere_is_named(tmp_path: Path, write: Callable[..., None]) -> None:
    write(tmp_path / "a")
    truth = next((tmp_path / "a").glob("groundtruth*.txt"))
    write_text(truth, "1,2,3,4\n1,2,NaN,4\n1,2,3,4\n")
    with pytest.raises(DataError) as caught:
        open_path(tmp_path).load("a")
    assert str(caught.value).startswith(f"{truth}:2: NaN in '1,2,NaN,4'; only UAV123 and VOT")


def test_first_box_only(tmp_path: Path) -> None:
    write_got10k(tmp_path / "a", frames=4, rows=1)
    sequence = open_path(tmp_path).load("a")
    assert len(sequence) == 4
    assert sequence.ground_truth.shape == (1, 4)


@pytest.mark.parametrize("rows", [pytest.param(2, id="too few"), pytest.param(5, id="too many")])
def test_rows_must_fit_the_frames(tmp_path: Path, rows: int) -> None:
    write_got10k(tmp_path / "a", frames=4, rows=rows)
    with pytest.raises(DataError, match=rf"groundtruth\.txt: {rows} rows, but .*a gives 4 frames"):
        open_path(tmp_path).load("a")


# --- Images -----------------------------------------------------------------------------------


def test_any_image_type_in_numeric_order(tmp_path: Path) -> None:
    folder = tmp_path / "a"
    names = ["img2.JPG", "img10.png", "img9.jpeg", "img1.Bmp"]
    write_frames(folder, names)
    write_text(folder / "groundtruth.txt", boxes_text(4))
    write_text(folder / "notes.md", "not a frame")
    (folder / "._img1.jpg").write_bytes(b"what macOS leaves on foreign disks")
    frames = open_path(tmp_path).load("a").frames
    found = [Path(frames.describe(i)).name for i in range(len(frames))]
    assert found == ["img1.Bmp", "img2.JPG", "img9.jpeg", "img10.png"]


def test_unreadable_frame_is_named_when_it_is_read(tmp_path: Path) -> None:
    write_got10k(tmp_path / "a")
    (tmp_path / "a" / "00000002.jpg").write_bytes(b"")
    frames = open_path(tmp_path).load("a").frames
    frames.read(0)
    with pytest.raises(DataError, match=r"00000002\.jpg: the image file is empty"):
        frames.read(1)


# --- What cannot be opened --------------------------------------------------------------------


def test_no_such_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"data set folder .*nowhere does not exist"):
        open_path(tmp_path / "nowhere")
    write_text(tmp_path / "file.txt", "")
    with pytest.raises(DataError, match=r"file\.txt is not a folder"):
        open_path(tmp_path / "file.txt")


def test_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=rf"{tmp_path} is empty; .*{LOOKED_FOR}"):
        open_path(tmp_path)


def test_folder_without_sequences(tmp_path: Path) -> None:
    write_text(tmp_path / "docs" / "readme.txt", "hello")
    with pytest.raises(DataError, match=f"holds no sequences; .*{LOOKED_FOR}"):
        open_path(tmp_path)


@pytest.mark.parametrize(
    "place",
    [
        pytest.param("", id="the folder itself"),
        pytest.param("a", id="GOT-10k"),
        pytest.param("a/img", id="LaSOT or OTB"),
        pytest.param("a/color", id="VOT"),
        pytest.param("classes/a", id="nested"),
    ],
)
def test_images_without_ground_truth(tmp_path: Path, place: str) -> None:
    write_frames(tmp_path / place, numbered(2))
    with pytest.raises(DataError, match=f"no ground truth; looked for .*{LOOKED_FOR}"):
        open_path(tmp_path)


def test_no_ground_truth_anywhere(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_frames(tmp_path / name, numbered(2))
    with pytest.raises(DataError, match="none of its 2 sequences has ground truth"):
        open_path(tmp_path)


def test_one_without_ground_truth_fails_alone(tmp_path: Path) -> None:
    write_got10k(tmp_path / "good")
    write_frames(tmp_path / "bad" / "img", numbered(2))
    dataset = open_path(tmp_path)
    assert dataset.sequence_names == ("bad", "good")
    assert len(dataset.load("good")) == 3
    with pytest.raises(DataError, match=f"bad: no ground truth; looked for .*{LOOKED_FOR}"):
        dataset.load("bad")


def test_ground_truth_without_frames_fails_alone(tmp_path: Path) -> None:
    write_got10k(tmp_path / "good")
    write_text(tmp_path / "bad" / "groundtruth.txt", boxes_text(2))
    dataset = open_path(tmp_path)
    assert dataset.sequence_names == ("bad", "good")
    with pytest.raises(DataError, match=r"bad: no images \(looked for \.bmp"):
        dataset.load("bad")


def test_what_is_no_sequence_is_ignored(tmp_path: Path) -> None:
    write_got10k(tmp_path / "ball")
    write_frames(tmp_path / ".thumbnails", numbered(2))
    write_frames(tmp_path / "__pycache__", numbered(2))
    write_text(tmp_path / "notes" / "a.txt", "")
    write_frames(tmp_path, ["preview.png"])
    assert open_path(tmp_path).sequence_names == ("ball",)


def test_a_missing_frame_in_the_middle_is_named(tmp_path: Path) -> None:
    """The counts alone would leave the reader to look for the gap."""
    folder = write_got10k_folder(tmp_path / "videos", ["cat"], length=5)
    (folder / "cat" / "00000003.jpg").unlink()
    dataset = open_folder(folder)
    with pytest.raises(DataError, match=r"between 00000002\.jpg and 00000004\.jpg"):
        dataset.load("cat")


def test_folders_that_would_share_a_name_are_refused(tmp_path: Path) -> None:
    for parent in ("a", "a_b", "x"):
        name = {"a": "b_c", "a_b": "c", "x": "c"}[parent]
        write_got10k_folder(tmp_path / "videos" / parent, [name])
    with pytest.raises(DataError, match="would both be called 'a_b_c'; rename one"):
        open_folder(tmp_path / "videos")


def test_lasot_flags_choose_lasots_rules(tmp_path: Path) -> None:
    """By OTB's rules absent targets would count as precise; without flags there is no choice."""
    for name in ("cat-1", "cat-2"):
        write_lasot(tmp_path / "videos" / name)
    assert open_folder(tmp_path / "videos").protocol == "lasot"
    (tmp_path / "videos" / "cat-2" / "out_of_view.txt").unlink()
    assert open_folder(tmp_path / "videos").protocol == "otb"


def test_a_spare_picture_of_lasot_is_left_out(tmp_path: Path) -> None:
    """As the public airplane-15 has it, and as by the benchmark's name; pictures are never few."""
    write_lasot(tmp_path / "clips" / "mine-1", frames=5)
    folder = tmp_path / "clips" / "mine-1"
    write_frames(folder / "img", ["00000006.jpg", "00000007.jpg"])
    sequence = open_path(tmp_path / "clips").load("mine-1")
    assert len(sequence) == len(sequence.ground_truth) == 5
    assert sequence.frames.describe(4).endswith("00000005.jpg")
    (folder / "img" / "00000003.jpg").unlink()
    with pytest.raises(DataError, match=r"no image between 00000002\.jpg and 00000004\.jpg"):
        open_path(tmp_path / "clips").load("mine-1")


def test_a_part_of_a_benchmark_is_read_as_by_its_name(tmp_path: Path) -> None:
    """OTB's David is tracked from its frame 300 on: the list says so, no file beside it."""
    david = tmp_path / "part" / "David"
    write_frames(david / "img", numbered(2, "%04d.jpg", first=290))
    for number in range(292, 771):
        (david / "img" / f"{number:04d}.jpg").hardlink_to(david / "img" / "0290.jpg")
    write_text(david / "groundtruth_rect.txt", boxes_text(471))
    dataset = pickle.loads(pickle.dumps(open_path(tmp_path / "part")))
    sequence = dataset.load("David")
    assert len(sequence) == 471 and sequence.frames.describe(0).endswith("0300.jpg")
    (david / "img" / "0500.jpg").unlink()
    with pytest.raises(DataError, match=r"471 rows, but .* gives 480 frames"):
        dataset.load("David")


def test_a_check_notes_pictures_without_a_row(tmp_path: Path) -> None:
    write_lasot(tmp_path / "clips" / "mine-1", frames=5)
    write_lasot(tmp_path / "clips" / "mine-2", frames=5)
    write_frames(tmp_path / "clips" / "mine-2" / "img", ["00000006.jpg"])
    for folder in tmp_path.glob("clips/*"):
        write_text(folder / "groundtruth.txt", "2,2,9,9\n" * 5)
    report = check_folder(open_path(tmp_path / "clips"), every_image=False, progress=int)
    assert report.findings == () and report.frames == 10
    (remark,) = [one for one in report.remarks if "ground truth" in one]
    assert "mine-2" in remark and "6 images, of which 5 have ground truth" in remark
