"""Training sets: layouts as published, partial copies, and the index that is kept of them."""

import json
import logging
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from lib.config.paths import resolve_paths
from lib.datasets.benchmarks.open import TRAINING_CATALOG
from lib.datasets.training import folder as training_folder
from lib.datasets.training import listing
from lib.datasets.training import text as training_text
from lib.datasets.training.open import open_training_set, training_set_names
from lib.datasets.training.set import IndexedSet
from lib.utils.errors import ConfigError, DataError
from tests.helpers.dataset_files import (
    boxes_text,
    paths_of,
    write_frames,
    write_lasot,
    write_text,
    write_vot,
)
from tests.helpers.training_files import (
    FRAMES,
    GOT10K_NAMES,
    LASOT_NAMES,
    VID_NAMES,
    box_of,
    vid_xml,
    write_coco,
    write_got10k_train,
    write_got10k_video,
    write_lasot_train,
    write_lasot_video,
    write_training_sets,
    write_vid,
)

COCO_FILE = "annotations/instances_train2017.json"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All sets; tests only read them."""
    root = tmp_path_factory.mktemp("data")
    write_training_sets(root)
    return root


def open_set(name: str, data: Path, cache: Path) -> IndexedSet:
    return open_training_set(name, paths_of(data), cache)


def names_of(opened: IndexedSet) -> list[str]:
    return [opened.load(i).name for i in range(len(opened))]


def check_red(image: np.ndarray, box: np.ndarray) -> None:
    """The red target of `image` is where its box is, and not where that of the next frame is."""
    x, y, w, h = box
    rows, columns = np.nonzero(image[..., 0].astype(int) - image[..., 1] > 110)
    assert (columns.mean(), rows.mean()) == pytest.approx(
        (x + (w - 1) / 2, y + (h - 1) / 2), abs=0.4
    )
    assert len(rows) == pytest.approx(w * h, rel=0.1)


@pytest.mark.parametrize(
    ("name", "names", "frames", "hidden"),
    [
        pytest.param("LASOT", LASOT_NAMES, FRAMES, [3, 4, 5], id="LASOT"),
        # In the order of the split.
        pytest.param(
            "GOT10K_vottrain",
            ["GOT-10k_Train_003785", "GOT-10k_Train_008999"],
            FRAMES,
            [3, 4],
            id="vottrain",
        ),
        pytest.param("GOT10K_votval", ["GOT-10k_Train_001350"], FRAMES, [3, 4], id="votval"),
        pytest.param(
            "GOT10K_train_full",
            ["GOT-10k_Train_003785", "GOT-10k_Train_008999", "GOT-10k_Train_001350"],
            FRAMES,
            [3, 4],
            id="train_full",
        ),
        pytest.param("TRACKINGNET", ["a_0", "b_0", "c_3"], FRAMES, [], id="TRACKINGNET"),
    ],
)
def test_videos(
    data: Path, tmp_path: Path, name: str, names: list[str], frames: int, hidden: list[int]
) -> None:
    opened = open_set(name, data, tmp_path)
    assert (opened.name, opened.is_video) == (name, True)
    assert names_of(opened) == list(names)
    assert opened.lengths.tolist() == [frames] * len(names)
    assert opened.visible_counts.tolist() == [frames - len(hidden)] * len(names)
    for i in range(len(opened)):
        sequence = opened.load(i)
        assert sequence.boxes.dtype == np.float32
        assert len(sequence.frames) == len(sequence.boxes) == len(sequence.visible) == frames
        assert np.flatnonzero(~sequence.visible).tolist() == hidden
        for k in (0, 9, frames - 1):
            check_red(sequence.frames.read(k), sequence.boxes[k])
        assert names[i] in opened.describe(i) and name in opened.describe(i)


def test_coco(data: Path, tmp_path: Path) -> None:
    opened = open_set("COCO17", data, tmp_path)
    assert not opened.is_video
    assert len(opened) == 6, "small objects stay, the crowd goes"
    assert opened.lengths.tolist() == opened.visible_counts.tolist() == [1] * 6
    for i in (0, 2, 4):
        sequence = opened.load(i)
        check_red(sequence.frames.read(0), sequence.boxes[0])
        assert sequence.visible.tolist() == [True]
    assert opened.load(5).boxes.tolist() == [[2, 60, 6, 5]]
    assert "COCO17 201 (" in opened.describe(5) and "000000391909.jpg" in opened.describe(5)


def test_vid(data: Path, tmp_path: Path) -> None:
    opened = open_set("VID", data, tmp_path)
    videos = [name.rpartition("/")[2] for name in VID_NAMES]
    assert names_of(opened) == [f"{video}-{track}" for video in videos for track in (0, 1)]
    assert opened.lengths.tolist() == [FRAMES, 10, FRAMES, 10], "a track ends at its first gap"
    assert opened.visible_counts.tolist() == [FRAMES - 1, 10, FRAMES - 1, 10]
    whole, late = opened.load(2), opened.load(3)
    assert np.flatnonzero(~whole.visible).tolist() == [3]
    check_red(whole.frames.read(7), whole.boxes[7])
    assert late.frames.describe(0).endswith("ILSVRC2015_train_01139000/000002.JPEG")
    assert late.boxes.tolist() == [[40, 50, 20, 12]] * 10


def test_vid_cache_of_others_is_read(data: Path, tmp_path: Path) -> None:
    root = tmp_path / "vid"
    write_vid(root)
    track = {"set_id": 3, "vid_id": 1139000, "class_name": "n1", "start_frame": 4}
    boxes = [box_of(4), box_of(5), [1, 1, 0, 5]]
    track |= {"anno": boxes, "target_visible": [True, False, True], "image_size": [96, 72]}
    elsewhere = {**track, "vid_id": 5}
    write_text(root / "cache.json", json.dumps([elsewhere, track]))
    opened = open_set("VID", tmp_path, tmp_path / "cache")
    assert len(opened) == 1, "frames of the other video are not there"
    sequence = opened.load(0)
    assert sequence.visible.tolist() == [True, False, False]
    check_red(sequence.frames.read(1), sequence.boxes[1])
    write_text(root / "cache.json", json.dumps([{**track, "anno": boxes[:2]}]))
    with pytest.raises(DataError, match=r"cache\.json: item 0 is not a track .*2 boxes, 3 flags"):
        open_set("VID", tmp_path, tmp_path / "cache")


def test_vid_cache_follows_the_frames_and_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = tmp_path / "vid"
    write_vid(root)
    tracks = [
        {"set_id": 0, "vid_id": 0, "start_frame": 0},
        {"set_id": 3, "vid_id": 1139000, "start_frame": 4},
    ]
    boxes = {"anno": [box_of(4), box_of(5)], "target_visible": [True, True]}
    write_text(root / "cache.json", json.dumps([track | boxes for track in tracks]))
    assert len(open_set("VID", tmp_path, tmp_path / "cache")) == 2
    (said,) = caplog.messages
    assert f"boxes are those of {root / 'cache.json'}, not of the XML files" in said
    frames = root / "Data" / "VID" / "train" / VID_NAMES[0]
    frames.rename(tmp_path / "elsewhere")
    assert len(open_set("VID", tmp_path, tmp_path / "cache")) == 1, "no stale index"
    assert "only 1 of the 2 tracks of" in caplog.text
    (tmp_path / "elsewhere").rename(frames)
    assert len(open_set("VID", tmp_path, tmp_path / "cache")) == 2


def test_opening_writes_nothing_into_the_data(data: Path, tmp_path: Path) -> None:
    before = sorted((str(p), p.stat().st_mtime_ns) for p in data.rglob("*"))
    for row in TRAINING_CATALOG:
        if row.name != "SYNTHETIC":
            open_training_set(row.name, resolve_paths(data, tmp_path, env={}))
    assert sorted((str(p), p.stat().st_mtime_ns) for p in data.rglob("*")) == before
    kept = [p.name for p in (tmp_path / "cache" / "training_sets").iterdir()]
    assert len(kept) == len(TRAINING_CATALOG) - 1 and all(n.endswith(".index") for n in kept)


# -- names and places ----------------------------------------------------------------------------


def test_names() -> None:
    names = training_set_names()
    wanted = (
        "LASOT GOT10K_vottrain GOT10K_votval GOT10K_train_full COCO17 TRACKINGNET VID SYNTHETIC"
    )
    assert set(wanted.split()) <= set(names)
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    ("name", "meant"),
    [("lasot", "LASOT"), ("GOT10K_votrain", "GOT10K_vottrain"), ("synthetic", "SYNTHETIC")],
)
def test_unknown_name(tmp_path: Path, name: str, meant: str) -> None:
    with pytest.raises(DataError) as caught:
        open_set(name, tmp_path, tmp_path)
    message = str(caught.value)
    assert message.startswith(f"unknown training set {name!r}; did you mean {meant!r}?")
    assert all(one in message for one in training_set_names())
    assert "\n" not in message


def test_synthetic_is_no_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="'SYNTHETIC' is generated"):
        open_set("SYNTHETIC", tmp_path, tmp_path)


@pytest.mark.parametrize("name", ["LASOT", "GOT10K_vottrain", "COCO17", "TRACKINGNET", "VID"])
@pytest.mark.parametrize("empty_folder", [False, True])
def test_missing_data_says_where_and_how(tmp_path: Path, name: str, empty_folder: bool) -> None:
    given = tmp_path / "elsewhere"
    if empty_folder:
        given.mkdir()
    variable = f"SEQTRACK_DATA_{name.upper()}"
    with pytest.raises(DataError) as caught:
        open_training_set(name, resolve_paths(env={variable: str(given)}), tmp_path)
    message = str(caught.value)
    assert f"training set {name!r}" in message and str(given) in message
    assert f"environment variable {variable};" in message
    assert "--data-dir" in message and "paths.yaml" in message
    assert "\n" not in message


def test_misspelt_setting_is_not_silent(tmp_path: Path) -> None:
    paths = resolve_paths(env={"SEQTRACK_DATA_TRACKINGNETT": "/x"})
    with pytest.raises(ConfigError, match=r"_TRACKINGNETT.*did you mean 'trackingnet'"):
        open_training_set("LASOT", paths, tmp_path)


# -- partial copies ------------------------------------------------------------------------------


def test_partial_copy_is_used_and_said(
    data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        open_set("LASOT", data, tmp_path)
        open_set("TRACKINGNET", data, tmp_path)
    lasot, parts = (record.getMessage() for record in caplog.records)
    assert "only 3 of its 1120 sequences are in" in lasot
    assert "10 of its 12 parts are not in" in parts and "TRAIN_1, TRAIN_2" in parts


def test_got10k_list_beside_the_videos(tmp_path: Path) -> None:
    """Old path files name the folder that list.txt lies in."""
    write_got10k_train(tmp_path / "got10k")
    whole = names_of(open_set("GOT10K_train_full", tmp_path, tmp_path / "cache"))
    for item in (tmp_path / "got10k" / "train").iterdir():
        item.rename(tmp_path / "got10k" / item.name)
    (tmp_path / "got10k" / "train").rmdir()
    assert names_of(open_set("GOT10K_train_full", tmp_path, tmp_path / "cache")) == whole


def test_got10k_positions_count_lines_of_the_whole_list(tmp_path: Path) -> None:
    """The whole list is taken as it is, even where names and lines do not agree."""
    write_got10k_train(tmp_path / "got10k")
    lines = [f"GOT-10k_Train_{n + 1:06d}" for n in range(9335)]
    lines[3784], lines[1349] = lines[1349], lines[3784]
    write_text(tmp_path / "got10k" / "train" / "list.txt", "\n".join(lines))
    opened = open_set("GOT10K_vottrain", tmp_path, tmp_path / "cache")
    assert names_of(opened) == ["GOT-10k_Train_001350", "GOT-10k_Train_008999"]


def test_got10k_short_list_of_other_names(tmp_path: Path) -> None:
    names = [f"clip_{n}" for n in range(6)]
    for name in names[:2]:
        write_got10k_video(tmp_path / "got10k" / "train" / name)
    write_text(tmp_path / "got10k" / "train" / "list.txt", "\n".join(names))
    opened = open_set("GOT10K_train_full", tmp_path, tmp_path / "cache")
    assert sorted(names_of(opened)) == ["clip_0", "clip_1"]


@pytest.mark.parametrize("part", ["Val", "Test"])
def test_got10k_list_of_a_held_out_part_is_refused(tmp_path: Path, part: str) -> None:
    root = tmp_path / "got10k"
    for number in (1, 2):
        write_got10k_video(root / f"GOT-10k_{part}_{number:06d}")
    write_text(root / "list.txt", f"GOT-10k_{part}_000001\nGOT-10k_{part}_000002\n")
    with pytest.raises(
        DataError, match=rf"list\.txt lists GOT-10k_{part}_000001, which is not for"
    ):
        open_set("GOT10K_train_full", tmp_path, tmp_path / "cache")


def test_got10k_list_without_a_name_of_the_split(tmp_path: Path) -> None:
    write_got10k_train(tmp_path / "got10k", GOT10K_NAMES[:1])
    with pytest.raises(DataError, match=r"\(list\.txt has no name of its split\)"):
        open_set("GOT10K_vottrain", tmp_path, tmp_path / "cache")


def test_video_without_a_label_is_an_error(tmp_path: Path) -> None:
    write_got10k_train(tmp_path / "got10k", GOT10K_NAMES[:1])
    (tmp_path / "got10k" / "train" / GOT10K_NAMES[0] / "cover.label").unlink()
    with pytest.raises(DataError, match=r"001350/cover\.label: cannot be read \(No such file"):
        open_set("GOT10K_votval", tmp_path, tmp_path / "cache")


def test_annotation_without_frames_is_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_vid(tmp_path / "vid")
    frames = tmp_path / "vid" / "Data" / "VID" / "train" / VID_NAMES[0]
    frames.rename(frames.with_name("elsewhere"))
    assert len(open_set("VID", tmp_path, tmp_path / "cache")) == 2
    assert "only 1 of 2 annotated videos" in caplog.text


def test_coco_as_unpacked(tmp_path: Path) -> None:
    write_coco(tmp_path / "coco")
    (tmp_path / "coco" / "images" / "train2017").rename(tmp_path / "coco" / "train2017")
    sequence = open_set("COCO17", tmp_path, tmp_path / "cache").load(0)
    check_red(sequence.frames.read(0), sequence.boxes[0])


def test_coco_box_without_area_is_left_out(tmp_path: Path) -> None:
    write_coco(tmp_path / "coco", images=1)
    file = tmp_path / "coco" / COCO_FILE
    content = json.loads(file.read_text(encoding="utf-8"))
    content["annotations"][0]["bbox"][2] = 0
    write_text(file, json.dumps(content))
    assert names_of(open_set("COCO17", tmp_path, tmp_path / "cache")) == ["1"]


# -- malformed annotation ------------------------------------------------------------------------


def spoil_lasot(root: Path) -> None:
    file = root / "lasot" / "bear" / "bear-1" / "groundtruth.txt"
    write_text(file, boxes_text(2) + "1,2,three,4\n")


def spoil_flags(root: Path) -> None:
    write_text(root / "lasot" / "bear" / "bear-1" / "out_of_view.txt", "0,1,0\n")


def spoil_coco(root: Path) -> None:
    file = root / "coco" / COCO_FILE
    write_text(file, file.read_text(encoding="utf-8").replace('"bbox": [8.0,', '"bbox": ["x",'))


def spoil_json(root: Path) -> None:
    write_text(root / "coco" / COCO_FILE, '{"images": [],\n "annotations": [')


def empty_coco(root: Path) -> None:
    write_text(root / "coco" / COCO_FILE, "[1, 2]")


def spoil_vid(root: Path) -> None:
    file = root / "vid" / "Annotations" / "VID" / "train" / VID_NAMES[1] / "000004.xml"
    write_text(file, "<annotation>\n<object>\n</annotation>")


def spoil_vid_box(root: Path) -> None:
    file = root / "vid" / "Annotations" / "VID" / "train" / VID_NAMES[1] / "000004.xml"
    xml = vid_xml("v", 4, [(0, box_of(4), 0)])
    write_text(file, xml.replace("<xmin>16</xmin>", "<xmin>left</xmin>"))


@pytest.mark.parametrize(
    ("name", "spoil", "message"),
    [
        ("LASOT", spoil_lasot, r"bear-1/groundtruth\.txt:3: 'three' is not a finite number"),
        ("LASOT", spoil_flags, r"bear-1/out_of_view\.txt: 3 flags, expected 26"),
        ("COCO17", spoil_coco, r"instances_train2017\.json: annotation .* is malformed"),
        ("COCO17", spoil_json, r"instances_train2017\.json: not valid JSON .*line 2"),
        ("COCO17", empty_coco, r"instances_train2017\.json: not an annotation file of COCO"),
        ("VID", spoil_vid, r"000004\.xml:3: not valid XML"),
        ("VID", spoil_vid_box, r"000004\.xml: bndbox \['left', .* is not four numbers"),
    ],
)
def test_malformed_annotation_names_the_file(tmp_path: Path, name, spoil, message) -> None:
    write_training_sets(tmp_path)
    spoil(tmp_path)
    with pytest.raises(DataError, match=message):
        open_set(name, tmp_path, tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


# -- folders of users ----------------------------------------------------------------------------


def test_folder_in_got10k_layout(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    for name in ("one", "two"):
        write_got10k_video(folder / name)
    (folder / "two" / "absence.label").unlink()
    opened = open_set(str(folder), tmp_path, tmp_path / "cache")
    assert opened.name == str(folder) and opened.is_video
    assert names_of(opened) == ["one", "two"]
    assert opened.visible_counts.tolist() == [FRAMES - 2, FRAMES - 1]
    check_red(opened.load(1).frames.read(6), opened.load(1).boxes[6])


def test_folder_in_lasot_layout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_lasot_video(tmp_path / "mine" / "cat" / "cat-1")
    write_vot(tmp_path / "mine" / "dog" / "dog-1", frames=3)
    write_text(
        tmp_path / "mine" / "dog" / "dog-1" / "groundtruth.txt", "1,2,3,4\nnan,nan,30,40\n1,2,3,4"
    )
    monkeypatch.chdir(tmp_path)
    opened = open_set("./mine", tmp_path, tmp_path / "cache")
    assert names_of(opened) == ["cat-1", "dog-1"]
    assert opened.visible_counts.tolist() == [FRAMES - 3, 2]
    assert opened.load(1).boxes[1].tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize(
    "names",
    [["7.png", "8.png", "10.png"], ["a.png", "b.png", "c.png"], ["f100%_1.png", "f100%_2.png"]],
)
def test_folder_with_frames_of_any_name(tmp_path: Path, names: list[str]) -> None:
    write_frames(tmp_path / "mine" / "v", names)
    write_text(tmp_path / "mine" / "v" / "groundtruth.txt", boxes_text(len(names)))
    frames = open_set(str(tmp_path / "mine"), tmp_path, tmp_path / "cache").load(0).frames
    assert [Path(frames.describe(i)).name for i in range(len(frames))] == names
    assert [int(frames.read(i)[0, 0, 0]) for i in range(len(frames))] == [0, 10, 20][: len(names)]


def test_folder_that_changed_under_the_training(tmp_path: Path) -> None:
    write_frames(tmp_path / "mine" / "v", ["a.png", "b.png"])
    write_text(tmp_path / "mine" / "v" / "groundtruth.txt", boxes_text(2))
    opened = open_set(str(tmp_path / "mine"), tmp_path, tmp_path / "cache")
    (tmp_path / "mine" / "v" / "b.png").unlink()
    with pytest.raises(DataError, match=r"1 frames, but 2 when it was indexed"):
        opened.load(0)
    with pytest.raises(DataError, match=r"2 rows, but .* gives 1 frames"):
        open_set(str(tmp_path / "mine"), tmp_path, tmp_path / "cache")


def test_video_without_ground_truth_is_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_lasot(tmp_path / "mine" / "a")
    write_frames(tmp_path / "mine" / "b" / "img", ["1.png"])
    opened = open_set(str(tmp_path / "mine"), tmp_path, tmp_path / "cache")
    assert names_of(opened) == ["a"]
    assert "1 of its 2 sequences are left out" in caplog.text


def test_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere does not exist"):
        open_set(str(tmp_path / "nowhere"), tmp_path, tmp_path)


# -- the index -----------------------------------------------------------------------------------


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """LaSOT with two training sequences."""
    write_lasot_train(tmp_path / "lasot", LASOT_NAMES[:2])
    return tmp_path


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the annotation files that were read."""
    found: list[str] = []

    def counted(read):
        def reading(path: Path) -> np.ndarray:
            found.append(path.name)
            return read(path)

        return reading

    for module in (training_text, training_folder):
        monkeypatch.setattr(module, "read_boxes", counted(module.read_boxes))
    return found


