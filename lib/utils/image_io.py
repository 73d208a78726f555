"""Images in and out of files: RGB uint8, or an error that names the file and why."""

import functools
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np

from lib.utils.errors import DataError
from lib.utils.files import atomic_path

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp"})

_JPEG_START = b"\xff\xd8"
_JPEG_END = b"\xff\xd9"
_JPEG_SCAN = 0xDA
_JPEG_EXIF = 0xE1
_NO_MARKER = -1
# A JPEG can be decoded whole, or at a half, a quarter or an eighth of its size in less time.
_FLAGS = {
    1: cv2.IMREAD_COLOR,
    2: cv2.IMREAD_REDUCED_COLOR_2,
    4: cv2.IMREAD_REDUCED_COLOR_4,
    8: cv2.IMREAD_REDUCED_COLOR_8,
}
JPEG_SHRINKS = tuple(_FLAGS)
# Colours that both decoders turn into the same pixels.
_PLAIN_COLOURS = frozenset({"YCbCr", "Gray"})


def read_rgb(path: Path | str) -> np.ndarray:
    """Read an image as (H, W, 3) uint8 RGB; grey, 16-bit and transparent ones are converted.

    The camera's rotation tag (EXIF) is applied, as `cv2.imread` does. The bytes are read by
    Python, because OpenCV cannot open every path (non-ASCII names on Windows).

    Raises:
        DataError: the file is missing, empty, cut short, or not an image.
    """
    return decode_rgb(read_file(path), str(path))


def decode_rgb(data: bytes, name: str) -> np.ndarray:
    """Decode the bytes of an image file as (H, W, 3) uint8 RGB; `name` is for messages.

    JPEG is decoded by simplejpeg (extra `fast`) where it is installed, to the same pixels.

    Raises:
        DataError: they are none, cut short, or not an image.
    """
    return decode_shrunk(data, name, 1)[0]


def decode_shrunk(data: bytes, name: str, shrink: int) -> tuple[np.ndarray, int]:
    """Decode a JPEG at a part of its size; all else, and what EXIF may turn, is decoded whole.

    A pixel is the mean, nearly, of `shrink` x `shrink` pixels: pixel (x, y) lies over the pixels
    from (shrink * x, shrink * y) on. Where the last ones reach beyond the picture, the decoder
    goes by what the file's blocks hold there.

    Args:
        data: the bytes of an image file.
        name: for messages.
        shrink: one of `JPEG_SHRINKS`.

    Returns:
        The image, `(ceil(H / shrink), ceil(W / shrink), 3)` uint8 RGB, and by how much it is
        shrunk: 1 where it is whole.

    Raises:
        DataError: as `decode_rgb`.
    """
    is_jpeg = data.startswith(_JPEG_START)
    if not is_jpeg or (shrink > 1 and _may_be_turned(data)):
        shrink = 1
    if is_jpeg and (image := _decoded_fast(data, shrink)) is not None:
        return image, shrink
    return cv2.cvtColor(_decoded(data, name, _FLAGS[shrink]), cv2.COLOR_BGR2RGB), shrink


def read_labels(path: Path | str) -> np.ndarray:
    """Read a label map as (H, W) int32: the values of a grey image of 8 or 16 bits, or the
    colours of another one (of a palette, say) as numbers; transparency does not count.

    Raises:
        DataError: as `read_rgb`; also for colours of 16 bits.
    """
    image = _decoded(read_file(path), str(path), cv2.IMREAD_UNCHANGED)
    if image.ndim == 2:
        return image.astype(np.int32)
    if image.dtype != np.uint8:
        raise DataError(f"{path}: not a label map but a picture in colours of {image.dtype}")
    colours = image.astype(np.int32)
    return (colours[..., 2] << 16) + (colours[..., 1] << 8) + colours[..., 0]


def read_file(path: Path | str) -> bytes:
    """The content of an image file.

    Raises:
        DataError: it is missing, or cannot be read.
    """
    try:
        return Path(path).read_bytes()
    except FileNotFoundError:
        raise DataError(f"{path}: image not found") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from None


