"""Video files as people have them come out as players show them, with times from 0 on."""

import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from lib.utils.errors import DataError, PartialFailure
from lib.video.clip import Frame
from lib.video.open import open_clip
from lib.video.pixels import upright
from tests.helpers.video_files import BLUE, GREEN, RED, number_in, numbered, write_av

CASES = Path(__file__).parents[1] / "cases"


def read(path: Path) -> list[Frame]:
    return list(open_clip(path).frames())


def check(frames: list[Frame], count: int, first: int = 0, rate: float = 25) -> None:
    """All frames, numbered from `first` on, at a constant rate."""
    assert [number_in(frame.image) for frame in frames] == list(range(first, first + count))
    assert [frame.index for frame in frames] == list(range(count))
    assert [frame.time for frame in frames] == pytest.approx([i / rate for i in range(count)])


def near(pixel: np.ndarray, colour: tuple[int, ...], tolerance: int = 30) -> bool:
    return bool(np.abs(pixel.astype(int) - colour).max() <= tolerance)


FORMATS = [
    ("a.mp4", "libx264", "yuv420p"),
    ("a.mp4", "libx264", "yuv420p10le"),
    ("a.mp4", "libx264", "yuv444p"),
    ("a.mp4", "libx265", "yuv420p"),
    ("a.mkv", "libx265", "yuv420p10le"),
    ("a.mov", "prores_ks", "yuv422p10le"),
    ("a.mov", "prores_ks", "yuva444p10le"),
    ("a.mov", "qtrle", "argb"),
    ("a.webm", "libvpx", "yuv420p"),
    ("a.webm", "libvpx-vp9", "yuv420p"),
    ("a.ts", "libx264", "yuv420p"),
    ("a.mts", "libx264", "yuv420p"),
    ("a.flv", "libx264", "yuv420p"),
    ("a.h264", "libx264", "yuv420p"),
    ("a.mpg", "mpeg2video", "yuv420p"),
    ("a.ts", "mpeg2video", "yuv420p"),
    ("a.avi", "mpeg4", "yuv420p"),
    ("a.avi", "mjpeg", "yuvj420p"),
    ("a.avi", "rawvideo", "bgr24"),
    ("a.mkv", "ffv1", "yuv420p"),
    ("a.mkv", "ffv1", "gray16le"),
    ("a.mkv", "ffv1", "bgra"),
    ("a.gif", "gif", "rgb8"),
    ("a.apng", "apng", "rgba"),
]


@pytest.mark.parametrize(("name", "codec", "pix_fmt"), FORMATS, ids=str)
def test_every_codec_and_container(tmp_path, name, codec, pix_fmt):
    quiet = {"x265-params": "log-level=none"} if codec == "libx265" else {}
    path = write_av(tmp_path / name, numbered(12), codec, pix_fmt=pix_fmt, options=quiet)
    frames = read(path)
    if name != "a.gif":
        check(frames, 12)
    assert len(frames) == 12 and frames[5].image.shape == (64, 96, 3)
    if "gray" not in pix_fmt:
        image = frames[5].image
        assert near(image[8, 8], RED, 60) and near(image[8, 88], GREEN, 60)
        assert near(image[56, 8], BLUE, 60)


def test_dv(tmp_path):
    frames = read(write_av(tmp_path / "a.dv", numbered(3, 720, 576), "dvvideo"))
    check(frames, 3)
    assert near(frames[0].image[50, 50], RED)


@pytest.mark.parametrize("size", [(1, 1), (2, 2), (3, 5), (97, 65), (4100, 8)], ids=str)
def test_tiny_odd_and_wide_pictures(tmp_path, size):
    images = [np.full((size[1], size[0], 3), 10 * i, np.uint8) for i in range(4)]
    frames = read(write_av(tmp_path / "a.mkv", images, "ffv1", pix_fmt="bgr0"))
    assert [frame.image.shape for frame in frames] == [(size[1], size[0], 3)] * 4
    assert [int(frame.image[0, 0, 0]) for frame in frames] == [0, 10, 20, 30]