def test_annotation_is_read_once(small: Path, reads: list[str]) -> None:
    first = open_set("LASOT", small, small / "cache")
    assert len(reads) == 2
    again = open_set("LASOT", small, small / "cache")
    assert len(reads) == 2
    assert names_of(again) == names_of(first)
    np.testing.assert_array_equal(again.load(1).boxes, first.load(1).boxes)
    np.testing.assert_array_equal(again.load(1).visible, first.load(1).visible)


def test_change_of_the_annotation_is_seen(small: Path, reads: list[str]) -> None:
    before = open_set("LASOT", small, small / "cache")
    file = small / "lasot" / "bear" / "bear-1" / "full_occlusion.txt"
    write_text(file, file.read_text(encoding="utf-8").replace("1", "0"))
    assert open_set("LASOT", small, small / "cache").visible_counts.tolist() == [23, 24]
    write_lasot_video(small / "lasot" / "zebra" / "zebra-9")
    assert len(open_set("LASOT", small, small / "cache")) == 3
    assert len(before) == 2 and before.load(1).visible.sum() == 23, "who has it open keeps it"


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda data: data[:-100], id="truncated"),
        pytest.param(lambda data: b"", id="empty"),
        pytest.param(lambda data: b"\0" * len(data), id="zeros"),
        pytest.param(lambda data: data[:-1] + bytes([data[-1] ^ 1]), id="one-bit"),
        pytest.param(lambda data: data.replace(b"index-1", b"index-0"), id="other-format"),
        pytest.param(lambda data: b"[]".ljust(256) + data[256:], id="no-header"),
    ],
)
def test_damaged_index_is_made_again(
    small: Path, reads: list[str], damage, caplog: pytest.LogCaptureFixture
) -> None:
    open_set("LASOT", small, small / "cache")
    (file,) = (small / "cache").iterdir()
    good = file.read_bytes()
    file.write_bytes(damage(good))
    assert names_of(open_set("LASOT", small, small / "cache")) == list(LASOT_NAMES[:2])
    assert len(reads) == 4
    assert f"{file}: damaged index" in caplog.text
    assert file.read_bytes() == good


