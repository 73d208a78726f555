"""Files that once ended a reader with a traceback, without end, or with memory eaten up."""

import json
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch

from lib.annotations.read import read_boxes
from lib.config.loader import load_config
from lib.datasets.benchmarks.folder import open_folder
from lib.datasets.storage.lmdb import read_value
from lib.datasets.storage.zip import list_archive
from lib.datasets.text.ground_truth import read_frame_range
from lib.datasets.training.coco import read_coco
from lib.datasets.training.index import TrainingIndex
from lib.results.files import read_run_record
from lib.tracker.calibration import Calibration
from lib.utils.checkpoint import read_checkpoint
from lib.utils.errors import (
    CheckpointError,
    ConfigError,
    DataError,
    ResultsError,
    SeqTrackError,
)
from lib.utils.image_io import PageReader
from lib.video.open import open_clip
from lib.vot.regions import parse_region, read_regions
from lib.vot.sequences import VotSequence, read_names
from lib.vot.stacks import read_stack
from tests.helpers.video_files import numbered, write_av

DEEP = "[" * 100_000


def write(folder: Path, content: str | bytes, name: str = "a") -> Path:
    (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
    return folder / name


@pytest.mark.parametrize(
    ("content", "said"),
    [
        pytest.param(DEEP, "nested too deeply", id="brackets"),
        pytest.param("9" * 5000, "not valid JSON", id="digits"),
    ],
)
def test_a_run_record(tmp_path: Path, content: str, said: str) -> None:
    with pytest.raises(ResultsError, match=said):
        read_run_record(write(tmp_path, content))


@pytest.mark.parametrize(
    "content",
    [
        pytest.param('{"rows": ' + DEEP, id="brackets"),
        pytest.param('{"rows": [{"frame": 1%s, "target": 1, "box": [1,2,3,4]}]}' % ("0" * 400),
                     id="frame beyond all numbers"),
        pytest.param('{"rows": [{"frame": 1, "target": 1, "box": [1,2,3,1%s]}]}' % ("0" * 400),
                     id="side beyond all numbers"),
        pytest.param('{"images": [{"id": 1, "video_id": []}], "annotations": [{}]}', id="list"),
        pytest.param('{"images": [{"id": 1}], "annotations": [{"image_id": []}]}', id="image"),
        pytest.param('{"rows": [{"frame": 1, "target": "\\ud800", "box": [1,2,3,4]}]}', id="name"),
        pytest.param("frame,target,x,y,w,h\n1,1,1,2,3," + "4" * 200_000 + "\n", id="long cell"),
    ],
)  # fmt: skip
def test_an_annotation(tmp_path: Path, content: str) -> None:
    with pytest.raises(DataError):
        read_boxes(write(tmp_path, content))


def test_a_target_of_thousands_of_digits_is_a_name(tmp_path: Path) -> None:
    name = "9" * 5000
    path = write(tmp_path, f"frame,target,x,y,w,h\n1,{name},1,2,3,4\n")
    assert read_boxes(path, "csv") == {1: {name: (1, 2, 3, 4)}}


def test_a_sequence_whose_name_no_folder_can_have(tmp_path: Path) -> None:
    write(tmp_path, "one\n" + "[" * 100_000 + "\n", "list.txt")
    with pytest.raises(DataError, match=r"list\.txt:2: .* is not the name of a folder"):
        open_folder(tmp_path)
    with pytest.raises(DataError, match="is not the name of a folder"):
        read_names(tmp_path)


def test_aliases_of_aliases(tmp_path: Path) -> None:
    """Ten lists of ten of the one before are ten milliards of values."""
    lines = ["A: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"A{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 10)]
    with pytest.raises(ConfigError, match="more than 20000 values"):
        load_config(write(tmp_path, "\n".join(lines), "my.yaml"))


@pytest.mark.parametrize("content", ['A: "\\U99999999"', f"%YAML {'9' * 5000}.1\n---\nA: 1"])
def test_yaml_of_impossible_numbers(tmp_path: Path, content: str) -> None:
    with pytest.raises(ConfigError, match="not valid YAML"):
        load_config(write(tmp_path, content, "my.yaml"))


@pytest.mark.parametrize(
    "content",
    [
        pytest.param("experiments: {../x: {type: unsupervised}}", id="path"),
        pytest.param("experiments: {a: {type: unsupervised, repetitions: [1]}}", id="list"),
        pytest.param("experiments: {a: {type: !!int ''}}", id="tag"),
        pytest.param("experiments: {a: {type: {b: c}}}", id="mapping"),
        pytest.param(f"experiments: {DEEP[:3000]}", id="brackets"),
    ],
)
def test_a_stack(tmp_path: Path, content: str) -> None:
    with pytest.raises(ConfigError):
        read_stack(write(tmp_path, content, "my.yaml"), "VOT20")


@pytest.mark.parametrize("text", ["inf", "1e400", "-1", "1e39,1,1,1", "m0,0,99999,99999,1"])
def test_a_region(text: str) -> None:
    with pytest.raises(ValueError):
        parse_region(text)


def test_a_mask_of_gigabytes_in_eleven_bytes(tmp_path: Path) -> None:
    content = struct.pack("<hIBhhHHH", 1, 1, 3, 0, 0, 65535, 65535, 0)
    with pytest.raises(DataError, match="a mask of 65535 x 65535 pixels"):
        read_regions(write(tmp_path, content, "a.bin"))


@pytest.mark.parametrize(
    ("line", "said"),
    [
        pytest.param("groundtruth=../x", "leads out of the folder", id="truth"),
        pytest.param("groundtruth=/etc/passwd", "leads out of the folder", id="absolute"),
        pytest.param("channels.color=../%08d.jpg", "leads out of the folder", id="frames"),
        pytest.param("channels.color=%s%s.jpg", "is no pattern", id="two numbers"),
        pytest.param("channels.color=%999999999d.jpg", "is no pattern", id="wide number"),
    ],
)
def test_a_sequence_of_vot(tmp_path: Path, line: str, said: str) -> None:
    write(tmp_path, line, "sequence")
    sequence = VotSequence(tmp_path)
    with pytest.raises(DataError, match=said):
        sequence.frame_file(0), sequence.regions


def test_a_sequence_of_a_milliard_frames_has_those_of_its_truth(tmp_path: Path) -> None:
    write(tmp_path, "length=1000000000\n", "sequence")
    write(tmp_path, "1,2,3,4\n", "groundtruth.txt")
    assert len(VotSequence(tmp_path)) == 1


def test_a_list_of_vot_names_no_paths(tmp_path: Path) -> None:
    write(tmp_path, "a\n../b\n", "list.txt")
    with pytest.raises(DataError, match=r"'\.\./b' is not the name of a folder"):
        read_names(tmp_path)


def test_a_calibration_beyond_all_numbers(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no calibration"):
        Calibration.load(write(tmp_path, '{"means": [1%s]}' % ("0" * 400)))


@pytest.mark.parametrize(
    "content",
    [
        {"images": [{"id": 1, "file_name": "../a.jpg"}]},
        {"images": [{"id": 1, "file_name": "/a.jpg"}]},
        {"images": [{"id": 1, "file_name": 3}]},
        {"images": [{"id": 1, "file_name": "a.jpg"}], "annotations": 3},
    ],
)
def test_pictures_of_coco_lie_below_its_folder(tmp_path: Path, content: dict) -> None:
    annotation = {"id": 1, "image_id": 1, "bbox": [1, 2, 3, 4]}
    path = write(tmp_path, json.dumps({"annotations": [annotation], **content}))
    with pytest.raises(DataError):
        list(read_coco(path))


def test_a_bomb_whose_size_is_below_zero(tmp_path: Path) -> None:
    """2^64 - 1 bytes were -1, and -1 + 1 is zlib's word for no limit."""
    packed = zlib.compressobj(9, zlib.DEFLATED, -15)
    data = packed.compress(bytes(1 << 20)) + packed.flush()
    header = struct.pack("<2s2s5H3I2H", b"PK", b"\3\4", 45, 0, 8, 0, 33, 0, len(data), 0, 1, 0)
    large = struct.pack("<HHQ", 1, 8, (1 << 64) - 1)
    entry = struct.pack(
        "<2s2s6H3I5H2I", b"PK", b"\1\2", 45, 45, 0, 8, 0, 33, 0, len(data), 0xFFFFFFFF, 1,
        len(large), 0, 0, 0, 0, 0,
    )  # fmt: skip
    directory = entry + b"a" + large
    place = len(header) + 1 + len(data)
    end = struct.pack("<2s2s4H2IH", b"PK", b"\5\6", 0, 0, 1, 1, len(directory), place, 0)
    path = write(tmp_path, header + b"a" + data + directory + end, "a.zip")
    with zipfile.ZipFile(path) as archive:
        assert archive.getinfo("a").file_size == (1 << 64) - 1
    with pytest.raises(DataError, match="cannot be read as a zip archive"):
        list_archive(path)


def test_thumbnails_that_go_round_in_a_circle(tmp_path: Path) -> None:
    content = b"II*\0" + struct.pack("<IHHHIII", 8, 1, 254, 4, 1, 1, 8)
    with pytest.raises(DataError, match="round in a circle"):
        PageReader(write(tmp_path, content, "a.tif"))


def test_one_number_that_claims_to_be_a_trillion(tmp_path: Path) -> None:
    tensor = torch.ones(1).expand(1 << 20, 1 << 20)
    torch.save({"net": {"w": tensor}}, tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match="claim to be 4398046511104"):
        read_checkpoint(tmp_path / "a.pth")


@pytest.mark.parametrize(
    ("start", "length"), [(-1, 2), (2, 2), (0, 4), (0, -1), ((1 << 63) - 1, 2)]
)
def test_an_index_whose_rows_are_elsewhere(start: int, length: int) -> None:
    kinds = [("name", "S1"), ("folder", "S1"), ("pattern", "S1"), ("first", "i4"), ("start", "i8"),
             ("length", "i4"), ("visible", "i4")]  # fmt: skip
    sequences = np.array([(b"a", b"b", b"c", 0, start, length, 2)], kinds)
    boxes, visible = np.zeros((3, 4), np.float32), np.ones(3, bool)
    with pytest.raises(ValueError, match="has no rows there"):
        TrainingIndex(sequences, boxes, visible, "key")


def test_messages_cannot_move_the_cursor() -> None:
    error = SeqTrackError("a\x1b[2Jb\x07\n\udcff\u202e")
    assert str(error) == "a\\x1b[2Jb\\x07\n\\udcff\\u202e"


@pytest.mark.parametrize("suffix", ["mp4", "avi"])
@pytest.mark.parametrize(
    "text",
    [
        "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{other}\n#EXT-X-ENDLIST\n",
        "ffconcat version 1.0\nfile {other}\n",
    ],
    ids=["HLS", "concat"],
)
def test_a_playlist_opens_no_other_file(tmp_path: Path, text: str, suffix: str) -> None:
    other = write_av(tmp_path / "other.ts", numbered(3), "mpeg4")
    with pytest.raises(DataError):
        list(open_clip(write(tmp_path, text.format(other=other), f"a.{suffix}")).frames())


def test_no_memory_behind_the_numbers_of_a_file_is_read(tmp_path: Path) -> None:
    """A storage of 4 numbers that says that it has 255."""
    torch.save({"net": {"w": torch.zeros(4)}}, tmp_path / "a.pth")
    with zipfile.ZipFile(tmp_path / "a.pth") as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(tmp_path / "b.pth", "w") as archive:
        for name, data in members.items():
            forged = data.replace(b"K\x04", b"K\xff") if name.endswith(".pkl") else data
            archive.writestr(name, forged)
    with pytest.raises(CheckpointError):
        read_checkpoint(tmp_path / "b.pth")


def test_an_lmdb_that_is_cut_short(tmp_path: Path) -> None:
    pytest.importorskip("lmdb")
    from tests.helpers.lmdb_files import write_lmdb

    (tmp_path / "set").mkdir()
    write(tmp_path / "set", bytes(200_000), "frame.jpg")
    write_lmdb(tmp_path / "set", tmp_path / "set_lmdb")
    data = tmp_path / "set_lmdb" / "data.mdb"
    data.write_bytes(data.read_bytes()[:100_000])
    with pytest.raises(DataError, match="cut short"):
        read_value(tmp_path / "set_lmdb", "frame.jpg")


@pytest.mark.parametrize("last", ["99999999999", "9" * 5000])
def test_a_range_of_a_hundred_milliard_frames(tmp_path: Path, last: str) -> None:
    with pytest.raises(DataError, match="is not a range of frames"):
        read_frame_range(write(tmp_path, f"1,{last}\n"))


def test_a_name_of_exabytes(tmp_path: Path) -> None:
    """In the old format, whose first pickle is PyTorch's number."""
    magic = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
    name = b"\x80\x04\x8d" + struct.pack("<Q", 1 << 60)
    with pytest.raises(CheckpointError):
        read_checkpoint(write(tmp_path, magic + name, "a.pth"))