@pytest.mark.parametrize("name", ["a.mp4", "a.ts"])
def test_interlaced_pictures_are_seen(tmp_path, name):
    options = {"flags": "+ildct+ilme", "x264-params": "tff=1"}
    path = write_av(tmp_path / name, numbered(10), options=options)
    with av.open(str(path)) as container:
        assert next(container.decode(video=0)).interlaced_frame
    frames = read(path)
    check(frames, 10)
    assert near(frames[9].image[8, 8], RED)


def test_a_matroska_file_that_starts_late_is_whole(tmp_path):
    times = [1.5 + i / 25 for i in range(30)]
    clip = open_clip(write_av(tmp_path / "a.mkv", numbered(30), times=times))
    check(list(clip.frames()), 30)
    assert clip.length == 30


def with_sound(path: Path, times: list[float], tracks: int, seconds: float) -> Path:
    """Numbered pictures at the given times beside many audio tracks that never pause."""
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=25, options={"bf": "0"})
        video.width, video.height, video.pix_fmt = 96, 64, "yuv420p"
        video.time_base = video.codec_context.time_base = Fraction(1, 1000)
        sounds = [container.add_stream("pcm_s16le", rate=8000) for _ in range(tracks)]
        for sound in sounds:
            sound.layout = "mono"
        packets = []
        for image, time in zip(numbered(len(times)), times, strict=True):
            picture = av.VideoFrame.from_ndarray(image, format="rgb24")
            picture.pts, picture.time_base = round(1000 * time), Fraction(1, 1000)
            packets += [(float(p.pts * p.time_base), p) for p in video.encode(picture)]
        packets += [(float(p.pts * p.time_base), p) for p in video.encode()]
        for tick in range(round(50 * seconds)):
            for sound in sounds:
                packet = av.Packet(bytes(16))
                packet.stream, packet.time_base = sound, Fraction(1, 8000)
                packet.pts = packet.dts = 160 * tick
                packets.append((tick / 50, packet))
        for _, packet in sorted(packets, key=lambda one: one[0]):
            container.mux(packet)
    return path


@pytest.mark.parametrize("name", ["a.mov", "a.mkv"])
@pytest.mark.parametrize("first", [0.0, 6.0], ids=["pause inside", "pause before"])
def test_many_audio_tracks_beside_a_pause(tmp_path, name, first):
    times = [first + i / 25 for i in range(10)] + [first + 6 + i / 25 for i in range(10)]
    frames = read(with_sound(tmp_path / name, times, 20, first + 6.5))
    assert [number_in(frame.image) for frame in frames] == list(range(20))
    assert [frame.time for frame in frames] == pytest.approx([t - first for t in times])


# What a camera shows for the matrix (a b; c d): the corners, clockwise from the upper left one.
R, G, B = RED, GREEN, BLUE
TURNS = {
    "as it is": ((1, 0, 0, 1), (R, G, B, B)),
    "quarter clockwise": ((0, 1, -1, 0), (B, R, G, B)),
    "half": ((-1, 0, 0, -1), (B, B, R, G)),
    "quarter counterclockwise": ((0, -1, 1, 0), (G, B, B, R)),
    "left and right": ((-1, 0, 0, 1), (G, R, B, B)),
    "up and down": ((1, 0, 0, -1), (B, B, G, R)),
    "main diagonal": ((0, 1, 1, 0), (R, B, B, G)),
    "other diagonal": ((0, -1, -1, 0), (B, G, R, B)),
}


@pytest.mark.parametrize("turn", TURNS)
def test_the_display_matrix_is_applied(tmp_path, turn):
    (a, b, c, d), corners = TURNS[turn]
    path = write_av(tmp_path / "a.mp4", numbered(3))
    data = bytearray(path.read_bytes())
    where = data.index(b"tkhd") + 44
    one = 0x10000
    words = (a * one, b * one, 0, c * one, d * one, 0, 0, 0, 0x40000000)
    data[where : where + 36] = struct.pack(">9i", *words)
    path.write_bytes(data)
    image = read(path)[1].image
    assert image.shape == ((64, 96, 3) if b == 0 else (96, 64, 3))
    assert open_clip(path).shape() == image.shape[:2]
    seen = (image[4, 4], image[4, -4], image[-4, -4], image[-4, 4])
    assert all(near(pixel, colour) for pixel, colour in zip(seen, corners, strict=True))


