"""Clips in and videos out: every frame once, in order, in the right colours, or one clear line."""

import os
import subprocess
import sys
from itertools import islice
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from lib.tracker.build import build_tracker
from lib.tracker.spec import TrackerSpec
from lib.utils.errors import DataError, PartialFailure, SeqTrackError
from lib.utils.files import atomic_path
from lib.utils.image_io import write_rgb
from lib.video import open as video
from lib.video import write as video_writer
from lib.video.clip import Frame, Result, TargetResult
from lib.video.decode_opencv import OpenCVVideoFile
from lib.video.open import FrameClip, open_clip
from lib.video.targets import Targets, follow
from lib.video.write import COLOURS, Painter, kept_path, open_sink
from tests.helpers.tiny import draw_sequence, tiny_config
from tests.helpers.video_files import read_av

REPOSITORY = Path(__file__).parents[2]
RED, BLUE, GREEN = (255, 0, 0), (0, 0, 255), (0, 255, 0)


def halves(width: int = 96, height: int = 64) -> np.ndarray:
    """RGB picture, the left half red and the right one blue."""
    image = np.empty((height, width, 3), np.uint8)
    image[:, : width // 2], image[:, width // 2 :] = RED, BLUE
    return image


def write_clip(path: Path, frames, fps: float = 12.5, codec: str = "mp4v") -> Path:
    """A video file of RGB frames, by OpenCV alone."""
    height, width = frames[0].shape[:2]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*codec), fps, (width, height))
    for frame in frames:
        writer.write(frame[..., ::-1].copy())
    writer.release()
    return path


def read_clip(path: Path) -> tuple[list[np.ndarray], float]:
    """RGB frames of a video file and its frames/s, by OpenCV alone."""
    capture, frames = cv2.VideoCapture(str(path)), []
    while (answer := capture.read())[0]:
        frames.append(answer[1][..., ::-1])
    return frames, capture.get(cv2.CAP_PROP_FPS)


def near(pixel, colour, tolerance: int = 40) -> bool:
    """Whether two RGB colours agree but for what a lossy codec does."""
    return bool(np.abs(np.asarray(pixel, int) - colour).max() <= tolerance)


def result_of(image: np.ndarray, index: int = 0, state: str | None = None) -> Result:
    box = (20.0, 30.0, 30.0, 20.0)
    return Result(index, index / 25, image, {1: TargetResult(box, 0.5, state)})


def static_targets() -> Targets:
    return Targets(build_tracker(TrackerSpec("static_box", "default")))


def test_a_video_file_gives_rgb_frames_with_their_times(tmp_path):
    clip = open_clip(write_clip(tmp_path / "a.mp4", [halves()] * 5))
    frames = list(clip.frames())
    assert (clip.name, clip.fps, clip.length) == ("a.mp4", 12.5, 5)
    assert [frame.index for frame in frames] == [0, 1, 2, 3, 4]
    assert [frame.time for frame in frames] == pytest.approx([0, 0.08, 0.16, 0.24, 0.32])
    for frame in frames:
        assert near(frame.image[32, 10], RED) and near(frame.image[32, 80], BLUE)
    assert len(list(clip.frames())) == 5, "a clip can be read again"


def test_the_rotation_of_a_phone_is_applied(tmp_path):
    """A quarter turn clockwise, as phones flag it: the left half comes out on top."""
    path = write_clip(tmp_path / "a.mp4", [halves()] * 2)
    data = bytearray(path.read_bytes())
    matrix = data.index(b"tkhd") + 44
    turn = [0, 0x10000, 0, -0x10000, 0, 0, 0, 0, 0x40000000]
    data[matrix : matrix + 36] = np.array(turn, ">i4").tobytes()
    path.write_bytes(data)
    image = next(open_clip(path).frames()).image
    assert image.shape == (96, 64, 3)
    assert near(image[10, 32], RED) and near(image[80, 32], BLUE)


def test_a_folder_is_read_in_numeric_order(tmp_path):
    for name, level in (("f10.png", 100), ("f2.png", 20), ("f1.png", 10)):
        write_rgb(tmp_path / name, np.full((8, 8, 3), (level, 0, 0), np.uint8))
    (tmp_path / "notes.txt").write_text("no image")
    clip = open_clip(tmp_path, fps=10)
    assert [tuple(frame.image[0, 0]) for frame in clip.frames()] == [
        (10, 0, 0),
        (20, 0, 0),
        (100, 0, 0),
    ]
    assert [frame.time for frame in clip.frames()] == [0, 0.1, 0.2]
    assert clip.length == 3 and open_clip(tmp_path).fps == 25


