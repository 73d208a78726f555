"""Annotations are read back equal by readers that are not ours, and frames are the right ones.

pycocotools owns COCO, motmetrics reads what the MOT challenge writes; CVAT's XML and YOLO's label
files are read here as their public descriptions say.
"""

import contextlib
import io
import json
import tracemalloc
from pathlib import Path
from xml.etree import ElementTree

import pytest
import yaml

from lib.annotations.read import read_boxes
from lib.annotations.rows import ClipFacts, TargetRow
from lib.annotations.spool import RowSpool
from lib.annotations.write import FORMATS, write_annotations
from lib.utils.errors import ConfigError, DataError, ResultsError

FACTS = ClipFacts("street.mp4", 320, 240, 25.0, 60)
# Target 2 joins at frame 12 and is lost at 14; nothing is known of frames 0 to 9.
ROWS = [
    TargetRow(10, 0.4, 1, (40.0, 30.25, 20.5, 10.0), 1.0, "tracked"),
    TargetRow(11, 0.44, 1, (41.126, 30.5, 20.0, 10.0), 0.91234, "tracked"),
    TargetRow(12, 0.48, 1, (42.0, 31.0, 20.0, 10.0), 0.5, "uncertain"),
    TargetRow(12, 0.48, 2, (-5.0, 200.0, 30.0, 60.0), 1.0, "tracked"),
    TargetRow(13, 0.52, 2, (0.0, 201.0, 30.0, 39.0), 0.75, "tracked"),
    TargetRow(14, 0.56, 2, (1.0, 202.0, 30.0, 30.0), 0.05, "lost"),
    TargetRow(15, 0.6, 2, (2.0, 203.0, 30.0, 30.0), 0.9, "tracked"),
]
IN_SIGHT = {
    10: {1: (40.0, 30.25, 20.5, 10.0)},
    11: {1: (41.13, 30.5, 20.0, 10.0)},
    12: {1: (42.0, 31.0, 20.0, 10.0), 2: (-5.0, 200.0, 30.0, 60.0)},
    13: {2: (0.0, 201.0, 30.0, 39.0)},
    15: {2: (2.0, 203.0, 30.0, 30.0)},
}


def written(folder: Path, format: str, rows=ROWS, facts: ClipFacts = FACTS) -> Path:
    path = folder / f"boxes.{format}"
    # Backward runs end with the first frame.
    write_annotations(path, reversed(rows), format, facts)
    return path


def same(found: dict, wanted: dict = IN_SIGHT, tolerance: float = 1e-9) -> None:
    assert {frame: set(boxes) for frame, boxes in found.items()} == {
        frame: set(boxes) for frame, boxes in wanted.items()
    }
    for frame, boxes in wanted.items():
        for target, box in boxes.items():
            assert found[frame][target] == pytest.approx(box, abs=tolerance)


@pytest.mark.parametrize("format", ["csv", "json", "mot", "coco", "cvat"])
def test_what_is_written_is_read_back(tmp_path, format):
    path = written(tmp_path, format)
    same(read_boxes(path, format))
    # The kind is seen from the file, whatever its name.
    same(read_boxes(path))
    assert [path.name for path in tmp_path.iterdir()] == [path.name]


def test_coco_is_read_by_pycocotools(tmp_path):
    coco_format = pytest.importorskip("pycocotools.coco")
    with contextlib.redirect_stdout(io.StringIO()):
        coco = coco_format.COCO(str(written(tmp_path, "coco")))
    found = {}
    for image in coco.loadImgs(coco.getImgIds()):
        assert (image["width"], image["height"], image["video_id"]) == (320, 240, 1)
        assert image["file_name"] == f"street_{image['frame_id']:06d}.jpg"
        annotations = coco.loadAnns(coco.getAnnIds(imgIds=[image["id"]]))
        boxes = {one["instance_id"]: tuple(one["bbox"]) for one in annotations}
        assert all(one["area"] == one["bbox"][2] * one["bbox"][3] for one in annotations)
        found[image["frame_id"]] = boxes
    # The frame in which the only target is lost is there, without a box.
    assert found.pop(14) == {}
    same(found)
    assert [cat["name"] for cat in coco.loadCats(coco.getCatIds())] == ["target"]


def test_mot_is_read_by_motmetrics(tmp_path):
    motmetrics = pytest.importorskip("motmetrics")
    table = motmetrics.io.loadtxt(str(written(tmp_path, "mot")), fmt="mot15-2D")
    found: dict = {}
    for (frame, target), row in table.iterrows():
        # motmetrics takes 1 off the corner, and nothing off the frame.
        box = (row["X"] + 1, row["Y"] + 1, row["Width"], row["Height"])
        found.setdefault(int(frame) - 1, {})[int(target)] = box
    same(found)
    assert table.sort_index()["Confidence"].tolist() == pytest.approx(
        [1, 0.9123, 0.5, 1, 0.75, 0.9]
    )