def test_a_matrix_moves_a_point_as_it_says():
    """Against the definition: (x, y) is shown at (x, y) @ matrix, moved into the picture."""
    image = np.zeros((3, 5, 3), np.uint8)
    image[1, 4] = 255
    for (a, b, c, d), _ in TURNS.values():
        matrix = np.array([[a, b], [c, d]], np.int32) * 65536
        points = np.array([[x, y] for y in range(3) for x in range(5)]) @ (matrix // 65536)
        shown = np.array([4, 1]) @ (matrix // 65536) - points.min(axis=0)
        result = upright(image, matrix)
        assert tuple(np.argwhere(result[..., 0])[0][::-1]) == tuple(shown)


def test_the_default_stream_is_read_and_said(tmp_path, caplog):
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as container:
        streams = []
        for width, height in ((48, 32), (96, 64)):
            stream = container.add_stream("libx264", rate=25)
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
            streams.append(stream)
        streams[0].disposition = av.stream.Disposition(0)
        streams[1].disposition = av.stream.Disposition.default
        for stream, count in zip(streams, (5, 15), strict=True):
            for image in numbered(count, stream.width, stream.height):
                picture = av.VideoFrame.from_ndarray(image, format="rgb24")
                container.mux(stream.encode(picture))
            container.mux(stream.encode())
    frames = read(path)
    check(frames, 15)
    assert frames[0].image.shape == (64, 96, 3)
    assert "2 video streams; number 2 is read (96 x 64)" in caplog.text


def test_a_change_of_size_is_said_and_ends_the_clip(tmp_path):
    first = write_av(tmp_path / "1.h264", numbered(8, 128, 72)).read_bytes()
    second = write_av(tmp_path / "2.h264", numbered(8)).read_bytes()
    (tmp_path / "a.h264").write_bytes(first + second)
    frames = []
    with pytest.raises(DataError, match=r"frame 8 is 96 x 64, but .* before it are 128 x 72"):
        for frame in open_clip(tmp_path / "a.h264").frames():
            frames.append(frame)
    check(frames, 8)


def test_times_count_from_the_first_picture_that_can_be_decoded(tmp_path):
    options = {"g": "10", "keyint_min": "10", "sc_threshold": "0", "bf": "0"}
    data = write_av(tmp_path / "whole.ts", numbered(30), options=options).read_bytes()
    # In the first group, on a packet of the transport stream.
    (tmp_path / "a.ts").write_bytes(data[188 * (len(data) // 188 // 6) :])
    frames = read(tmp_path / "a.ts")
    first = number_in(frames[0].image)
    assert first in (10, 20)
    check(frames, 30 - first, first)


def test_a_cut_without_encoding_again_is_whole():
    """50 pictures, of which an edit list shows the last 35."""
    clip = open_clip(CASES / "stream_copied_cut.mp4")
    frames = list(clip.frames())
    assert len(frames) == clip.length == 35
    assert [frame.time for frame in frames] == pytest.approx([i / 25 for i in range(35)])


@pytest.mark.parametrize("name", ["a.mp4", "a.webm", "a.mkv"])
def test_times_of_a_variable_rate(tmp_path, name):
    codec = "libvpx-vp9" if name == "a.webm" else "libx264"
    times = [0, 0.04, 0.08, 0.5, 2, 30, 60.5]
    frames = read(write_av(tmp_path / name, numbered(7), codec, times=times))
    assert [number_in(frame.image) for frame in frames] == list(range(7))
    assert [frame.time for frame in frames] == pytest.approx(times, abs=1e-6)


def test_a_title_that_is_no_text_does_not_matter(tmp_path):
    with av.open(str(tmp_path / "a.mkv"), "w") as container:
        container.metadata["title"] = "A title"
        stream = container.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv444p"
        container.mux(stream.encode(in_yuv(numbered(1)[0], 0.299, 0.114)))
        container.mux(stream.encode())
    content = (tmp_path / "a.mkv").read_bytes()
    assert b"A title" in content
    (tmp_path / "b.mkv").write_bytes(content.replace(b"A title", b"\xff\xfe\xc3\x28\xa0\xa1\xff"))
    assert len(read(tmp_path / "b.mkv")) == 1


def in_yuv(image: np.ndarray, red: float, blue: float) -> av.VideoFrame:
    """By definition, from the shares of red and blue in luma: PyAV 17 does not write BT.2020."""
    r, g, b = np.moveaxis(image / 255, 2, 0)
    luma = red * r + (1 - red - blue) * g + blue * b
    chroma = [(b - luma) / (1 - blue), (r - luma) / (1 - red)]
    planes = np.stack([16 + 219 * luma, *(128 + 112 * one for one in chroma)])
    return av.VideoFrame.from_ndarray(planes.round().astype(np.uint8), format="yuv444p")


@pytest.mark.parametrize(
    ("colorspace", "size", "tagged"),
    [
        pytest.param(5, (96, 64), True, id="601"),
        pytest.param(1, (96, 64), True, id="709"),
        pytest.param(9, (96, 64), True, id="2020"),
        pytest.param(5, (96, 64), False, id="small and untagged: 601"),
        pytest.param(1, (1280, 720), False, id="large and untagged: 709"),
    ],
)
def test_colours_follow_the_matrix(tmp_path, colorspace, size, tagged):
    shares = {5: (0.299, 0.114), 1: (0.2126, 0.0722), 9: (0.2627, 0.0593)}
    picture = in_yuv(numbered(1, *size)[0], *shares[colorspace])
    with av.open(str(tmp_path / "a.mkv"), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv444p"
        stream.codec_context.colorspace = picture.colorspace = colorspace if tagged else 2
        container.mux(stream.encode(picture))
        container.mux(stream.encode())
    image = read(tmp_path / "a.mkv")[0].image
    assert (
        near(image[4, 4], RED, 4) and near(image[4, -4], GREEN, 4) and near(image[-4, 4], BLUE, 4)
    )


def test_the_full_range_is_read_as_such(tmp_path):
    images = [np.full((64, 96, 3), level, np.uint8) for level in (0, 255)]
    frames = read(write_av(tmp_path / "a.avi", images, "mjpeg", pix_fmt="yuvj420p"))
    assert [int(frame.image[9, 9, 0]) for frame in frames] == pytest.approx([0, 255], abs=3)


def test_a_thermal_video_has_one_range_that_is_said(tmp_path, caplog):
    """14 of 16 bits, of which a picture uses little; later ones are on the scale of the first."""
    with av.open(str(tmp_path / "a.mkv"), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "gray16le"
        for low, high in ((7000, 8000), (7000, 7500)):
            values = np.full((64, 96), low, np.uint16)
            values[:, 48:] = high
            container.mux(stream.encode(av.VideoFrame.from_ndarray(values, format="gray16le")))
        container.mux(stream.encode())
    first, second = (frame.image[32, :, 0] for frame in read(tmp_path / "a.mkv"))
    assert first[90] - first[5] > 180
    middle = (int(first[90]) + int(first[5])) / 2
    assert first[5] == second[5] and second[90] == pytest.approx(middle, abs=2)
    assert caplog.text.count("6875 to 8125 become 0 to 255") == 1


@pytest.mark.parametrize("name", ["a.mp4", "a.mov", "a.mkv", "a.flv", "a.avi"])
def test_a_file_that_is_cut_short_says_so(tmp_path, name):
    codec = "mjpeg" if name == "a.avi" else "libx264"
    start = {"movflags": "faststart"} if name in ("a.mp4", "a.mov") else {}
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 255, (64, 96, 3), np.uint8) for _ in range(25)]
    kinds = {"pix_fmt": "yuvj420p"} if codec == "mjpeg" else {"options": {"bf": "0"}}
    path = write_av(tmp_path / name, images, codec, container_options=start, **kinds)
    data = path.read_bytes()
    path.write_bytes(data[: round(0.6 * len(data))])
    frames = []
    with pytest.raises(PartialFailure, match=r"breaks off: \d+ frames could be decoded, but"):
        for frame in open_clip(path).frames():
            frames.append(frame)
    assert 8 <= len(frames) <= 16


def test_damage_in_the_middle_is_said_and_a_little_of_it_only_noted(tmp_path, caplog):
    images = numbered(50)
    path = write_av(tmp_path / "a.avi", images, "mjpeg", pix_fmt="yuvj420p")
    data = path.read_bytes()
    starts = [at for at in range(len(data)) if data.startswith(b"\xff\xd8\xff", at)]
    assert len(starts) == 50

    def spoil(numbers: range) -> Path:
        spoiled = bytearray(data)
        for number in numbers:
            size = starts[number + 1] - starts[number] - 8
            spoiled[starts[number] : starts[number] + size] = bytes(size)
        (tmp_path / "b.avi").write_bytes(spoiled)
        return tmp_path / "b.avi"

    assert len(read(spoil(range(20, 21)))) == 49
    assert "1 of 50 pictures are damaged" in caplog.text
    with pytest.raises(PartialFailure, match="10 of 50 pictures are damaged; some frames"):
        read(spoil(range(20, 30)))


def test_a_file_without_pictures_says_what_it_has(tmp_path):
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        sound = container.add_stream("aac", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        frame.sample_rate = 8000
        container.mux(sound.encode(frame))
        container.mux(sound.encode())
    with pytest.raises(DataError, match=r"a\.mp4: holds no video, only sound"):
        open_clip(tmp_path / "a.mp4")


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.bmp", "a.gif", "a.mp4", "a.tif", "a.ppm"])
def test_a_still_picture_is_no_clip(tmp_path, name):
    codecs = {".gif": ("gif", "rgb8"), ".png": ("png", "rgb24"), ".bmp": ("bmp", "bgr24")}
    codecs |= {".ppm": ("ppm", "rgb24"), ".tif": ("tiff", "rgb24")}
    codec, pix_fmt = codecs.get(Path(name).suffix, ("mjpeg", "yuvj420p"))
    made = tmp_path / name.replace(".mp4", ".jpg")
    write_av(made, numbered(1), codec, pix_fmt=pix_fmt).rename(tmp_path / name)
    with pytest.raises(DataError, match=f"{name} is a single image"):
        open_clip(tmp_path / name)


@pytest.mark.parametrize("name", ["a:b.mp4", "%03d.mp4", "ä ö#?.mp4", "http:x.mp4"])
def test_any_name_will_do(tmp_path, name):
    check(read(write_av(tmp_path / "x.mp4", numbered(3)).rename(tmp_path / name)), 3)


def test_a_playlist_opens_no_address(tmp_path):
    text = "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nhttp://127.0.0.1:9/a.ts\n#EXT-X-ENDLIST\n"
    (tmp_path / "a.m3u8").write_text(text)
    with pytest.raises(DataError, match="not a video"):
        open_clip(tmp_path / "a.m3u8")


def test_a_clip_starts_anywhere_and_goes_backward_with_true_times(tmp_path):
    times = [0.0, 0.04, 0.1, *(0.2 + 0.05 * i for i in range(67))]
    clip = open_clip(write_av(tmp_path / "a.mkv", numbered(70), times=times))
    forward = list(clip.frames())
    for start in (0, 2, 40, 69):
        later, back = list(clip.frames(start)), list(clip.frames(start, backward=True))
        assert [f.index for f in later] == list(range(start, 70))
        assert [f.index for f in back] == list(range(start, -1, -1))
        for frame in (*later, *back):
            assert frame.time == forward[frame.index].time
            assert np.array_equal(frame.image, forward[frame.index].image)
    assert list(clip.frames(70)) == []
    assert (clip.live, clip.skipped) == (False, 0)