def test_images_of_two_sizes_are_no_clip(tmp_path):
    write_rgb(tmp_path / "1.png", np.zeros((8, 8, 3), np.uint8))
    write_rgb(tmp_path / "2.png", np.zeros((8, 10, 3), np.uint8))
    frames = open_clip(tmp_path).frames()
    next(frames)
    with pytest.raises(DataError, match=r"2\.png is 10 x 8, .* 8 x 8"):
        next(frames)


def make_wrong(root: Path, kind: str) -> Path:
    path = root / "clip.mp4"
    if kind == "text":
        path.write_text("I am no video. " * 50)
    elif kind == "empty":
        path.touch()
    elif kind == "cut":
        data = write_clip(path, [halves()] * 9).read_bytes()
        path.write_bytes(data[: len(data) // 2])
    elif kind == "image":
        write_rgb(path := root / "one.png", halves())
    elif kind == "folder":
        (path := root / "videos").mkdir()
        write_rgb(path / "img" / "1.png", halves())
    return path


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        pytest.param("missing", "no such video file", id="no file"),
        pytest.param("empty", "is empty", id="zero bytes"),
        pytest.param("text", "ffmpeg -i clip.mp4", id="not a video"),
        pytest.param("cut", "or damaged", id="half an mp4 has no index"),
        pytest.param("image", "give its folder", id="one picture"),
        pytest.param("folder", "there are some in", id="folder whose sub-folder has the images"),
    ],
)
def test_what_is_no_clip_is_said(tmp_path, kind, said):
    path = make_wrong(tmp_path, kind)
    with pytest.raises(DataError, match=said) as caught:
        open_clip(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def spoil(path: Path, start: float) -> Path:
    """Overwrite the pictures of an mp4 from `start`, a share of them, and leave its index."""
    data = bytearray(path.read_bytes())
    tag = data.index(b"mdat")
    begin, end = tag + 4, tag - 4 + int.from_bytes(data[tag - 4 : tag], "big")
    begin += round(start * (end - begin))
    data[begin:end] = bytes(end - begin)
    path.write_bytes(data)
    return path


def test_a_video_without_a_readable_frame_names_its_codec(tmp_path):
    path = spoil(write_clip(tmp_path / "a.mp4", [halves()] * 5), 0.0)
    with pytest.raises(DataError, match=r"not one frame can be decoded .*'mpeg4'"):
        list(open_clip(path).frames())


def test_a_clip_that_breaks_off_says_so_after_its_last_frame(tmp_path):
    frames, _ = draw_sequence(20)
    path = spoil(write_clip(tmp_path / "a.mp4", frames), 0.5)
    seen = []
    with pytest.raises(
        PartialFailure, match=r"breaks off: \d+ frames .* end at 0\.\d+ s of 1\.60 s"
    ):
        for frame in open_clip(path).frames():
            seen.append(frame.index)
    assert 2 <= len(seen) < 18 and seen == list(range(len(seen)))


def test_an_estimated_frame_count_is_no_damage(tmp_path):
    """Some containers count too many: if the time fits, nothing is missing."""
    path = write_clip(tmp_path / "a.mp4", [halves()] * 10)
    assert len(list(OpenCVVideoFile(path, fps=25.0, length=20).frames())) == 10
    with pytest.raises(PartialFailure):
        list(OpenCVVideoFile(path, fps=12.5, length=20).frames())


class LiveClip:
    """A source without an end, as a webcam is."""

    name, fps, length, live, skipped = "camera", 30.0, None, True, 7

    def __init__(self) -> None:
        self.given, self.closed = 0, False

    def frames(self, start=0, backward=False):
        try:
            while True:
                yield Frame(self.given, self.given / 30, halves())
                self.given += 1
        finally:
            self.closed = True


def test_a_live_source_is_read_frame_by_frame_and_closed():
    clip = LiveClip()
    boxes = {0: {1: (1, 2, 3, 4)}}
    results = follow(static_targets(), clip, boxes)
    for index, result in enumerate(islice(results, 3)):
        assert result.frame == index == clip.given and result.skipped == 7
        assert result.targets == {1: TargetResult((1, 2, 3, 4), given=index == 0)}
    results.close()
    assert clip.closed and clip.given == 2
    assert len(list(follow(static_targets(), LiveClip(), boxes, end=4))) == 5


class Images:
    def __init__(self, images) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def read(self, index: int) -> np.ndarray:
        return self.images[index]

    def describe(self, index: int) -> str:
        return f"frame {index}"


def test_targets_in_one_batch_are_tracked_as_if_alone(monkeypatch):
    frames, boxes = draw_sequence(6)
    spec = TrackerSpec("seqtrack", "tiny", tiny_config())
    starts = [tuple(boxes[0]), (40.0, 30.0, 20.0, 25.0), (5.0, 5.0, 30.0, 12.0)]
    targets = Targets(build_tracker(spec))
    calls, generate = [], targets.tracker.engine.generate
    monkeypatch.setattr(
        targets.tracker.engine,
        "generate",
        lambda templates, *more: calls.append(len(templates)) or generate(templates, *more),
    )
    # The last one joins in frame 2.
    boxes = {0: {"a": starts[0], "b": starts[1]}, 2: {"c": starts[2]}}
    results = list(follow(targets, FrameClip("drawn", Images(frames)), boxes))
    assert calls == [2, 2, 3, 3, 3], "one forward pass per frame, with all targets"
    assert [one.confidence for one in results[0].targets.values()] == [1, 1]
    assert [list(one.targets) for one in results[1:3]] == [["a", "b"], ["a", "b", "c"]]
    for target, start, first in zip("abc", starts, (0, 0, 2), strict=True):
        alone = build_tracker(spec)
        alone.initialize(frames[first], {"init_bbox": start})
        assert results[first].targets[target] == TargetResult(start, 1.0, given=True)
        for result, frame in zip(results[first + 1 :], frames[first + 1 :], strict=True):
            answer, found = alone.track(frame), result.targets[target]
            assert found.box == pytest.approx(answer["target_bbox"], abs=1e-3)
            assert found.confidence == pytest.approx(answer["certainty"])


def test_a_box_of_a_known_target_corrects_it_and_its_place_stays():
    boxes = {0: {1: (1, 2, 3, 4), 2: (5, 6, 7, 8)}, 2: {1: (20, 20, 9, 9)}}
    results = follow(static_targets(), LiveClip(), boxes, end=3)
    found = [{name: one.box for name, one in result.targets.items()} for result in results]
    assert found[:2] == [boxes[0]] * 2 and found[2:] == [{1: (20, 20, 9, 9), 2: (5, 6, 7, 8)}] * 2
    assert list(found[3]) == [1, 2]


def test_backward_from_the_middle_and_what_is_not_reached():
    clip = FrameClip("drawn", Images([halves()] * 6), fps=10)
    boxes = {4: {1: (1, 2, 3, 4)}, 1: {1: (5, 6, 7, 8)}}
    results = list(follow(static_targets(), clip, boxes, start=4, backward=True))
    assert [(r.frame, r.time, r.targets[1].box[0]) for r in results] == [
        (4, 0.4, 1),
        (3, 0.3, 1),
        (2, 0.2, 1),
        (1, 0.1, 5),
        (0, 0.0, 5),
    ]
    assert [r.frame for r in follow(static_targets(), clip, boxes, 4, True, end=3)] == [4, 3]
    late = follow(static_targets(), clip, {0: {1: (1, 2, 3, 4)}, 9: {1: (1, 2, 3, 4)}})
    with pytest.raises(PartialFailure, match="ends at frame 5: the box of frame 9"):
        list(late)
    with pytest.raises(DataError, match="drawn has no frame 6; it has 6, counted from 0"):
        list(follow(static_targets(), clip, {}, start=6))


@pytest.mark.parametrize(
    "box", [(96, 0, 5, 5), (0, 64, 5, 5), (-5, 0, 5, 5), (0, -9, 5, 9)], ids=str
)
def test_a_box_outside_of_the_first_frame_is_refused(box):
    with pytest.raises(DataError, match="outside of the first frame, which is 96 pixels wide"):
        next(follow(static_targets(), LiveClip(), {0: {1: (0, 0, 5, 5), 2: box}}))
    with pytest.raises(DataError, match="outside of frame 2, which"):
        list(follow(static_targets(), LiveClip(), {2: {1: box}}, end=2))


def test_drawing_leaves_the_frame_and_shows_both_boxes():
    image = np.full((120, 160, 3), 128, np.uint8)
    painter = Painter(names=False)
    picture = painter.draw(result_of(image), 0.0, np.array([100, 70, 20, 30]))[..., ::-1]
    assert (image == 128).all()
    assert near(picture[50, 40], COLOURS[0]), "lower edge of the prediction"
    assert near(picture[100, 110], (64, 255, 64)), "lower edge of the truth"
    assert near(picture[110, 80], (128, 128, 128)), "nothing else there"
    absent = painter.draw(result_of(image), 0.0, np.full(4, np.nan))[..., ::-1]
    assert near(absent[100, 110], (128, 128, 128))


def test_names_and_states_are_written_and_a_colour_stays_with_its_target(monkeypatch):
    texts = []
    monkeypatch.setattr(video_writer, "_write", lambda picture, text, *_: texts.append(text))
    image, painter = np.zeros((120, 160, 3), np.uint8), Painter()
    result = result_of(image, 3, "lost")
    result.targets["cat"] = TargetResult((60.0, 30.0, 30.0, 20.0), 0.25, "tracked")
    painter.draw(result, 0.0)
    assert texts == ["frame 3", "#1 0.50 lost", "cat 0.25"]
    del result.targets[1]
    assert near(painter.draw(result, 1.0)[50, 75, ::-1], COLOURS[1])


def test_the_rate_is_that_of_whole_frames():
    painter = Painter()
    image = np.zeros((60, 80, 3), np.uint8)
    for index in range(3):
        painter.draw(result_of(image, index), 0.25 * index)
    assert painter._heading(2) == "frame 2  4 frames/s"


@pytest.mark.parametrize(
    ("name", "size"), [("a.mp4", (97, 65)), ("A.MP4", (96, 64)), ("a.webm", (97, 65))], ids=str
)
def test_a_written_video_has_all_frames_in_their_colours(tmp_path, name, size):
    width, height = size
    kept = []
    with open_sink(tmp_path / name, 12.5, kept) as sink:
        for index in range(7):
            sink.write(halves(width, height)[..., ::-1].copy(), index / 12.5)
    frames, fps = read_clip(tmp_path / name)
    assert len(frames) == 7 and fps == 12.5 and kept == [tmp_path / name]
    assert [time for time, _ in read_av(tmp_path / name)] == [index / 12.5 for index in range(7)]
    assert 0 <= frames[0].shape[1] - width <= 1 and 0 <= frames[0].shape[0] - height <= 1
    assert near(frames[6][32, 10], RED) and near(frames[6][32, width - 1], BLUE)
    assert [p.name for p in tmp_path.iterdir()] == [name]


def test_a_gif_stays_small_and_keeps_the_pace(tmp_path, monkeypatch):
    monkeypatch.setattr(video_writer, "GIF_FRAMES", 8)
    with open_sink(tmp_path / "a.gif", 25, []) as sink:
        for index in range(40):
            sink.write(halves(960, 640)[..., ::-1].copy(), index / 25)
    frames, fps = read_clip(tmp_path / "a.gif")
    assert frames[0].shape == (320, 480, 3)
    assert near(frames[0][100, 10], RED) and near(frames[0][100, 470], BLUE)
    assert len(frames) <= 8 and len(frames) / fps == pytest.approx(1.6, abs=0.33)


def test_what_was_written_survives_an_interruption(tmp_path):
    kept = []
    with pytest.raises(KeyboardInterrupt), open_sink(tmp_path / "a.mp4", 25, kept) as sink:
        for index in range(9):
            if index == 4:
                raise KeyboardInterrupt
            sink.write(halves()[..., ::-1].copy(), index / 25)
    assert len(read_clip(tmp_path / "a.mp4")[0]) == 4 and kept == [tmp_path / "a.mp4"]
    assert [p.name for p in tmp_path.iterdir()] == ["a.mp4"]


def test_without_a_frame_there_is_no_file(tmp_path):
    (tmp_path / "b.mp4").write_text("old")
    for name in ("a.mp4", "b.mp4"):
        with pytest.raises(DataError), open_sink(tmp_path / name, 25, []):
            raise DataError("no frame")
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("b.mp4", "old")]


