"""A tracking function for CVAT: SeqTrack follows the boxes that annotators draw (README.md).

    cvat-cli function create-native SeqTrack --function-file integrations/cvat/function.py
    cvat-cli function run-agent ID --function-file integrations/cvat/function.py

Source of the interface: `cvat_sdk.auto_annotation.TrackingFunction`, tried with cvat-sdk 2.80.
"""

import cvat_sdk.auto_annotation as cvataa
import numpy as np
import PIL.Image

from lib.video.targets import Targets
from seqtrack import Tracker

_RECTANGLE = "rectangle"


class SeqTrackFunction:
    """Follows rectangles; all of them share one network.

    Args:
        tracker: what follows them.
    """

    spec = cvataa.TrackingFunctionSpec(supported_shape_types=[_RECTANGLE])

    def __init__(self, tracker: Tracker) -> None:
        self.tracker = tracker

    def preprocess_image(
        self, context: cvataa.TrackingFunctionContext, image: PIL.Image.Image
    ) -> np.ndarray:
        """The frame `(H, W, 3)` uint8 RGB."""
        return np.asarray(image.convert("RGB"))

    def init_tracking_state(
        self,
        context: cvataa.TrackingFunctionShapeContext,
        pp_image: np.ndarray,
        shape: cvataa.TrackableShape,
    ) -> Targets:
        """A target of its own for each shape.

        Raises:
            DataError: the box is empty, or lies outside of the frame.
        """
        left, top, right, bottom = shape.points
        state = self.tracker.targets()
        state.start(1, pp_image, (left, top, right - left, bottom - top))
        return state

    def track(
        self, context: cvataa.TrackingFunctionShapeContext, pp_image: np.ndarray, state: Targets
    ) -> cvataa.TrackableShape | None:
        """Where the shape is in the next frame; None where the target is lost."""
        found = state.step(pp_image)[1]
        if found.state == "lost":
            return None
        x, y, w, h = found.box
        return cvataa.TrackableShape(type=_RECTANGLE, points=[x, y, x + w, y + h])


def create(
    model: str = "seqtrack_nano", checkpoint: str = "", device: str = "auto", engine: str = "auto"
) -> SeqTrackFunction:
    """What `cvat-cli` calls with its `-p NAME=str:VALUE`; see `seqtrack.Tracker` for these."""
    return SeqTrackFunction(Tracker(model, checkpoint or None, device, engine))
