"""The tracker's side of a VOT experiment: answers the toolkit over TraX, one process many starts.

The toolkit says `initialize` with a frame and a region, then `frame` after `frame`, and may then
start again. Everything of the start before must be gone by then; the trackers promise that.
The process's standard output belongs to the protocol, so words go to the log.
Source: TraX protocol 4, as the package vot-trax implements it.
"""

import logging
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from lib.masks.base import MaskRefiner, fit_mask, mask_bounds
from lib.tracker.base import BaseTracker, checked_box
from lib.utils.advice import extra
from lib.utils.boxes import Box
from lib.utils.errors import DataError, MissingExtraError, SeqTrackError
from lib.utils.grey_range import GreyRange
from lib.utils.image_io import decode_rgb, grey_range_of, read_file

RECTANGLE, MASK = "rectangle", "mask"
log = logging.getLogger(__name__)


class TraxError(SeqTrackError):
    """The toolkit went away, or sent what the protocol does not know."""


@dataclass
class StartLog:
    """What there is to say of one start when it is over."""

    began: float = field(default_factory=time.perf_counter)  # seconds of the clock when it began
    frames: int = 0  # how many were answered after the first
    repeated: int = 0  # of these, with the last box, because the tracker's was not finite
    confidences: list[float] = field(default_factory=list)  # of the frames

    def close(self) -> None:
        """Write it to the log."""
        seconds = time.perf_counter() - self.began
        words = f"  {self.frames} frames, {self.frames / max(seconds, 1e-9):.1f} per second"
        if self.confidences:
            mean = sum(self.confidences) / len(self.confidences)
            words += f", confidence {mean:.3g} on average, {min(self.confidences):.3g} at least"
        if self.repeated:
            words += f", {self.repeated} boxes were not finite and the last one was repeated"
        log.info(words)


class Session:
    """A tracker between the toolkit's requests.

    Without a refiner, which makes masks of boxes, it answers with boxes.
    """

    def __init__(self, tracker: BaseTracker, refiner: MaskRefiner | None = None) -> None:
        self.tracker = tracker
        self.refiner = refiner
        self.box: Box = (0.0, 0.0, 0.0, 0.0)
        self.starts = 0
        # Of the frame that it started on, for all that follow.
        self.grey_range: GreyRange | None = None
        self.start_log: StartLog | None = None

    def warm_up(self) -> None:
        """Track through drawn frames: what is slow the first time is not to meet the clock."""
        image = np.random.default_rng(0).integers(0, 255, (240, 320, 3), np.uint8)
        box = (120.0, 90.0, 60.0, 50.0)
        self.tracker.initialize(image, {"init_bbox": list(box)})
        if self.refiner is not None:
            self.refiner.initialise(image, np.array(box, np.float32))
        for _ in range(2):
            self.tracker.track(image)
            if self.refiner is not None:
                self.refiner.get_mask(image, np.array(box))

    def initialise(self, path: Path, region: Box | np.ndarray) -> None:
        """Start on a new target.

        Args:
            region: xywh box, or mask `(h, w)` that may end before the frame does.

        Raises:
            DataError: the frame cannot be read, or nothing can be started on the region.
        """
        data = read_file(path)
        self.grey_range = grey_range_of(data, str(path))
        image = decode_rgb(data, str(path))
        if isinstance(region, np.ndarray):
            self.box = _box(mask_bounds(fit_mask(region, *image.shape[:2])))
        else:
            self.box = _box(region)
        self.close()
        self.starts += 1
        numbers = ",".join(f"{value:g}" for value in self.box)
        log.info(f"start {self.starts}: {path}, box {numbers}")
        self.start_log = StartLog()
        self.tracker.initialize(image, {"init_bbox": list(self.box)})
        if self.refiner is not None:
            self.refiner.initialise(image, np.array(self.box, np.float32))

    def track(self, path: Path) -> tuple[Box | np.ndarray, dict[str, float]]:
        """Find the target in the next frame.

        Returns:
            the box, or the mask `(H, W)` uint8; and what is reported beside it.

        Raises:
            DataError: no target was started, or the frame cannot be read.
        """
        if self.start_log is None:
            raise DataError(f"{path}: the toolkit sent a frame before the first target")
        image = decode_rgb(read_file(path), str(path), lambda: self.grey_range)
        found = self.tracker.track(image)
        box = checked_box(found, str(path), finite=False)
        if all(map(math.isfinite, box)):
            self.box = box
        else:
            # To the toolkit a box that is not finite overlaps perfectly.
            self.start_log.repeated += 1
        self.start_log.frames += 1
        properties = {}
        confidence = found.get("confidence")
        if confidence is not None and math.isfinite(confidence):
            properties["confidence"] = float(confidence)
            self.start_log.confidences.append(float(confidence))
        if self.refiner is None:
            return self.box, properties
        # The tracker goes on from its own box: the mask is only reported.
        return self.refiner.get_mask(image, np.array(self.box)), properties

    def close(self) -> None:
        """Say how the start that runs went."""
        if self.start_log is not None:
            self.start_log.close()
            self.start_log = None


