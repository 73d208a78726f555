"""Images in and out of files: RGB uint8, or an error that names the file and why."""

import errno
import functools
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np

from lib.utils.errors import DataError
from lib.utils.files import atomic_path
from lib.utils.grey_range import GreyRange
from lib.utils.tiff import is_tiff, page_offsets, single_page

# Read: what OpenCV decodes, by the suffixes that people give it.
IMAGE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".tif", ".tiff", ".webp", ".jp2", ".j2k"}
    | {".ppm", ".pgm", ".pbm", ".pnm", ".gif"}
)
TIFF_SUFFIXES = (".tif", ".tiff")
WRITTEN_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp"})
# Pictures, too, but not read: OpenCV cannot decode them everywhere, or not rightly.
UNREAD_SUFFIXES = frozenset(
    {".avif", ".heic", ".heif", ".jxl", ".exr", ".hdr", ".tga", ".psd", ".svg", ".dng", ".cr2"}
    | {".cr3", ".nef", ".arw", ".raf", ".orf", ".rw2", ".raw", ".dcm", ".fit", ".fits", ".npy"}
)

_PNG_START = b"\x89PNG\r\n\x1a\n"
# TIFF, JPEG 2000 and portable grey maps: may hold more than 8 bits.
_PERHAPS_DEEP = (b"\0\0\0\x0cjP  ", b"\xff\x4f\xff\x51", b"P2", b"P5")
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
# What the system says of a drive that is gone, not of a file.
_NO_ANSWER = (errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.ENODEV, errno.ENXIO)
# What gives the range of a clip; None where it has no grey of more than 8 bits.
GreyRangeSource = Callable[[], GreyRange | None]
# Colours that both decoders turn into the same pixels.
_PLAIN_COLOURS = frozenset({"YCbCr", "Gray"})


def read_rgb(path: Path | str) -> np.ndarray:
    """Read an image as (H, W, 3) uint8 RGB; grey, palettes, CMYK and 16 bits are converted.

    The camera's rotation tag (EXIF) is applied, as `cv2.imread` does. Transparency is ignored: a
    pixel has its own colour (in TIFF, that over black). Of colours of 16 bits the upper byte
    counts; grey of more than 8 bits is scaled by its own range (`GreyRange`), and `decode_rgb`
    takes one for a whole clip. Of several pages the first is read. The bytes are read by Python,
    because OpenCV cannot open every path (non-ASCII names on Windows).

    Raises:
        DataError: the file is missing, empty, cut short, or not an image.
    """
    return decode_rgb(read_file(path), str(path))


def decode_rgb(data: bytes, name: str, grey_range: GreyRangeSource | None = None) -> np.ndarray:
    """Decode the bytes of an image file as (H, W, 3) uint8 RGB; see `read_rgb`.

    JPEG is decoded by simplejpeg (extra `fast`) where it is installed, to the same pixels.

    Raises:
        DataError: they are none, cut short, or not an image.
    """
    return decode_shrunk(data, name, 1, grey_range)[0]


def decode_shrunk(
    data: bytes, name: str, shrink: int, grey_range: GreyRangeSource | None = None
) -> tuple[np.ndarray, int]:
    """Decode a JPEG at a part of its size; all else, and what EXIF may turn, is decoded whole.

    A pixel is the mean, nearly, of `shrink` x `shrink` pixels: pixel (x, y) lies over the pixels
    from (shrink * x, shrink * y) on. Where the last ones reach beyond the picture, the decoder
    goes by what the file's blocks hold there.

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
    if _may_be_deep(data):
        return _deep_to_rgb(np.frombuffer(data, np.uint8), name, grey_range), 1
    return cv2.cvtColor(_decoded(data, name, _FLAGS[shrink]), cv2.COLOR_BGR2RGB), shrink


def grey_range_of(data: bytes, name: str) -> GreyRange | None:
    """The range of an image file's grey; None where it has colours, or 8 bits.

    Raises:
        DataError: as `decode_rgb`.
    """
    if not _may_be_deep(data):
        return None
    return _own_range(_deep_pixels(np.frombuffer(data, np.uint8), name))


class PageReader:
    """Pages of a TIFF file, each read on its own; small when pickled.

    Raises:
        DataError: it cannot be read, or is damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._offsets = page_offsets(self._map(), str(path))

    def __len__(self) -> int:
        return len(self._offsets)

    def read(self, page: int, grey_range: GreyRangeSource | None = None) -> np.ndarray:
        """A page, from 0, as (H, W, 3) uint8 RGB; the rest is as with `decode_rgb`."""
        return _deep_to_rgb(self._page(page), self.describe(page), grey_range)

    def grey_range(self, page: int) -> GreyRange | None:
        return _own_range(_deep_pixels(self._page(page), self.describe(page)))

    def describe(self, page: int) -> str:
        return f"{self.path} page {page + 1}"

    def _page(self, page: int) -> np.ndarray:
        return single_page(self._map(), self._offsets[page])

    def _map(self) -> np.ndarray:
        try:
            # Copied where it is written to; the file stays as it is.
            return np.memmap(self.path, np.uint8, "c")
        except FileNotFoundError:
            raise DataError(f"{self.path}: image not found") from None
        except (OSError, ValueError) as error:
            raise DataError(f"{self.path}: cannot be read ({error})") from None


