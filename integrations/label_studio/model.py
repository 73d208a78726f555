"""Label Studio's ML backend: SeqTrack follows the boxes that annotators draw; see README.md here.

Works with the packages label-studio-ml 1 (of the index) and 2 (of its repository): both call
`predict(tasks, context=..., **others)` and take a list of predictions.
"""

import contextlib
import functools
import inspect
import os
from collections.abc import Sequence
from itertools import chain
from typing import Any

from label_studio_ml.model import LabelStudioMLBase
from regions import Region, drawn_boxes, keyframe, tracked_region

from lib.utils.errors import DataError
from lib.utils.files import user_path
from lib.video.open import open_clip
from seqtrack import Tracker, __version__


@functools.cache
def tracker() -> Tracker:
    """The tracker of this process: SEQTRACK_MODEL, SEQTRACK_CHECKPOINT and SEQTRACK_DEVICE."""
    model, device = os.environ.get("SEQTRACK_MODEL"), os.environ.get("SEQTRACK_DEVICE")
    weights = os.environ.get("SEQTRACK_CHECKPOINT")
    return Tracker(model or "seqtrack_nano", weights or None, device or "auto")


class SeqTrackBackend(LabelStudioMLBase):
    """Answers with the regions that were drawn, and a keyframe of them in every later frame."""

    def setup(self) -> None:
        """What a prediction says of its origin (version 2 of the package asks)."""
        self.set("model_version", f"seqtrack-{__version__}")

    def predict(
        self, tasks: list[dict[str, Any]], context: dict[str, Any] | None = None, **_: Any
    ) -> list[dict[str, Any]]:
        """A prediction for each task.

        Args:
            tasks: of Label Studio; the video is the first address in their data.
            context: `result` are the regions on the annotator's page; without it, those of the
                task's last annotation are taken.

        Raises:
            DataError: the video cannot be read, or a region is none.
        """
        answers = []
        for task in tasks:
            kept = task.get("annotations") or task.get("drafts") or [{}]
            regions = (context or {}).get("result") or kept[-1].get("result") or []
            result = self._follow(task, regions)
            answers.append({"result": result, "score": 1.0} if result else {"result": []})
        return answers

    def _follow(self, task: dict[str, Any], regions: Sequence[Region]) -> list[dict[str, Any]]:
        clip = open_clip(user_path(self._local_path(task), "the video"))
        with contextlib.closing(clip.frames()) as frames:
            height, width = next(frames).image.shape[:2]
        boxes = drawn_boxes(regions, width, height)
        if not boxes:
            return []
        _check_count(regions, clip.length)
        start, limit = min(boxes), int(os.environ.get("SEQTRACK_MAX_FRAMES", 0))
        end = max(max(boxes), start + limit) if limit else None
        found: dict[int | str, list[dict[str, Any]]] = {}
        last = start
        stream = tracker().stream(clip, boxes, start, end=end)
        with contextlib.closing(stream):
            for result in stream:
                last = result.frame
                for target, one in result.targets.items():
                    row = keyframe(one, last, clip.fps, width, height)
                    found.setdefault(target, []).append(row)
        count = clip.length or last + 1
        return [
            tracked_region(one, found[one["id"]], count, clip.fps)
            for one in regions
            if one.get("id") in found
        ]

    def _local_path(self, task: dict[str, Any]) -> str:
        """The video as a file here; the package fetches what is an address."""
        addresses = chain.from_iterable(
            (value, *value) if isinstance(value, list) else (value,)
            for value in task["data"].values()
        )
        address = next((one for one in addresses if isinstance(one, str)), None)
        if address is None:
            raise DataError(f"task {task.get('id')} has no video in its data: {task['data']}")
        # Version 2 finds files of cloud storage by the task.
        known = inspect.signature(self.get_local_path).parameters
        more = {"task_id": task.get("id")} if "task_id" in known else {}
        return self.get_local_path(address, **more)


def _check_count(regions: Sequence[Region], length: int | None) -> None:
    """Refuse a page that counts the frames of the video at another rate.

    Raises:
        DataError: telling what to set.
    """
    for region in regions:
        counted = region.get("value", {}).get("framesCount")
        if counted and length and abs(counted - length) > 1:
            raise DataError(
                f"Label Studio counts {counted} frames and the video has {length}: set framerate "
                "of <Video> in the labelling interface to the rate of the video"
            )