def test_a_file_the_system_could_not_write_is_dropped(tmp_path):
    with pytest.raises(OSError), kept_path(tmp_path / "a.csv", []) as part:
        part.write_text("half")
        raise OSError(28, "No space left on device")
    assert not list(tmp_path.iterdir())


def test_a_full_disk_is_noticed(tmp_path):
    """The limit stands in for the disk."""
    script = f"""
import resource, numpy as np
from pathlib import Path
from lib.video.write import open_sink
resource.setrlimit(resource.RLIMIT_FSIZE, (30000, 30000))
rng = np.random.default_rng(0)
with open_sink(Path({str(tmp_path / "a.mp4")!r}), 25, []) as sink:
    for index in range(60):
        sink.write(rng.integers(0, 255, (120, 160, 3), dtype=np.uint8), index / 25)
"""
    pytest.importorskip("resource")
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=REPOSITORY, capture_output=True, text=True
    )
    assert done.returncode and "is the disk full?" in done.stderr.strip().splitlines()[-1]
    assert not list(tmp_path.iterdir())


def test_formats_that_cannot_be_written_are_said(tmp_path, monkeypatch):
    with pytest.raises(SeqTrackError, match=r"ends in \.mp4, \.webm, \.gif"):
        open_sink(tmp_path / "a.jpg", 25, []).__enter__()
    monkeypatch.setitem(video_writer.ENCODERS, ".mp4", ("none",))
    with pytest.raises(SeqTrackError, match=r"has no encoder for \.mp4"):
        with open_sink(tmp_path / "a.mp4", 25, []) as sink:
            sink.write(halves(), 0.0)
    monkeypatch.delattr(cv2, "imencodeanimation", raising=False)
    with pytest.raises(SeqTrackError, match="cannot write GIF"):
        with open_sink(tmp_path / "a.gif", 25, []):
            pass
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["a.mp4", "a.webm"])
def test_each_picture_is_shown_at_its_time_and_the_last_one_as_long_as_it_was(tmp_path, name):
    times = [0, 0.04, 0.08, 0.5, 2.0, 32.0]
    with open_sink(tmp_path / name, 10, []) as sink:
        for time in times:
            sink.write(halves()[..., ::-1].copy(), time, 30.0)
    assert [time for time, _ in read_av(tmp_path / name)] == pytest.approx(times, abs=1e-6)
    with av.open(str(tmp_path / name)) as written:
        assert written.duration / 1e6 == pytest.approx(62, abs=0.01)


