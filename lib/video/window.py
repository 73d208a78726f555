"""A window of OpenCV: to watch a clip while it is tracked, and to draw boxes with the mouse."""

import subprocess
import sys

import cv2
import numpy as np

from lib.utils.advice import advice
from lib.utils.boxes import Box
from lib.utils.errors import MissingExtraError

_TITLE = "SeqTrack"
_ESCAPE = 27


class VideoWindow:
    """An open window; pictures are `(H, W, 3)` uint8 BGR."""

    def show(self, picture: np.ndarray) -> bool:
        """Show a picture; False once q, Escape or the window's own button asks for the end."""
        cv2.imshow(_TITLE, picture)
        pressed = cv2.waitKey(1) & 0xFF
        visible = cv2.getWindowProperty(_TITLE, cv2.WND_PROP_VISIBLE) >= 1
        return visible and pressed not in (_ESCAPE, ord("q"))

    def select(self, picture: np.ndarray) -> list[Box]:
        """Let boxes be drawn with the mouse: Space or Enter takes one, Escape ends."""
        boxes = cv2.selectROIs(_TITLE, picture, showCrosshair=False)
        return [(float(x), float(y), float(w), float(h)) for x, y, w, h in boxes if w and h]

    def close(self) -> None:
        """Take it off the screen."""
        cv2.destroyWindow(_TITLE)


def open_window() -> VideoWindow:
    """A window on the screen of this machine.

    Raises:
        MissingExtraError: there is no screen, or this OpenCV has no windows.
    """
    refused = MissingExtraError(
        "no window can be opened: there is no screen, or this OpenCV is the headless one (pip "
        "install opencv-python); give --box instead of --select, and leave --show out; "
        f"{advice('serve')} draws boxes in a browser"
    )
    if not _opens_elsewhere():
        raise refused
    try:
        cv2.namedWindow(_TITLE, cv2.WINDOW_NORMAL)
    except cv2.error:
        raise refused from None
    return VideoWindow()


def _opens_elsewhere() -> bool:
    """Whether another process can open a window: without a screen, Qt ends the one that tries."""
    if sys.platform != "linux":
        return True
    words = f"import cv2; cv2.namedWindow({_TITLE!r})"
    return subprocess.run([sys.executable, "-c", words], capture_output=True).returncode == 0