def serve(session: Session, name: str) -> None:
    """Answer the toolkit until it has had enough.

    Raises:
        MissingExtraError: vot-trax is not installed.
        TraxError: the toolkit is not there, or went away.
        SeqTrackError: the tracker cannot go on; the toolkit was given the reason.
    """
    trax = import_trax()
    form = RECTANGLE if session.refiner is None else MASK
    try:
        # Without the key `vot` the toolkit uses one process for all starts of a sequence.
        server = trax.Server([form], ["path"], ["color"], tracker_name=name, metadata={})
    except trax.TraxException as error:
        raise TraxError(f"no VOT toolkit answers on standard input and output ({error})") from None
    try:
        answer(session, server, trax)
    except trax.TraxException as error:
        raise TraxError(f"the toolkit went away ({error})") from None
    except SeqTrackError as error:
        server.quit(" ".join(str(error).split()))
        raise
    finally:
        session.close()


def answer(session: Session, server: Any, trax: Any) -> None:
    """The loop of requests; returns when the toolkit quits."""
    while True:
        request = server.wait()
        if request.type == "initialize":
            if len(request.objects) != 1:
                raise DataError(f"{len(request.objects)} targets at once; we follow one")
            region = request.objects[0][0]
            session.initialise(_path_of(request), _decode(region, trax))
            server.status([(region, {})])
        elif request.type == "frame":
            found, properties = session.track(_path_of(request))
            server.status([(_encode(found, trax), properties)])
        else:
            return


def import_trax() -> Any:
    """The package vot-trax. Raises MissingExtraError: it is not installed, or cannot be loaded."""
    try:
        import trax
    except (ImportError, OSError) as error:
        raise MissingExtraError(
            f"VOT trackers need the package vot-trax ({error}): {extra('vot')} -c constraints.txt"
        ) from None
    if not hasattr(trax, "Server"):
        raise MissingExtraError(
            f"{trax.__file__} is another package called trax: pip uninstall trax, then "
            f"{extra('vot')} -c constraints.txt"
        )
    return trax


def _box(values: Sequence[float] | np.ndarray) -> Box:
    x, y, w, h = (float(value) for value in values)
    return x, y, w, h


def _path_of(request: Any) -> Path:
    return Path(next(iter(request.image.values())).path())


def _decode(region: Any, trax: Any) -> Box | np.ndarray:
    """A region of the protocol as xywh, or as mask from the frame's first pixel on."""
    if isinstance(region, trax.Mask):
        return region.array(True)
    return tuple(region.bounds())


def _encode(found: Box | np.ndarray, trax: Any) -> Any:
    """A box or mask as a region of the protocol."""
    if isinstance(found, np.ndarray):
        return trax.Mask.create(np.ascontiguousarray(found, dtype=np.uint8))
    return trax.Rectangle.create(*found)
