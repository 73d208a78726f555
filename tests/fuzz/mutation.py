"""Damage to the bytes of a file, by accident and on purpose; a random generator decides."""

import random
import re
import struct
from collections.abc import Callable, Sequence

MOST_BYTES = 1 << 20
_NUMBER = re.compile(rb"-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?")
# Numbers and words on which readers of text stumble.
_ODD_TEXTS = (
    b"-1", b"0", b"1", b"2147483648", b"99999999999999999999", b"9" * 5000, b"1e999", b"-1e30",
    b"1e-400", b"nan", b"inf", b"1_0", b"0x10", b"", b"null", b"true", b"[]", b"{}", b'""',
    b"\xff\xfe", b"\xef\xbb\xbf", b"\0", b"\r", b"\n\n", b"\x1b[2J", b"../../x", b"/etc/passwd",
    "\u0663".encode(), b"%s%n", b"%99999999d", b"*", b"&a [*a]",
)  # fmt: skip
_ODD_INTEGERS = (
    0,
    1,
    -1,
    0x7F,
    0x80,
    0xFF,
    0x7FFF,
    0x8000,
    0xFFFF,
    1 << 31,
    (1 << 31) - 1,
    1 << 40,
)
_OPENINGS = (b"[", b"{", b"(", b"<a>", b'{"a":', b"[[", b"- ", b"a: {")


def mutated(rng: random.Random, data: bytes, words: Sequence[bytes] = ()) -> bytes:
    """`data` after one or a few changes.

    Args:
        rng: the same state gives the same bytes.
        data: of a valid file.
        words: what its format is made of, to be strewn in.
    """
    for _ in range(rng.choice((1, 1, 1, 2, 3, 6))):
        data = rng.choice(_WAYS)(rng, data, words)[:MOST_BYTES]
    return data


def _place(rng: random.Random, data: bytes) -> int:
    """A position; more often than not near one of the ends, where headers and directories lie."""
    length = len(data)
    where = rng.randrange(4)
    if where == 0:
        return rng.randrange(min(length, 64) + 1)
    if where == 1:
        return length - rng.randrange(min(length, 128) + 1)
    return rng.randrange(length + 1)


def _span(rng: random.Random, data: bytes) -> tuple[int, int]:
    start = _place(rng, data)
    return start, min(len(data), start + rng.choice((1, 2, 4, 8, 30, 200, len(data))))


def _flip(rng: random.Random, data: bytes, words: Sequence[bytes]) -> bytes:
    found = bytearray(data)
    for _ in range(rng.choice((1, 1, 4))):
        if found:
            found[min(len(found) - 1, _place(rng, data))] ^= 1 << rng.randrange(8)
    return bytes(found)


def _cut(rng: random.Random, data: bytes, words: Sequence[bytes]) -> bytes:
    return data[: _place(rng, data)]


def _delete(rng: random.Random, data: bytes, words: Sequence[bytes]) -> bytes:
    start, end = _span(rng, data)
    return data[:start] + data[end:]


def _double(rng: random.Random, data: bytes, words: Sequence[bytes]) -> bytes:
    start, end = _span(rng, data)
    return data[:end] + data[start:end] * rng.choice((1, 1, 2, 50)) + data[end:]


def _move(rng: random.Random, data: bytes, words: Sequence[bytes]) -> bytes:
    start, end = _span(rng, data)
    at = _place(rng, data)
    return data[:at] + data[start:end] + data[at + end - start :]


def _insert(rng: random.Random, data: bytes, words: Sequence[bytes]) -> bytes:
    at = _place(rng, data)
    return data[:at] + rng.choice((*words, *_ODD_TEXTS)) + data[at:]


def _replace_number(rng: random.Random, data: bytes, words: Sequence[bytes]) -> bytes:
    """One of the numbers that are written as text."""
    found = list(_NUMBER.finditer(data[:50_000]))
    if not found:
        return _flip(rng, data, words)
    match = rng.choice(found)
    return data[: match.start()] + rng.choice(_ODD_TEXTS) + data[match.end() :]


def _replace_integer(rng: random.Random, data: bytes, words: Sequence[bytes]) -> bytes:
    """A binary number of 1, 2, 4 or 8 bytes, in either order."""
    size, order = rng.choice((1, 2, 4, 8)), rng.choice("<>")
    at = max(0, min(_place(rng, data), len(data) - size))
    value = rng.choice(_ODD_INTEGERS) & ((1 << 8 * size) - 1)
    code = struct.pack(order + {1: "B", 2: "H", 4: "I", 8: "Q"}[size], value)
    return data[:at] + code + data[at + size :]


def _nest(rng: random.Random, data: bytes, words: Sequence[bytes]) -> bytes:
    at = _place(rng, data)
    return data[:at] + rng.choice(_OPENINGS) * rng.choice((30, 1_000, 100_000)) + data[at:]


_WAYS: tuple[Callable[[random.Random, bytes, Sequence[bytes]], bytes], ...] = (
    _flip, _flip, _cut, _delete, _double, _move, _insert, _insert, _replace_number,
    _replace_number, _replace_integer, _replace_integer, _nest,
)  # fmt: skip
