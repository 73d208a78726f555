"""The MIL baseline: OpenCV's tracker behind our contract."""

import numpy as np
import pytest

from lib.test.tracker.build import build_tracker
from lib.test.tracker.spec import TrackerSpec
from lib.utils.boxes import iou_xywh
from lib.utils.errors import DataError
from tests.tiny import draw_sequence


def follow(frames: list[np.ndarray], first: np.ndarray) -> np.ndarray:
    tracker = build_tracker(TrackerSpec("mil", "default"))
    tracker.initialize(frames[0], {"init_bbox": first})
    return np.array([tracker.track(frame)["target_bbox"] for frame in frames[1:]])


def test_it_follows_a_bright_square() -> None:
    frames, boxes = draw_sequence(16, width=160, height=120)
    found = follow(frames, boxes[0])
    static = iou_xywh(np.tile(boxes[0], (15, 1)), boxes[1:])
    assert iou_xywh(found, boxes[1:]).mean() > static.mean() + 0.1


def test_a_box_that_opencv_refuses_is_one_line() -> None:
    frames, _ = draw_sequence(2)
    with pytest.raises(DataError, match="MIL cannot start on the box"):
        follow(frames, np.array([500.0, 500.0, 0.0, 0.0]))