@pytest.mark.parametrize(("codec", "suffix"), [("libx264", ".mp4"), ("libvpx-vp9", ".webm")])
@pytest.mark.parametrize("size", [(1, 1), (2, 2), (1280, 720)], ids=str)
def test_the_codec_plays_in_browsers_and_the_colours_are_tagged(tmp_path, codec, suffix, size):
    with open_sink(tmp_path / f"a{suffix}", 25, []) as sink:
        for index in range(2):
            sink.write(np.full((size[1], size[0], 3), (0, 0, 255), np.uint8), index / 25)
    with av.open(str(tmp_path / f"a{suffix}")) as written:
        context = written.streams.video[0].codec_context
        assert av.codec.Codec(codec, "w").canonical_name == context.codec.canonical_name
        assert context.pix_fmt == "yuv420p"
        assert context.colorspace == (1 if size[0] == 1280 else 6)
    assert near(read_av(tmp_path / f"a{suffix}")[1][1][0, 0], (255, 0, 0), 12)
    if suffix == ".mp4":
        data = (tmp_path / "a.mp4").read_bytes()
        assert data.index(b"moov") < data.index(b"mdat"), "it plays while it loads"


def test_without_pyav_opencv_does_it_and_says_so(tmp_path, monkeypatch, caplog):
    path = write_clip(tmp_path / "a.mp4", [halves()] * 5)
    monkeypatch.setattr(video, "has_pyav", lambda: False)
    monkeypatch.setattr(video_writer, "has_pyav", lambda: False)
    assert len(list(open_clip(path).frames())) == 5
    with open_sink(tmp_path / "b.mp4", 12.5, []) as sink:
        for index in range(5):
            sink.write(halves()[..., ::-1].copy(), index / 12.5)
    assert len(read_clip(tmp_path / "b.mp4")[0]) == 5
    assert [r.getMessage().count("pip install av") for r in caplog.records] == [1, 1]


def test_a_pipe_is_never_replaced_and_the_null_device_keeps_nothing(tmp_path):
    os.mkfifo(tmp_path / "a.csv")
    for write in (kept_path(tmp_path / "a.csv", []), atomic_path(tmp_path / "a.csv")):
        with pytest.raises(SeqTrackError, match="is a named pipe and is never replaced"):
            with write as part:
                part.write_text("x")
    assert (tmp_path / "a.csv").is_fifo()
    kept = []
    with kept_path(Path(os.devnull), kept) as part:
        part.write_text("x")
    assert kept == [] and Path(os.devnull).is_char_device()
