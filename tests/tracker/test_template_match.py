"""Template matching: the baseline that looks for the first patch."""

import cv2
import numpy as np
import pytest

from lib.tracker.build import build_tracker
from lib.tracker.spec import TrackerSpec
from lib.utils.errors import DataError
from tests.helpers.tiny import draw_sequence

NOISE = np.random.default_rng(3).integers(0, 256, (90, 120, 3), dtype=np.uint8)


def textured(length: int, step: tuple[int, int]) -> tuple[list[np.ndarray], np.ndarray]:
    """A textured patch of 16 x 12 that moves by `step` over other noise; frames and boxes."""
    patch = np.random.default_rng(5).integers(0, 256, (12, 16, 3), dtype=np.uint8)
    frames, boxes = [], []
    for i in range(length):
        x, y = 30 + i * step[0], 25 + i * step[1]
        frame = NOISE.copy()
        frame[y : y + 12, x : x + 16] = patch
        frames.append(frame)
        boxes.append((x, y, 16, 12))
    return frames, np.array(boxes, float)


def start(frame: np.ndarray, box):
    tracker = build_tracker(TrackerSpec("template_match", "default"))
    return tracker, tracker.initialize(frame, {"init_bbox": box})


def follow(frames: list[np.ndarray], first) -> tuple[np.ndarray, np.ndarray]:
    tracker, _ = start(frames[0], first)
    found = [tracker.track(frame) for frame in frames[1:]]
    return np.array([f["target_bbox"] for f in found]), np.array([f["confidence"] for f in found])


def test_a_patch_is_found_to_the_pixel() -> None:
    frames, boxes = textured(6, (5, -3))
    found, confidence = follow(frames, boxes[0])
    np.testing.assert_array_equal(found, boxes[1:])
    np.testing.assert_allclose(confidence, 1, atol=1e-4)


def test_fractions_of_the_first_box_are_kept() -> None:
    frames, boxes = textured(2, (4, 2))
    found, _ = follow(frames, boxes[0] + (0.25, -0.25, 0.5, 0))
    np.testing.assert_allclose(found[0], boxes[1] + (0.25, -0.25, 0.5, 0))


def test_a_patch_out_of_reach_is_not_found() -> None:
    """The window ends one mean side, here 14 pixels, beyond the last box."""
    frames, boxes = textured(2, (15, 0))
    found, confidence = follow(frames, boxes[0])
    assert np.abs(found[0, :2] - boxes[0, :2]).max() <= 14
    assert confidence[0] < 0.6
    found, _ = follow(textured(2, (14, 0))[0], boxes[0])
    assert found[0, 0] == boxes[0, 0] + 14


def test_light_and_contrast_do_not_matter_but_change_does() -> None:
    frames, boxes = textured(2, (3, 3))
    darker = (frames[1] * 0.5 + 20).astype(np.uint8)
    found, confidence = follow([frames[0], darker], boxes[0])
    np.testing.assert_array_equal(found[0], boxes[1])
    assert confidence[0] > 0.99
    _, blurred = follow([frames[0], cv2.GaussianBlur(frames[1], (5, 5), 2)], boxes[0])
    assert 0 <= blurred[0] < 0.8


def test_one_colour_is_followed_too() -> None:
    """Correlation is 0 / 0 there."""
    frames, boxes = draw_sequence(8, width=160, height=120)
    found, _ = follow(frames, boxes[0])
    np.testing.assert_array_equal(found, boxes[1:])


def test_a_window_of_one_colour_has_no_confidence() -> None:
    frames, boxes = textured(1, (0, 0))
    _, confidence = follow([frames[0], np.full_like(frames[0], 90)], boxes[0])
    assert confidence[0] == pytest.approx(0, abs=1e-3)


def test_the_part_in_the_image_stands_for_the_box() -> None:
    frames, _ = textured(1, (0, 0))
    moved = np.roll(frames[0], (4, 6), axis=(0, 1))
    found, _ = follow([frames[0], moved], (-8, -6, 30, 30))
    np.testing.assert_allclose(found[0], (-2, -2, 30, 30))


def test_an_image_smaller_than_the_template_keeps_the_box() -> None:
    frames, boxes = textured(1, (0, 0))
    found, confidence = follow([frames[0], frames[0][:8]], boxes[0])
    np.testing.assert_array_equal(found[0], boxes[0])
    assert confidence[0] == 0


def test_a_second_target_starts_anew() -> None:
    frames, boxes = textured(2, (5, 5))
    tracker, first = start(np.roll(NOISE, 9, axis=0), (60, 50, 20, 20))
    assert first == {"target_bbox": [60, 50, 20, 20], "confidence": 1.0, "certainty": 1.0}
    tracker.initialize(frames[0], {"init_bbox": boxes[0]})
    assert tracker.track(frames[1])["target_bbox"] == boxes[1].tolist()


@pytest.mark.parametrize(
    ("box", "said"),
    [
        pytest.param((500, 10, 20, 20), "0 x 20 pixels", id="outside"),
        pytest.param((119, 10, 20, 20), "1 x 20 pixels", id="a sliver"),
        pytest.param((10, 10, 20, 0.4), "20 x 0 pixels", id="no height"),
    ],
)
def test_a_box_with_nothing_to_match_is_one_line(box: tuple[float, ...], said: str) -> None:
    with pytest.raises(DataError, match=rf"cannot start on the box {box[0]},.*{said} of it"):
        start(NOISE, box)
