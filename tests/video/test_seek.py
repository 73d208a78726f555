"""A clip read from its middle, or backward, has the frames of one read from its start."""

from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from lib.video import seek
from lib.video.clip import Frame
from lib.video.decode import VideoFile
from lib.video.decode_opencv import open_video_opencv
from lib.video.open import open_clip
from tests.helpers.video_files import number_in, numbered, write_av
from tests.video.test_video_file import CASES

GROUPS = {"g": "10", "keyint_min": "10", "sc_threshold": "0"}
INTERLACED = {**GROUPS, "flags": "+ildct+ilme", "x264-params": "tff=1"}
OPEN = {**GROUPS, "bf": "3", "x264-params": "open-gop=1"}
VARIABLE = [0.04 * i + (i // 7) * 0.5 for i in range(45)]

# Name of the file, codec, options, times, and whether it can be sought in.
KINDS = {
    "B-frames": ("a.mp4", "libx264", {**GROUPS, "bf": "3"}, None, True),
    "no B-frames": ("a.mp4", "libx264", {**GROUPS, "bf": "0"}, None, True),
    "open groups": ("a.mp4", "libx264", OPEN, None, True),
    "variable rate": ("a.mp4", "libx264", GROUPS, VARIABLE, True),
    "variable rate in Matroska": ("a.mkv", "libx264", GROUPS, VARIABLE, True),
    "late start": ("a.mkv", "libx264", GROUPS, [1.5 + i / 25 for i in range(45)], True),
    "interlaced": ("a.mp4", "libx264", INTERLACED, None, True),
    "interlaced transport stream": ("a.ts", "libx264", INTERLACED, None, True),
    "VP9": ("a.webm", "libvpx-vp9", {"g": "10", "lag-in-frames": "10"}, None, True),
    "MPEG-4 with B-frames": ("a.mp4", "mpeg4", {"g": "10", "bf": "2"}, None, True),
    "MPEG-2": ("a.ts", "mpeg2video", {"g": "10", "bf": "2"}, None, True),
    "every frame a key": ("a.avi", "mjpeg", {}, None, True),
    "VP8, which hides frames": ("a.webm", "libvpx", {"g": "10", "auto-alt-ref": "1"}, None, False),
    "a raw stream without times": ("a.h264", "libx264", GROUPS, None, False),
    "deep grey": ("a.mkv", "ffv1", {}, None, False),
}


def make(folder: Path, kind: str) -> VideoFile:
    name, codec, options, times, _ = KINDS[kind]
    layout = {"mjpeg": "yuvj420p", "ffv1": "gray16le"}.get(codec, "yuv420p")
    path = write_av(
        folder / name, numbered(45), codec, options=options, times=times, pix_fmt=layout
    )
    return open_clip(path)


def same(found: list[Frame], wanted: list[Frame]) -> None:
    """Equal numbers, times, durations and pixels."""
    assert [frame.index for frame in found] == [frame.index for frame in wanted]
    assert [frame.time for frame in found] == [frame.time for frame in wanted]
    assert [frame.duration for frame in found] == [frame.duration for frame in wanted]
    for one, other in zip(found, wanted, strict=True):
        assert np.array_equal(one.image, other.image), one.index


@pytest.mark.parametrize("kind", KINDS)
def test_frames_from_the_middle_and_backward_are_those_from_the_start(tmp_path, kind, monkeypatch):
    clip = make(tmp_path, kind)
    every = list(clip.frames())
    assert len(every) == 45
    assert (clip._index is not None) == KINDS[kind][-1]
    # A few pictures in memory: windows end within groups.
    monkeypatch.setattr(seek, "BACKWARD_BYTES", 8 * 96 * 64 * 3)
    for start in (1, 9, 10, 11, 19, 23, 30, 44):
        same(list(islice(clip.frames(start), 3)), every[start : start + 3])
    same(list(clip.frames(38)), every[38:])
    same(list(clip.frames(37, backward=True)), every[37::-1])
    same(list(clip.frames(90, backward=True)), every[::-1])
    assert list(clip.frames(45)) == []


def test_an_edit_list_counts_what_is_shown(monkeypatch):
    """50 pictures, of which an edit list shows the last 35."""
    clip = open_clip(CASES / "stream_copied_cut.mp4")
    every = list(clip.frames())
    assert clip._index is not None and len(clip._index.stamps) == 35
    for start in (1, 12, 20, 34):
        same(list(clip.frames(start)), every[start:])
    same(list(clip.frames(34, backward=True)), every[::-1])


def decoded_for(clip: VideoFile, start: int, monkeypatch) -> int:
    """Pictures that are decoded to give one frame."""
    count = 0
    resumed = seek.PictureIndex.resumed

    def counting(self, pictures, number):
        def counted():
            nonlocal count
            for picture in pictures:
                count += 1
                yield picture

        return resumed(self, counted(), number)

    monkeypatch.setattr(seek.PictureIndex, "resumed", counting)
    assert next(clip.frames(start)).index == start
    return count


def test_a_seek_decodes_a_group_and_not_the_file(tmp_path, monkeypatch):
    path = write_av(tmp_path / "a.mp4", numbered(200), options={**GROUPS, "bf": "2"})
    clip = open_clip(path)
    assert 1 <= decoded_for(clip, 187, monkeypatch) <= 20


def test_a_file_that_starts_inside_a_group_is_read_from_its_start(tmp_path):
    data = write_av(tmp_path / "whole.ts", numbered(40), options={**GROUPS, "bf": "0"}).read_bytes()
    (tmp_path / "a.ts").write_bytes(data[188 * (len(data) // 188 // 8) :])
    clip = open_clip(tmp_path / "a.ts")
    every = list(clip.frames())
    assert 0 < len(every) < 40
    same(list(clip.frames(15)), every[15:])
    same(list(clip.frames(15, backward=True)), every[15::-1])


def test_a_seek_that_lands_elsewhere_is_no_frame():
    """Pictures that are not where the index has them are not taken for others."""

    class Picture:
        width, height, is_corrupt = 4, 4, False

        def __init__(self, pts: int) -> None:
            self.pts = pts

    index = seek.PictureIndex([0, 10, 20, 30, 40], [(0, 0), (20, 20)], 1, (4, 4), (5, 50, 50))

    def taken(stamps: list[int], number: int) -> list[int]:
        return [picture.pts for picture in index.resumed(map(Picture, stamps), number)]

    assert taken([20, 30, 40], 3) == [30, 40]
    assert taken([20, 40], 3) == [] and taken([40], 3) == [] and taken([20, 25, 30], 3) == []
    assert index.targets(3) == [20, 0] and index.targets(1) == []


def test_opencv_reads_from_the_start_and_gives_the_same_frames(tmp_path):
    clip = open_video_opencv(write_av(tmp_path / "a.mp4", numbered(45), options=GROUPS))
    every = list(clip.frames())
    assert [number_in(frame.image) for frame in every] == list(range(45))
    same(list(clip.frames(33)), every[33:])
    same(list(clip.frames(40, backward=True)), every[40::-1])