def test_cvat_is_read_by_its_description(tmp_path):
    root = ElementTree.parse(written(tmp_path, "cvat")).getroot()
    assert root.findtext("version") == "1.1"
    assert root.findtext("meta/task/size") == "60"
    assert root.findtext("meta/task/original_size/width") == "320"
    labels = [label.findtext("name") for label in root.iter("label")]
    found: dict = {}
    shown: dict = {}
    for track in root.iter("track"):
        assert track.get("label") in labels
        for box in track.iter("box"):
            frame, target = int(box.get("frame")), int(track.get("id"))
            shown.setdefault(target, {})[frame] = box.get("outside") == "0"
            if box.get("outside") == "0":
                left, top, right, bottom = (float(box.get(k)) for k in ("xtl", "ytl", "xbr", "ybr"))
                found.setdefault(frame, {})[target] = (left, top, right - left, bottom - top)
    same(found)
    # A box stays until the next one says otherwise: target 1 leaves after frame 12.
    assert shown == {
        1: {10: True, 11: True, 12: True, 13: False},
        2: {12: True, 13: True, 14: False, 15: True, 16: False},
    }


def test_yolo_is_read_by_its_description(tmp_path):
    folder = written(tmp_path, "yolo")
    names = yaml.safe_load((folder / "data.yaml").read_text())["names"]
    assert names == {0: "target 1", 1: "target 2"}
    found: dict = {}
    for path in sorted((folder / "labels").iterdir()):
        stem, _, frame = path.stem.rpartition("_")
        assert stem == "street"
        found[int(frame)] = {}
        for line in path.read_text().splitlines():
            kind, *shares = line.split()
            cx, cy, w, h = map(float, shares)
            assert 0 <= cx - w / 2 + 1e-6 and cy + h / 2 <= 1 + 1e-6
            box = ((cx - w / 2) * 320, (cy - h / 2) * 240, w * 320, h * 240)
            found[int(frame)][int(kind) + 1] = box
    assert found.pop(14) == {}
    # Cut at the edges of the picture.
    cut = {**IN_SIGHT, 12: {1: IN_SIGHT[12][1], 2: (0.0, 200.0, 25.0, 40.0)}}
    same(found, cut, 0.006)


def test_csv_has_the_columns_of_before(tmp_path):
    rows = [TargetRow(3, 0.12, 1, (1, 2, 3, 4), None)]
    header = "frame,target,time_s,x,y,w,h,confidence"
    text = written(tmp_path, "csv", rows).read_text()
    assert text == f"{header}\n3,1,0.120,1.00,2.00,3.00,4.00,\n"
    assert written(tmp_path, "csv").read_text().splitlines()[:2] == [
        header + ",state",
        "10,1,0.400,40.00,30.25,20.50,10.00,1.0000,tracked",
    ]


def test_json_says_the_clip_and_all_that_is_known(tmp_path):
    content = json.loads(written(tmp_path, "json").read_text())
    assert content["clip"] == {
        "name": "street.mp4", "width": 320, "height": 240, "fps": 25.0, "length": 60
    }  # fmt: skip
    assert len(content["rows"]) == 7
    assert content["rows"][5] == {
        "frame": 14, "time_s": 0.56, "target": 2, "box": [1, 202, 30, 30], "confidence": 0.05,
        "state": "lost",
    }  # fmt: skip


def test_pictures_of_a_folder_keep_their_names_and_targets_theirs(tmp_path):
    facts = ClipFacts("img", 320, 240, 25.0, 2, ("0007.png", "0008.png"))
    rows = [TargetRow(frame, 0.04 * frame, "red car", (1, 2, 30, 40)) for frame in (0, 1)]
    images = json.loads(written(tmp_path, "coco", rows, facts).read_text())["images"]
    assert [image["file_name"] for image in images] == ["0007.png", "0008.png"]
    folder = written(tmp_path, "yolo", rows, facts)
    assert sorted(path.name for path in (folder / "labels").iterdir()) == ["0007.txt", "0008.txt"]
    assert yaml.safe_load((folder / "data.yaml").read_text())["names"] == {0: "red car"}
    track = ElementTree.parse(written(tmp_path, "cvat", rows, facts)).getroot().find("track")
    # The clip ends with its last box, so nothing has to be closed.
    assert track.get("label") == "red car" and len(track) == 2
    assert read_boxes(written(tmp_path, "csv", rows, facts))[1] == {"red car": (1, 2, 30, 40)}


def test_a_folder_with_files_is_left_alone(tmp_path):
    (tmp_path / "boxes.yolo").mkdir()
    written(tmp_path, "yolo")
    with pytest.raises(ResultsError, match=r"boxes\.yolo is there already"):
        written(tmp_path, "yolo")


