"""A window of OpenCV: to watch a clip while it is tracked, and to draw boxes with the mouse."""

import cv2
import numpy as np

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
    try:
        cv2.namedWindow(_TITLE, cv2.WINDOW_NORMAL)
    except cv2.error:
        raise MissingExtraError(
            "no window can be opened: there is no screen, or this OpenCV is the headless one (pip "
            "install opencv-python); give --box instead of --select, and leave --show out"
        ) from None
    return VideoWindow()