def _decoded(data: bytes, name: str, flags: int) -> np.ndarray:
    """What OpenCV makes of the bytes of an image file."""
    if not data:
        raise DataError(f"{name}: the image file is empty (0 bytes); copy it again")
    if _is_cut_jpeg(data):
        raise DataError(
            f"{name}: the JPEG file is cut short (no end marker in {len(data)} bytes); "
            "copy it again"
        )
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error as error:
        raise DataError(f"{name}: cannot be decoded ({error.err})") from None
    if image is None:
        raise DataError(f"{name}: damaged or not an image ({len(data)} bytes)")
    return image


def _decoded_fast(data: bytes, shrink: int = 1) -> np.ndarray | None:
    """A JPEG as RGB; None for all that OpenCV does differently, and all that is not in order.

    That is: files whose EXIF may say that the picture is to be turned, other colours, damage.
    """
    decode = _fast_decoder()
    if decode is None or _is_cut_jpeg(data) or _may_be_turned(data):
        return None
    return decode(data, shrink)


def _may_be_turned(data: bytes) -> bool:
    """Whether a JPEG has EXIF, which may say that the picture is to be turned."""
    return any(
        kind == _JPEG_EXIF and data.startswith(b"Exif", position + 4)
        for kind, position in _blocks(data)
    )


@functools.cache
def _fast_decoder() -> Callable[[bytes, int], np.ndarray | None] | None:
    """What decodes a JPEG, shrunk by a factor, with simplejpeg; None where it is not installed."""
    try:
        import simplejpeg
    except ImportError:
        return None

    def decode(data: bytes, shrink: int) -> np.ndarray | None:
        try:
            height, width, colours, _ = simplejpeg.decode_jpeg_header(data)
            if colours not in _PLAIN_COLOURS:
                return None
            # It takes the smallest size that is not below these.
            sides = {"min_height": -(-height // shrink), "min_width": -(-width // shrink)}
            return simplejpeg.decode_jpeg(data, colorspace="RGB", **(sides if shrink > 1 else {}))
        except ValueError:
            return None

    return decode


def write_rgb(path: Path | str, image: np.ndarray) -> None:
    """Write a (H, W, 3) uint8 RGB image atomically; the suffix chooses the format.

    Raises:
        DataError: no image format has this suffix, or the format cannot hold this size.
        OSError: the folder cannot be written.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in IMAGE_SUFFIXES:
        raise DataError(f"{path}: suffix {suffix!r} is none of {', '.join(sorted(IMAGE_SUFFIXES))}")
    try:
        done, data = cv2.imencode(suffix, cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    except cv2.error:
        done = False
    if not done:
        height, width = image.shape[:2]
        raise DataError(
            f"{path}: an image of {width} x {height} pixels cannot be written as {suffix}; "
            "JPEG, for example, takes at most 65500 each way"
        )
    with atomic_path(path) as temporary:
        temporary.write_bytes(data.tobytes())


def _is_cut_jpeg(data: bytes) -> bool:
    """Whether a JPEG ends inside its picture, which decoders fill with grey, silently.

    The end marker cannot occur within the compressed picture (there 0xFF is escaped), so
    looking for it behind the header is exact: neither bytes after the end nor a preview
    picture in the header, which has an end marker of its own, can mislead.
    """
    if not data.startswith(_JPEG_START):
        return False
    for kind, position in _blocks(data):
        if kind == _NO_MARKER:
            return False  # whatever this is, the decoder has to judge it
        if kind == _JPEG_SCAN:
            # From the end, where it mostly is.
            return data.rfind(_JPEG_END, position) < 0
    return True


def _blocks(data: bytes) -> Iterator[tuple[int, int]]:
    """The blocks of a JPEG's header, the first scan last: kind and position of each."""
    position = 2
    while position + 4 <= len(data):
        kind = data[position + 1] if data[position] == 0xFF else _NO_MARKER
        if kind == 0xFF:
            position += 1  # fill byte
            continue
        yield kind, position
        if kind in (_NO_MARKER, _JPEG_SCAN):
            return
        position += 2 + int.from_bytes(data[position + 2 : position + 4], "big")
