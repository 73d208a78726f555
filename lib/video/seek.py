"""Where the pictures of a video file lie, so that it can be read from its middle, and backward.

An index is made of packets, without decoding them. It is used only where the pictures that are
decoded are those that it expects; elsewhere a file is read from its start.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

# Pictures in memory when a video is read backward, in bytes.
BACKWARD_BYTES = 200_000_000
# Packets of this codec may be pictures that are not shown.
_HIDES = ("vp8",)
# A frame of MPEG-4 that says no more than that nothing is coded.
_EMPTY_MPEG4 = 20


@dataclass(frozen=True)
class PictureIndex:
    """The pictures of a file in the order in which they are shown.

    Attributes:
        stamps: their times in ticks of the stream, ascending.
        keys: times and decoding times of the packets that decoding can start with, ascending.
        tick: seconds of a tick.
        size: width and height of the first picture.
        counted: packets of the stream, and the ends of the stream and of the file in seconds.
    """

    stamps: list[int]
    keys: list[tuple[int, int]]
    tick: float
    size: tuple[int, int]
    counted: tuple[int, float, float]

    def time(self, number: int) -> float:
        """Seconds from the first picture to another one."""
        return float((self.stamps[number] - self.stamps[0]) * self.tick)

    def targets(self, number: int) -> list[int]:
        """Ticks to seek to for a picture, to be tried in turn; none where the start is as near."""
        place = bisect_right(self.keys, (self.stamps[number], float("inf"))) - 1
        if place < 1:
            return []
        shown, decoded = self.keys[place]
        return list(dict.fromkeys([shown, decoded, self.keys[place - 1][1]]))

    def window(self, stop: int) -> int:
        """First picture of those before `stop` that are read at once, going backward.

        It begins a group of pictures where a group fits into memory.
        """
        width, height = self.size
        low = max(0, stop - max(8, BACKWARD_BYTES // (3 * width * height)))
        begins = [bisect_left(self.stamps, shown) for shown, _ in self.keys]
        place = bisect_left(begins, low)
        return begins[place] if place < len(begins) and begins[place] < stop else low

    def resumed(self, pictures: Iterable[Any], number: int) -> Iterator[Any]:
        """The pictures from `number` on; none where what comes is not what the index expects."""
        pictures = iter(pictures)
        place = None
        for picture in pictures:
            stamp = picture.pts
            if stamp is None or picture.is_corrupt or (picture.width, picture.height) != self.size:
                return
            if place is None:
                place = bisect_left(self.stamps, stamp)
            if place > number or self.stamps[place] != stamp:
                return
            if place == number:
                yield picture
                yield from pictures
                return
            place += 1

    def agrees(self, pictures: Iterable[Any]) -> bool:
        """Whether these pictures are the first ones."""
        found = [picture.pts for picture in pictures]
        return bool(found) and found == self.stamps[: len(found)]


class IndexBuilder:
    """Makes an index of the packets of a stream, in the order of the file."""

    def __init__(self, stream: Any) -> None:
        context = stream.codec_context
        self.codec = context.name
        depth = str(context.pix_fmt or "")
        # Grey of more than 8 bits is read in the range of the first picture.
        deep_grey = depth.startswith("gray") and depth != "gray"
        self.usable = self.codec not in _HIDES and not deep_grey
        self.size = (context.width, context.height)
        self.tick = stream.time_base
        self.stamps: list[int] = []
        self.keys: list[tuple[int, int]] = []

    def add(self, packet: Any) -> None:
        """Take the next packet."""
        if not packet.size:
            return
        empty = self.codec == "mpeg4" and packet.size < _EMPTY_MPEG4
        if packet.pts is None or packet.is_corrupt or empty:
            self.usable = False
            return
        if packet.is_keyframe:
            self.keys.append((packet.pts, packet.pts if packet.dts is None else packet.dts))
        if not packet.is_discard:
            self.stamps.append(packet.pts)

    def finish(self, counted: tuple[int, float, float]) -> PictureIndex | None:
        """The index; None where packets do not tell the pictures."""
        stamps = sorted(self.stamps)
        if not self.usable or not self.keys or len(set(stamps)) < len(stamps):
            return None
        return PictureIndex(stamps, sorted(self.keys), self.tick, self.size, counted)
