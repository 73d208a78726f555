"""What a page works on: a clip, its targets, and what each model found of them."""

import contextlib
import math
import secrets
import time
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lib.annotations.rows import ClipFacts, TargetRow
from lib.serve.limits import RefusedRequest
from lib.serve.models import SharedTracker
from lib.serve.pictures import FramePictures
from lib.utils.boxes import Box
from lib.utils.errors import DataError
from lib.utils.targets import TargetId
from lib.video.check import frame_count
from lib.video.clip import Clip, Frame, Result, TargetResult
from lib.video.targets import follow
from lib.video.write import Painter, open_sink


@dataclass(frozen=True)
class TrackRequest:
    """What a page wants tracked.

    Attributes:
        start: index of the first frame.
        boxes: that were drawn, by frame and target; those of `start` begin there.
        others: targets without a box in `start` that go on from what was found there.
        backward: toward the first frame.
        end: the last frame; None for all.
    """

    start: int
    boxes: Mapping[int, Mapping[TargetId, Box]]
    others: tuple[TargetId, ...] = ()
    backward: bool = False
    end: int | None = None


@dataclass(frozen=True)
class Resumable:
    """Where a target was left, and the state with which exactly the same goes on."""

    shared: SharedTracker
    frame: int
    backward: bool
    state: Any


@dataclass(eq=False)
class FoundTargets:
    """What one model found: by frame and target."""

    frames: dict[int, dict[TargetId, TargetResult]] = field(default_factory=dict)
    left: dict[TargetId, Resumable] = field(default_factory=dict)

    def forget(self, wanted: TrackRequest) -> None:
        """Forget what lies beyond the start of a tracking, which finds it anew."""
        sign = -1 if wanted.backward else 1
        again = {*wanted.others, *(target for some in wanted.boxes.values() for target in some)}
        for frame, found in list(self.frames.items()):
            if sign * frame > sign * wanted.start:
                for target in again & found.keys():
                    del found[target]

    def remove(self, target: TargetId) -> None:
        """Forget a target."""
        self.left.pop(target, None)
        # A copy: a job may be adding frames.
        for found in list(self.frames.values()):
            found.pop(target, None)