def test_coco_of_other_programs(tmp_path):
    """Without frame_id a picture is the frame of its place; identities may be attributes."""
    path = tmp_path / "a.json"
    images = [{"id": 5, "file_name": "b.png"}, {"id": 4, "file_name": "a.png"}]
    boxes = [
        {"image_id": 5, "bbox": [1, 2, 3, 4], "attributes": {"track_id": 7}},
        {"image_id": 4, "bbox": [5, 6, 7, 8], "attributes": {"track_id": 7}},
    ]
    path.write_text(json.dumps({"images": images, "annotations": boxes}))
    assert read_boxes(path) == {0: {7: (5, 6, 7, 8)}, 1: {7: (1, 2, 3, 4)}}
    same_frame = [{"image_id": 4, "bbox": [1, 2, 3, 4]}, {"image_id": 4, "bbox": [5, 6, 7, 8]}]
    path.write_text(json.dumps({"images": images, "annotations": same_frame}))
    assert read_boxes(path) == {0: {1: (1, 2, 3, 4), 2: (5, 6, 7, 8)}}


COCO = '{{"images": [{{"id": 1}}, {{"id": 2}}], "annotations": [{}]}}'
WRONG = [
    ("", "is empty"),
    ("1,1,10,10,5\n", "a:1: 5 values; MOT has frame"),
    ("1,1,10,10,5,5\n1,1,20,20,5,5\n", "a:2: target 1 has two boxes"),
    ("0,1,10,10,5,5\n", "a:1: the number of the frame is too small"),
    ("1,1,10,10,0,5\n", "a:1: 10, 10, 0, 5 is no box"),
    ("1.5,1,10,10,5,5\n", "frame '1.5' is no whole number"),
    ("frame,target,x,y,w\n1,1,2,3,4\n", "no column h"),
    ("<annotations><image><box/></image></annotations>", "'CVAT for images'"),
    ('<a><track id="1"><box frame="0" xtl="1"/></track></a>', "frame 0: the box has no xtl"),
    ("<annotations><track", "not XML"),
    ("<annotations/>", "holds no box"),
    ('{"rows": 3}', "rows: no list of objects"),
    ('{"rows": [{"frame": 0, "target": 1, "box": [1, 2]}]}', "row 1: 1, 2 is no box"),
    ("[1]", "a list, where annotations"),
    ('{"rows"', "not JSON"),
    (COCO.format('{"image_id": 3, "bbox": [1, 2, 3, 4]}'), "there is no image 3"),
    (
        COCO.format(
            '{"image_id": 1, "bbox": [1, 2, 3, 4]}, {"image_id": 1, "bbox": [1, 2, 3, 4]},'
            '{"image_id": 2, "bbox": [1, 2, 3, 4]}'
        ),
        "no instance_id or track_id says",
    ),
    (
        '{"images": [{"id": 1, "video_id": 1}, {"id": 2, "video_id": 2}], "annotations": []}',
        "2 videos",
    ),
]


@pytest.mark.parametrize(("text", "said"), WRONG, ids=[said for _, said in WRONG])
def test_what_cannot_be_read_is_said_in_a_line(tmp_path, text, said):
    (tmp_path / "a").write_text(text)
    with pytest.raises(DataError, match=said.replace("(", r"\(")) as caught:
        read_boxes(tmp_path / "a")
    assert "\n" not in str(caught.value)


def test_an_unknown_format_names_the_known_ones(tmp_path):
    with pytest.raises(ConfigError, match=r"did you mean 'coco'.*cvat, yolo"):
        write_annotations(tmp_path / "a", ROWS, "cocoo", FACTS)
    with pytest.raises(ConfigError, match="'yolo' is no format"):
        read_boxes(written(tmp_path, "mot"), "yolo")
    assert FORMATS == ("csv", "json", "mot", "coco", "cvat", "yolo")


@pytest.mark.parametrize("format", [one for one in FORMATS if one != "yolo"])
def test_a_long_clip_is_never_in_memory(tmp_path, format):
    """4,000 rows are more than a megabyte as objects."""
    rows = (
        TargetRow(n, n / 25, "cat", (n / 7, 2.0, 30.0, 40.0), 0.5, "tracked") for n in range(4000)
    )
    with RowSpool(rows) as spool:
        tracemalloc.start()
        try:
            write_annotations(tmp_path / "boxes", spool, format, FACTS)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert (tmp_path / "boxes").stat().st_size > 150_000
    assert peak < 400_000


def test_a_spool_gives_rows_back_as_they_came():
    odd = TargetRow(3, 0.123456789, "2", (1 / 3, -5.0, 3e9, 1.0))
    with RowSpool([*reversed(ROWS), odd]) as spool:
        assert spool.last_frame == 15
        assert list(spool) == [odd, *ROWS[:2], ROWS[3], ROWS[2], *ROWS[4:]]
        assert list(spool.of(2)) == ROWS[3:] and list(spool.of("2")) == [odd]
    with RowSpool() as empty:
        assert empty.last_frame is None and list(empty) == []
