"""What a file is, by its first bytes, because endings lie."""

from enum import Enum
from pathlib import Path


class FileFormat(Enum):
    """Formats that turn up where weights are expected; the value is for messages."""

    TORCH_ZIP = "a zip archive"
    TORCH_OLD = "an old-format checkpoint"
    SAFETENSORS = "a safetensors file"
    EMPTY = "empty (0 bytes)"
    WEB_PAGE = "a web page"
    TEXT = "a text file"
    TAR = "a tar archive"
    GZIP = "a gzip archive"
    UNKNOWN = "of an unknown format"


# First value in every file of torch.save before version 1.6, without its pickle frame.
_OLD_MAGIC = b"\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."


def file_format(path: Path | str) -> FileFormat:
    """The format of a file. Raises OSError: the file cannot be read."""
    with open(path, "rb") as stream:
        head = stream.read(4096)
    if not head:
        return FileFormat.EMPTY
    if head.startswith(b"PK\x03\x04"):
        return FileFormat.TORCH_ZIP
    if head[:1] == b"\x80" and _OLD_MAGIC in head[:64]:
        return FileFormat.TORCH_OLD
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") < 100_000_000:
        return FileFormat.SAFETENSORS
    if head.startswith(b"\x1f\x8b"):
        return FileFormat.GZIP
    if head[257:262] == b"ustar":
        return FileFormat.TAR
    if head.lstrip(b"\xef\xbb\xbf \t\r\n").lower().startswith((b"<!doctype", b"<html", b"<head")):
        return FileFormat.WEB_PAGE
    return FileFormat.TEXT if _is_text(head) else FileFormat.UNKNOWN


def _is_text(head: bytes) -> bool:
    text = head.decode(errors="ignore")
    # The last character may have been cut in two; anything beyond that is not UTF-8.
    whole = len(head) - len(text.encode()) < 4
    return whole and all(c.isprintable() or c in "\t\r\n\f" for c in text)