class ClipSession:
    """A clip with what was found in it.

    Args:
        clip: a recording, which can be read again.
        folder: of its file; None where it has none.
        suggested: a box of the first frame that may be taken.
    """

    def __init__(self, clip: Clip, folder: Path, suggested: Box | None = None) -> None:
        self.id = secrets.token_urlsafe(12)
        self.clip, self.folder, self.suggested = clip, folder, suggested
        self.pictures = FramePictures(clip)
        self.height, self.width = self.pictures.image(0).shape[:2]
        self.found: dict[str, FoundTargets] = {}
        self.times: dict[int, float] = {}
        self.used = time.monotonic()

    def facts(self) -> dict[str, Any]:
        """What a page has to know of the clip."""
        return {
            "id": self.id,
            "name": self.clip.name,
            "width": self.width,
            "height": self.height,
            "fps": round(self.clip.fps, 3),
            "frames": frame_count(self.clip),
            "suggested": self.suggested,
        }

    def track(self, shared: SharedTracker, wanted: TrackRequest) -> Generator[Result, None, None]:
        """Track, and keep what is found; the first result is that of the frame `start`.

        Raises:
            DataError: a box lies outside of its frame, or a frame cannot be read.
            PartialFailure: after the last frame, if the clip breaks off.
        """
        found = self.found.setdefault(shared.name, FoundTargets())
        targets = shared.tracker.targets()
        with contextlib.closing(self.clip.frames(wanted.start)) as frames:
            first = next(frames, None)
        if first is None:
            raise DataError(f"{self.clip.name} has no frame {wanted.start}, counted from 0")
        with shared.lock:
            result = self._begin(shared, wanted, first, found, targets)
        yield self._keep(shared, wanted, found, targets, result)
        sign = -1 if wanted.backward else 1
        start, end = wanted.start + sign, wanted.end
        length = frame_count(self.clip)
        done = end is not None and sign * start > sign * end
        if done or start < 0 or (length is not None and start >= length):
            return
        later = {n: some for n, some in wanted.boxes.items() if n != wanted.start}
        results = follow(targets, self.clip, later, start, wanted.backward, end)
        with contextlib.closing(results):
            for result in shared.in_turn(results):
                yield self._keep(shared, wanted, found, targets, result)

    def _begin(
        self,
        shared: SharedTracker,
        wanted: TrackRequest,
        first: Frame,
        found: FoundTargets,
        targets: Any,
    ) -> Result:
        """The first frame: boxes that were drawn, and targets that go on."""
        given = wanted.boxes.get(wanted.start, {})
        here = found.frames.get(wanted.start, {})
        answers = {}
        for target in dict.fromkeys([*wanted.others, *given]):
            if target in given:
                answers[target] = targets.start(target, first.image, given[target], first.index)
                continue
            if target not in here:
                raise DataError(f"target {target!r} has no box in frame {first.index}; draw one")
            answers[target] = here[target]
            left = found.left.get(target)
            if left and (left.shared, left.frame) == (shared, first.index) and (
                left.backward == wanted.backward
            ):  # fmt: skip
                targets.states[target] = left.state
            else:
                targets.start(target, first.image, here[target].box, first.index)
        if not answers and not wanted.boxes:
            raise DataError(
                f"no target is given; draw a box in frame {first.index}, which is {self.width} "
                f"wide and {self.height} high"
            )
        found.forget(wanted)
        return Result(first.index, first.time, first.image, answers)

    def _keep(
        self,
        shared: SharedTracker,
        wanted: TrackRequest,
        found: FoundTargets,
        targets: Any,
        result: Result,
    ) -> Result:
        self.used = time.monotonic()
        self.times[result.frame] = result.time
        found.frames.setdefault(result.frame, {}).update(result.targets)
        for target, state in targets.states.items():
            found.left[target] = Resumable(shared, result.frame, wanted.backward, state)
        return result

    def remove(self, target: TargetId) -> None:
        """Forget a target, whichever model found it."""
        for found in self.found.values():
            found.remove(target)

    def rows(self, model: str) -> list[TargetRow]:
        """All that a model found.

        Raises:
            RefusedRequest: that is nothing.
        """
        frames = self.found[model].frames if model in self.found else {}
        rows = [
            TargetRow(frame, self.times[frame], target, one.box, one.confidence, one.state)
            for frame in sorted(list(frames))
            for target, one in frames[frame].items()
        ]
        if not rows:
            raise RefusedRequest(422, f"{model} has tracked nothing here yet")
        return rows

    def clip_facts(self) -> ClipFacts:
        """For the annotations."""
        clip = self.clip
        return ClipFacts(clip.name, self.width, self.height, clip.fps, clip.length)

    def paint(self, model: str, path: Path) -> Generator[int, None, None]:
        """Write a video of the frames in which something was found; gives their numbers.

        Raises:
            SeqTrackError: it cannot be written.
        """
        frames = {n: found for n, found in list(self.found[model].frames.items()) if found}
        first, last = min(frames), max(frames)
        painter = Painter(len({target for found in frames.values() for target in found}) > 1)
        with (
            open_sink(path, self.clip.fps, []) as sink,
            contextlib.closing(self.clip.frames(first)) as pictures,
        ):
            begun = math.nan
            for frame in pictures:
                begun = frame.time if frame.index == first else begun
                result = Result(frame.index, frame.time, frame.image, frames.get(frame.index, {}))
                # A clock that stands still: how fast this is painted is nobody's concern.
                sink.write(painter.draw(result, 0.0), frame.time - begun, frame.duration)
                self.used = time.monotonic()
                yield frame.index
                if frame.index == last:
                    return

    def close(self) -> None:
        """Close its files."""
        self.pictures.close()
