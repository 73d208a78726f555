"""What an uploaded file is, by its first bytes, before a decoder opens it.

Only what is known is handed to FFmpeg: a playlist, which is text, could name files of this machine.
"""

from collections.abc import Callable

HEAD = 512
_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8\xff"
# Markers of a JPEG's frame header; three numbers between them are something else.
_FRAME_HEADERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
# Place and bytes of what begins a video.
_VIDEOS = (
    *((4, kind) for kind in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot")),
    (0, b"\x1a\x45\xdf\xa3"),  # Matroska, WebM
    (8, b"AVI "),
    (0, b"FLV\x01"),
    (0, b"GIF8"),
    (0, _PNG),
    (0, b"\x00\x00\x01"),  # MPEG, and raw streams
    (0, b"\x00\x00\x00\x01"),
    (0, b"OggS"),
    (0, b"\x30\x26\xb2\x75"),  # ASF
    (0, b"YUV4MPEG2 "),
    (0, b"DKIF"),
    (0, b"\x06\x0e\x2b\x34"),  # MXF
    (0, b"\x1f\x07\x00"),  # DV
    (0, _JPEG),  # MJPEG
)
# MPEG-TS: a mark every 188 bytes, behind four more in each packet of a camera's recording.
_TS_PLACES = ((0, 188), (4, 196))


def is_video(head: bytes) -> bool:
    """Whether a file that begins so, with `HEAD` bytes or fewer, may be a video."""
    if any(head[place : place + len(mark)] == mark for place, mark in _VIDEOS):
        return True
    return any(head[one : one + 1] == head[two : two + 1] == b"G" for one, two in _TS_PLACES)


def picture_size(data: bytes) -> tuple[int, int] | None:
    """Width and height of a JPEG, PNG or WebP file; None for what is none of these."""
    for mark, read in _SIZES.items():
        if data.startswith(mark):
            return read(data)
    return None


def _png_size(data: bytes) -> tuple[int, int] | None:
    width, height = (int.from_bytes(data[place : place + 4], "big") for place in (16, 20))
    return (width, height) if len(data) >= 24 else None


def _jpeg_size(data: bytes) -> tuple[int, int] | None:
    place = 2
    while place + 9 <= len(data) and data[place] == 0xFF:
        marker = data[place + 1]
        if marker == 0xFF:
            place += 1
        elif marker in _FRAME_HEADERS:
            height, width = (
                int.from_bytes(data[place + at : place + at + 2], "big") for at in (5, 7)
            )
            return width, height
        else:
            place += 2 + int.from_bytes(data[place + 2 : place + 4], "big")
    return None


def _webp_size(data: bytes) -> tuple[int, int] | None:
    kind = data[12:16]
    if data[8:12] != b"WEBP" or len(data) < 30:
        return None
    if kind == b"VP8X":
        return 1 + int.from_bytes(data[24:27], "little"), 1 + int.from_bytes(data[27:30], "little")
    if kind == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    width, height = (int.from_bytes(data[place : place + 2], "little") for place in (26, 28))
    return width & 0x3FFF, height & 0x3FFF


_SIZES: dict[bytes, Callable[[bytes], tuple[int, int] | None]] = {
    _PNG: _png_size,
    _JPEG: _jpeg_size,
    b"RIFF": _webp_size,
}
