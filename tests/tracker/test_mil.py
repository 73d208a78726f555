"""The MIL baseline: OpenCV's tracker behind our contract."""

import cv2
import numpy as np
import pytest

from lib.tracker.baselines.mil import MIL
from lib.tracker.build import build_tracker
from lib.tracker.spec import TrackerSpec
from lib.utils.errors import DataError
from tests.helpers.tiny import draw_sequence


def follow(frames: list[np.ndarray], first: np.ndarray) -> np.ndarray:
    tracker = build_tracker(TrackerSpec("mil", "default"))
    tracker.initialize(frames[0], {"init_bbox": first})
    return np.array([tracker.track(frame)["target_bbox"] for frame in frames[1:]])


class Scripted:
    """Stands in for OpenCV's tracker, which seeds itself by the clock."""

    answers = ((True, (12, 9, 30, 21)), (False, (90, 90, 1, 1)), (True, (14, 9, 30, 21)))

    def __init__(self) -> None:
        self.started: list[int] = []
        self.left = list(self.answers)

    def init(self, image: np.ndarray, box: list[int]) -> None:
        self.started = box

    def update(self, image: np.ndarray) -> tuple[bool, tuple[int, ...]]:
        return self.left.pop(0)


def test_the_last_box_stays_where_mil_has_lost_the_target(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cv2.TrackerMIL, "create", Scripted)
    frames, _ = draw_sequence(4, width=96, height=64)
    found = follow(frames, np.array([10.6, -3.0, 29.8, 24.0]))
    assert found.tolist() == [[12, 9, 30, 21], [12, 9, 30, 21], [14, 9, 30, 21]]


def test_it_starts_on_whole_pixels_of_the_image(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cv2.TrackerMIL, "create", Scripted)
    frames, _ = draw_sequence(1, width=96, height=64)
    tracker = MIL()
    tracker.initialize(frames[0], {"init_bbox": [10.6, -3.0, 29.8, 24.0]})
    assert tracker.tracker.started == [11, 0, 29, 21]


@pytest.mark.parametrize(
    ("box", "said"),
    [
        pytest.param((500, 500, 0, 0), "0 x 0 pixels of it are in the image", id="nothing"),
        pytest.param((10, 10, 4, 4), "4 x 4 pixels of it", id="OpenCV would hang"),
        pytest.param((10, 10, 2, 12), "2 x 12 pixels of it", id="OpenCV would hang, thin"),
        pytest.param((94, 10, 30, 30), "2 x 30 pixels of it", id="mostly outside"),
        pytest.param((0, 0, 96, 64), "the image of 96 x 64 pixels has too little", id="all of it"),
    ],
)
def test_a_box_that_mil_cannot_learn_is_one_line(box: tuple[float, ...], said: str) -> None:
    frames, _ = draw_sequence(2, width=96, height=64)
    with pytest.raises(DataError, match=rf"^MIL cannot start on the box {box[0]},.*{said}"):
        follow(frames, np.array(box, float))


@pytest.mark.parametrize(
    "box", [(-5, -5, 30, 30), (80, 50, 30, 30), (40, 30, 3, 6), (40, 30, 6, 3)]
)
def test_the_part_inside_of_the_image_is_followed(box: tuple[float, ...]) -> None:
    frames, _ = draw_sequence(2, width=96, height=64)
    x, y, w, h = follow(frames, np.array(box, float))[0]
    assert x >= 0 and y >= 0 and x + w <= 96 and y + h <= 64 and min(w, h) >= 3