def test_place_that_cannot_be_written(
    small: Path, reads: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    write_text(small / "file", "")
    opened = open_set("LASOT", small, small / "file" / "cache")
    assert caplog.text.count("cannot be kept") == 1
    assert names_of(pickle.loads(pickle.dumps(opened))) == list(LASOT_NAMES[:2])


def test_travels_to_other_processes_as_a_path(small: Path) -> None:
    opened = open_set("LASOT", small, small / "cache")
    data = pickle.dumps(opened)
    assert len(data) < 1500
    code = (
        "import pickle, sys; opened = pickle.load(sys.stdin.buffer); one = opened.load(1); "
        "print(len(opened), one.name, one.visible.sum(), one.frames.read(2).shape)"
    )
    run = subprocess.run([sys.executable, "-c", code], input=data, capture_output=True, check=True)
    assert run.stdout.decode().strip() == "2 bear-1 23 (72, 96, 3)"
    assert len(pickle.dumps(opened.load(0))) < 3000, "a sequence does not carry the index along"


def test_a_training_that_runs_keeps_its_index(small: Path) -> None:
    """Each validation starts processes that open the index again, by its path."""
    data = pickle.dumps(open_set("LASOT", small, small / "cache"))
    (file,) = (small / "cache").iterdir()
    write_lasot_video(small / "lasot" / "zebra" / "zebra-9")
    assert len(open_set("LASOT", small, small / "cache")) == 3
    assert len(pickle.loads(data)) == 2
    file.unlink()
    with pytest.raises(DataError, match="cannot be read any more"):
        pickle.loads(data)


def test_indices_that_nobody_opens_any_more_are_removed(small: Path) -> None:
    cache = small / "cache"

    def index_of(data: Path = small) -> Path:
        return open_set("LASOT", data, cache).index.file

    write_lasot_train(small / "other" / "lasot", LASOT_NAMES[:1])
    other, first = index_of(small / "other"), index_of()
    used = pickle.dumps(open_set("LASOT", small, cache))
    write_lasot_video(small / "lasot" / "bear" / "bear-10")
    second = index_of()
    write_text(foreign := first.with_suffix(".txt"), "")
    for file in (other, first, second, foreign):
        os.utime(file, (0, 0))
    pickle.loads(used)
    write_lasot_video(small / "lasot" / "bear" / "bear-11")
    third = index_of()
    assert set(cache.iterdir()) == {other, first, foreign, third}


def test_other_readers_make_another_index(
    small: Path, reads: list[str], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    old = open_set("LASOT", small, small / "cache").index.file
    monkeypatch.setattr(listing, "_VERSION", listing._VERSION + 1)
    new = open_set("LASOT", small, small / "cache").index.file
    assert new != old and old.is_file() and len(reads) == 4
    assert "damaged" not in caplog.text


def test_sets_of_two_places_do_not_share_an_index(small: Path, reads: list[str]) -> None:
    write_lasot_train(small / "other" / "lasot", LASOT_NAMES[2:])
    for _ in range(2):
        assert len(open_set("LASOT", small, small / "cache")) == 2
        assert len(open_set("LASOT", small / "other", small / "cache")) == 1
    assert len(reads) == 3
