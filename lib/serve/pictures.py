"""Frames of a clip as JPEG, by their numbers."""

import contextlib
import threading
from collections import OrderedDict
from collections.abc import Generator

import cv2
import numpy as np

from lib.utils.errors import DataError
from lib.video.clip import Clip, Frame

# A page shows no more; boxes are in pixels of the clip all the same.
_LONGEST_SIDE = 1600
_QUALITY = 88
_CACHE_BYTES = 16_000_000
# Frames that are read on the way to one that lies a little before or behind.
_NEAR = 12


class FramePictures:
    """Reads on where it can, and remembers what it read last; for several threads."""

    def __init__(self, clip: Clip) -> None:
        self._clip = clip
        self._lock = threading.RLock()
        self._frames: Generator[Frame, None, None] | None = None
        self._next = 0
        self._cache: OrderedDict[int, bytes] = OrderedDict()
        self._bytes = 0

    def jpeg(self, index: int) -> bytes:
        """The picture of a frame.

        Raises:
            DataError: there is no such frame, or it cannot be read.
        """
        with self._lock:
            if index not in self._cache:
                self._read(index)
            if index not in self._cache:
                raise DataError(f"{self._clip.name} has no frame {index}, counted from 0")
            self._cache.move_to_end(index)
            return self._cache[index]

    def image(self, index: int) -> np.ndarray:
        """A frame `(H, W, 3)` uint8 RGB.

        Raises:
            DataError: as `jpeg`.
        """
        with contextlib.closing(self._clip.frames(index)) as frames:
            frame = next(frames, None)
        if frame is None:
            raise DataError(f"{self._clip.name} has no frame {index}, counted from 0")
        return frame.image

    def _read(self, index: int) -> None:
        if self._frames is None or not self._next <= index < self._next + _NEAR:
            self.close()
            # Who steps back goes on stepping back.
            self._next = max(0, index - _NEAR + 1) if index < self._next else index
            self._frames = self._clip.frames(self._next)
        for frame in self._frames:
            self._next = frame.index + 1
            self._keep(frame)
            if frame.index >= index:
                return
        self.close()

    def _keep(self, frame: Frame) -> None:
        height, width = frame.image.shape[:2]
        picture = cv2.cvtColor(frame.image, cv2.COLOR_RGB2BGR)
        if (share := _LONGEST_SIDE / max(height, width)) < 1:
            size = max(1, round(width * share)), max(1, round(height * share))
            picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
        _, data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
        self._bytes += len(data) - len(self._cache.pop(frame.index, b""))
        self._cache[frame.index] = data.tobytes()
        while self._bytes > _CACHE_BYTES and len(self._cache) > 1:
            self._bytes -= len(self._cache.popitem(last=False)[1])

    def close(self) -> None:
        """Close the clip's file."""
        with self._lock:
            if self._frames is not None:
                self._frames.close()
            self._frames = None
