"""TensorBoard's scalars and pictures, in the folder where SeqTrack's users look for them."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np


class Curves:
    """One TensorBoard run per part (`train`, `val`) in a folder, made when first needed.

    A disk that is full or a package that is missing costs the curves, not the training.

    Args:
        folder: holds one folder per part.
        warn: told once if nothing more can be written.
    """

    def __init__(self, folder: Path, warn: Callable[[str], None]) -> None:
        self._folder, self._warn = folder, warn
        self._writers: dict[str, Any] = {}
        self._broken = False

    def scalars(self, part: str, values: Mapping[str, float], x: int) -> None:
        """Add a point to every curve."""

        def add(writer: Any) -> None:
            for name, value in values.items():
                writer.add_scalar(name, value, x)

        self._write(part, add)

    def picture(self, part: str, name: str, picture: np.ndarray, x: int) -> None:
        """Add a picture `(H, W, 3)` uint8 RGB."""
        self._write(part, lambda writer: writer.add_image(name, picture, x, dataformats="HWC"))

    def close(self) -> None:
        """Write what is not yet on disk."""
        writers, self._writers = self._writers, {}
        for writer in writers.values():
            self._attempt(writer.close)

    def _write(self, part: str, add: Callable[[Any], None]) -> None:
        def write() -> None:
            if part not in self._writers:
                # It takes a second to import, and not every command that trains needs it.
                from torch.utils.tensorboard import SummaryWriter

                self._writers[part] = SummaryWriter(str(self._folder / part))
            add(self._writers[part])

        self._attempt(write)

    def _attempt(self, action: Callable[[], None]) -> None:
        if self._broken:
            return
        try:
            action()
        except (OSError, ImportError) as error:
            self._broken = True
            self._warn(f"{self._folder}: no more curves are kept ({error})")