def count_pictures(path: Path) -> int:
    """How many pictures an image file holds: pages of a TIFF file, frames of an animation.

    What cannot be read counts as one: reading it will say why.
    """
    try:
        with open(path, "rb") as stream:
            if is_tiff(stream.read(4)):
                return max(1, len(PageReader(path)))
        return max(1, cv2.imcount(str(path)))
    except (OSError, DataError, cv2.error):
        return 1


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


class DriveError(DataError):
    """A drive does not answer; what is on it may be sound."""


def read_file(path: Path | str) -> bytes:
    """The bytes of an image file.

    Raises:
        DataError: it is missing, or cannot be read; `DriveError` where it perhaps can be later.
    """
    try:
        return Path(path).read_bytes()
    except FileNotFoundError:
        raise DataError(f"{path}: image not found") from None
    except OSError as error:
        kind = DriveError if error.errno in _NO_ANSWER else DataError
        raise kind(f"{path}: cannot be read ({error.strerror or error})") from None


def _decoded(data: bytes, name: str, flags: int) -> np.ndarray:
    if not data:
        raise DataError(f"{name}: the image file is empty (0 bytes); copy it again")
    if _is_cut_jpeg(data):
        raise DataError(
            f"{name}: the JPEG file is cut short (no end marker in {len(data)} bytes); "
            "copy it again"
        )
    return _decoded_by_opencv(np.frombuffer(data, np.uint8), name, flags)


def _decoded_by_opencv(data: np.ndarray, name: str, flags: int) -> np.ndarray:
    try:
        image = cv2.imdecode(data, flags)
    except cv2.error as error:
        if "CV_IO_MAX_IMAGE" in error.err:
            raise DataError(
                f"{name}: more pixels than OpenCV reads (2^20 each way, 2^30 in all); make the "
                "picture smaller"
            ) from None
        raise DataError(f"{name}: cannot be decoded ({error.err})") from None
    if image is None:
        raise DataError(
            f"{name}: damaged or not an image ({len(data)} bytes), or of a kind that OpenCV "
            f"{cv2.__version__} does not decode"
        )
    return image


def _may_be_deep(data: bytes) -> bool:
    """Whether the file may hold grey of more than 8 bits."""
    if data.startswith(_PNG_START):
        # Bits, and the kind of colours: grey is 0, or 4 with transparency.
        return data[24:26] in (b"\x10\0", b"\x10\4")
    return is_tiff(data) or data.startswith(_PERHAPS_DEEP)


def _deep_pixels(data: np.ndarray, name: str) -> np.ndarray:
    """A picture of such a file: grey as (H, W) of any type, colours as (H, W, 3) uint8 BGR."""
    image = _decoded_by_opencv(data, name, cv2.IMREAD_ANYDEPTH | cv2.IMREAD_ANYCOLOR)
    if image.ndim == 2 or image.dtype == np.uint8:
        return image
    if data[:8].tobytes() == _PNG_START:
        return image[..., 0]  # grey with transparency
    if image.dtype == np.uint16:
        return _decoded_by_opencv(data, name, cv2.IMREAD_COLOR)
    raise DataError(
        f"{name}: colours of {image.dtype}, of which nobody says what is white; convert the "
        "picture to 8 or 16 bits"
    )


def _own_range(pixels: np.ndarray) -> GreyRange | None:
    return None if pixels.dtype == np.uint8 else GreyRange.of(pixels)


def _deep_to_rgb(data: np.ndarray, name: str, grey_range: GreyRangeSource | None) -> np.ndarray:
    pixels = _deep_pixels(data, name)
    if pixels.dtype != np.uint8:
        found = (grey_range and grey_range()) or GreyRange.of(pixels)
        pixels = found.apply(pixels)
    code = cv2.COLOR_GRAY2RGB if pixels.ndim == 2 else cv2.COLOR_BGR2RGB
    return cv2.cvtColor(pixels, code)


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
    if suffix not in WRITTEN_SUFFIXES:
        known = ", ".join(sorted(WRITTEN_SUFFIXES))
        raise DataError(f"{path}: suffix {suffix!r} is none of {known}")
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
