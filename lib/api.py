"""SeqTrack from Python: `from seqtrack import Tracker`; see docs/python.md.

    tracker = Tracker("seqtrack_b256")
    for result in tracker.stream("clip.mp4", (120, 80, 60, 40)):
        print(result.frame, result.targets[1].box, result.targets[1].confidence)

Importing this imports no torch; making a `Tracker` does.
"""

import contextlib
import math
from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np

from lib import __version__
from lib.annotations.rows import TargetRow
from lib.config.loader import list_configs
from lib.config.paths import resolve_paths
from lib.datasets.benchmarks.open import open_dataset
from lib.datasets.sequence import Dataset, Video
from lib.tracker.engine.names import AUTO, ENGINE_NAMES, PRECISIONS, check_engine
from lib.tracker.registry import make_spec, trackers, watching, with_checkpoint
from lib.tracker.spec import TrackerSpec
from lib.utils.boxes import Box
from lib.utils.errors import ConfigError, DataError, SeqTrackError, did_you_mean
from lib.utils.targets import TargetId
from lib.video.clip import Clip, Result, TargetResult

if TYPE_CHECKING:
    from lib.tracker.base import BaseTracker
    from lib.video.targets import Targets

__all__ = ["Boxes", "Result", "Source", "TargetResult", "Tracker", "__version__"]

DEFAULT_CONFIG = "seqtrack_nano"
Source = str | Path | int | Video | Clip | Iterable[np.ndarray]
OneBox = Sequence[float] | np.ndarray
Boxes = (
    OneBox | Sequence[OneBox] | Mapping[TargetId, OneBox] | Mapping[int, Mapping[TargetId, OneBox]]
)
_WEIGHTS = (".pth", ".tar", ".pt", ".safetensors")
_YAML = (".yaml", ".yml")


class Tracker:
    """Follows targets through a video, a camera or any frames. All boxes are xywh in pixels.

    A context manager; `close` ends what runs and lets the network go.

    Args:
        model: a configuration's name, the path of its YAML file or of its weights, or another
            tracker as `mil/default`; or all of that in a `TrackerSpec`, and only `device` counts.
        checkpoint: weights file; by default the one of the configuration. `random` takes
            untrained ones.
        device: `auto`, `cpu`, `mps`, `cuda` or `cuda:N`.
        engine: `torch`, `onnx`, `reference`, or `auto` for the quickest that can begin at once.
        precision: number format of the engine; fp32 by default.
        settings: changes of the configuration, such as `TEST.WINDOW=false`.

    Attributes:
        spec: what was built.
        device: where it computes.
        engine: what runs the network; empty for a tracker without one.
        advice: in words, what would be quicker; empty where nothing would.

    Raises:
        ConfigError: no such model, engine or precision.
        CheckpointError: there are no weights, or they do not fit.
    """

    def __init__(
        self,
        model: str | Path | TrackerSpec = DEFAULT_CONFIG,
        checkpoint: str | Path | None = None,
        device: str = "auto",
        engine: str = AUTO,
        precision: str | None = None,
        *,
        settings: Sequence[str] = (),
    ) -> None:
        if isinstance(model, TrackerSpec):
            spec = model
        else:
            spec = with_engine(_spec(model, checkpoint, settings), engine, precision)
        # Only now: importing torch takes seconds, and a typo should be answered before that.
        from lib.tracker.build import build_tracker, with_threads
        from lib.tracker.engine.choose import choose_engine
        from lib.utils.device import resolve_device

        self.device = resolve_device(device)
        self.advice = ""
        if spec.engine == AUTO:
            name, self.advice = choose_engine(spec, self.device)
            spec = replace(spec, engine=name)
        # A data set is evaluated as the configuration says, without the state.
        self._evaluated = with_threads(spec, self.device, 1, 1)
        self.spec = watching(self._evaluated)
        self.engine = self.spec.engine if self.spec.config else ""
        self._tracker: BaseTracker | None = build_tracker(self.spec, self.device)
        self._stream: Generator[Result, None, None] | None = None
        self._current: tuple[Targets, Result] | None = None

    def stream(
        self,
        source: Source,
        boxes: Boxes | None = None,
        start: int | None = None,
        backward: bool = False,
        *,
        end: int | None = None,
        fps: float | None = None,
        live: bool | None = None,
        reconnect: int = 3,
    ) -> Generator[Result, None, None]:
        """Track through a source, one frame in memory at a time.

        Args:
            source: a video file, a folder, a glob, a camera's number, an address of RTSP or HTTP,
                `-` for standard input, a data set's video, or an iterable of arrays `(H, W, 3)`
                uint8 RGB.
            boxes: of the targets in frame `start`: one box, a list of them (the ids are 1, 2,
                …), or a mapping from ids to boxes. A mapping from frames to mappings from ids to
                boxes says where each target begins, and corrects it later.
            start: index of the first frame; by default that of the first box, else 0.
            backward: go from `start` to the first frame.
            end: index of the last frame to track.
            fps: rate of images, which have none of their own.
            live: whether a slow tracker gets the newest frame, not the next; by default so for
                cameras and addresses.
            reconnect: how often a lost address or camera is opened again.

        Returns:
            a result for each frame; closing it closes the source.

        Raises:
            DataError: the source cannot be read, a box is none or lies outside of the picture, or
                the source is known to have no frame for `start` or a box.
            PartialFailure: after the last frame, if the source breaks off, or a box had no frame.
        """
        from lib.video.check import check_placed
        from lib.video.open import open_source

        placed = frame_boxes(boxes, start or 0)
        if start is None:
            start = (max if backward else min)(placed, default=0)
        clip = source
        if not isinstance(clip, Clip):
            clip = open_source(source, fps=fps, live=live, reconnect=reconnect)
        check_placed(clip, placed, start, backward, end)
        self._stream = self._follow(clip, placed, start, backward, end)
        return self._stream

    def _follow(
        self,
        clip: Clip,
        boxes: Mapping[int, Mapping[TargetId, Box]],
        start: int,
        backward: bool,
        end: int | None,
    ) -> Generator[Result, None, None]:
        from lib.video.targets import follow

        targets = self.targets()
        try:
            with contextlib.closing(follow(targets, clip, boxes, start, backward, end)) as results:
                for result in results:
                    self._current = targets, result
                    yield result
        finally:
            if self._current and self._current[0] is targets:
                self._current = None

    def targets(self) -> "Targets":
        """An empty set of targets for `lib.video.targets.follow`.

        Several sets can be followed in turns, and one can be left and gone on with later.
        """
        from lib.video.targets import Targets

        return Targets(self._built)

    def add(self, target: TargetId, box: OneBox) -> TargetResult:
        """Begin with another target in the frame of the last result, which gets it.

        Raises:
            DataError: the target is there already, or its box lies outside of the frame.
            SeqTrackError: no stream runs.
        """
        targets, _ = self._running()
        if target in targets.states:
            raise DataError(
                f"target {target!r} is there already; correct({target!r}, box) moves it"
            )
        return self._give(target, box)

    def correct(self, target: TargetId, box: OneBox) -> TargetResult:
        """Say where a target is in the frame of the last result; tracking goes on from there.

        Raises:
            DataError: there is no such target, or its box lies outside of the frame.
            SeqTrackError: no stream runs.
        """
        self._check_known(target)
        return self._give(target, box)

    def remove(self, target: TargetId) -> None:
        """Stop tracking a target; the last result loses it as well.

        Raises:
            DataError: there is no such target.
            SeqTrackError: no stream runs.
        """
        self._check_known(target)
        targets, result = self._running()
        del targets.states[target]
        result.targets.pop(target, None)

    def _give(self, target: TargetId, box: OneBox) -> TargetResult:
        targets, result = self._running()
        found = targets.start(target, result.image, _box(box), result.frame)
        result.targets[target] = found
        return found

    def _running(self) -> "tuple[Targets, Result]":
        if self._current is None:
            raise SeqTrackError(
                "no stream runs: call add, correct and remove in the loop over stream(...)"
            )
        return self._current

    def _check_known(self, target: TargetId) -> None:
        known = self._running()[0].states
        if target not in known:
            there = ", ".join(map(repr, known)) or "none"
            raise DataError(f"there is no target {target!r}; there are {there}")

    def initialize(self, image: np.ndarray, info: dict[str, Any]) -> dict[str, Any]:
        """As PyTracking: begin with the box `info["init_bbox"]` in an image `(H, W, 3)` RGB."""
        return self._built.initialize(image, info) or {}

    def track(self, image: np.ndarray, info: dict[str, Any] | None = None) -> dict[str, Any]:
        """As PyTracking: `target_bbox` in the next image, and what else the tracker knows."""
        return self._built.track(image, info)

    def evaluate(
        self, dataset: str | Path | Dataset, max_frames: int | None = None, batch_size: int = 1
    ) -> dict[str, float]:
        """Track a data set and score it, as `seqtrack test` and `seqtrack analyze` do.

        Nothing is written. Boxes are cut to whole pixels before they are scored, as published
        results are.

        Args:
            dataset: a name of `seqtrack data list`, or a folder of sequences.
            max_frames: track and score at most so many frames of each sequence.
            batch_size: sequences that are tracked together.

        Returns:
            percentages by name: AUC and so on, or AO and so on for GOT-10k.

        Raises:
            DataError: there is no such data set, or a sequence cannot be tracked or scored.
        """
        from lib.analysis.frames import join
        from lib.analysis.metrics import score_dataset
        from lib.evaluation.lockstep import Lockstep
        from lib.evaluation.one_by_one import OneByOne
        from lib.evaluation.plan import RunOptions
        from lib.evaluation.sequence import ListSource
        from lib.tracker.build import build_tracker

        data = dataset
        if not isinstance(data, Dataset):
            data = open_dataset(str(data), resolve_paths())
        options = RunOptions(max_frames=max_frames, batch_size=batch_size)
        kind = OneByOne if batch_size == 1 else Lockstep
        spec = replace(self._evaluated, update_key=data.update_key)
        tracker = self._built if spec == self.spec else build_tracker(spec, self.device)
        tracked = []
        for outcome in kind(data, options)(tracker, ListSource(data.sequence_names), lambda: None):
            if outcome.result is None:
                raise DataError(f"{outcome.name} cannot be tracked: {outcome.reason}")
            boxes = np.trunc(outcome.result.boxes)
            video = data.load(outcome.name).annotated_up_to(len(boxes))
            tracked.append(join(video, boxes, with_size=True))
        tracked.sort(key=lambda one: data.sequence_names.index(one.name))
        return score_dataset(tracked, data.protocol).total.percentages()

    @property
    def _built(self) -> "BaseTracker":
        if self._tracker is None:
            raise SeqTrackError("this tracker is closed; make another one")
        return self._tracker

    def close(self) -> None:
        """End the stream that runs, if any, and let the network go; may be called again."""
        if self._stream is not None:
            self._stream.close()
        self._stream = self._current = self._tracker = None

    def __enter__(self) -> "Tracker":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def target_rows(result: Result) -> list[TargetRow]:
    """The rows of a frame's targets, as tables and annotations have them."""
    return [
        TargetRow(result.frame, result.time, target, one.box, one.confidence, one.state)
        for target, one in result.targets.items()
    ]


def with_engine(spec: TrackerSpec, engine: str, precision: str | None) -> TrackerSpec:
    """The spec with an engine and its number format, checked; `auto` is left for later.

    Raises:
        ConfigError: no such engine or precision, or one for a tracker without a network.
    """
    if spec.config is None:
        if engine != AUTO or precision:
            raise ConfigError(
                f"an engine or a precision does nothing for {spec.tracker!r}, which has no network"
            )
        return replace(spec, engine=ENGINE_NAMES[0])
    if engine != AUTO:
        precision = precision or PRECISIONS.get(engine, ("fp32",))[0]
        check_engine(engine, precision)
    elif precision and not any(precision in known for known in PRECISIONS.values()):
        known = list(dict.fromkeys(one for some in PRECISIONS.values() for one in some))
        raise ConfigError(
            f"no engine computes in {precision!r}{did_you_mean(precision, known)}; choose one of "
            f"{', '.join(known)}"
        )
    return replace(spec, engine=engine, precision=precision or "fp32")


def _spec(model: str | Path, checkpoint: str | Path | None, settings: Sequence[str]) -> TrackerSpec:
    """What a model's name or path stands for.

    Raises:
        ConfigError: nothing that is known.
        CheckpointError: there are no weights.
    """
    paths = resolve_paths()
    wanted = None if checkpoint is None else str(checkpoint)
    name = str(model)
    if name.endswith(_WEIGHTS):
        if wanted is not None:
            raise ConfigError(f"{name} and {wanted} are both weights; give a configuration and one")
        name, wanted = _config_of(Path(name)), name
    tracker, slash, config = name.partition("/")
    if not (slash and tracker in trackers()) or name.endswith(_YAML):
        tracker, config = "seqtrack", name
    return with_checkpoint(make_spec(tracker, config, list(settings)), wanted, paths, "DEFAULT")


def _config_of(weights: Path) -> str:
    """The configuration of a weights file: its folder's name, or what its tensors show.

    Raises:
        CheckpointError: it cannot be read.
        ConfigError: neither tells.
    """
    folder = weights.resolve().parent.name
    if folder in list_configs():
        return folder
    from lib.models.signature import recognise
    from lib.utils.checkpoint import read_checkpoint

    if name := recognise(read_checkpoint(weights).state):
        return name
    raise ConfigError(
        f"{weights}: neither its folder nor its tensors say which configuration it is of; give "
        "the configuration's name or YAML file as the model, and this file as the checkpoint"
    )


def frame_boxes(boxes: Any, start: int = 0) -> dict[int, dict[TargetId, Box]]:
    """Boxes by frame and target.

    Args:
        boxes: as in `Tracker.stream`.
        start: the frame of boxes that name none.

    Raises:
        DataError: one of them is no box.

    Example:
        >>> frame_boxes([(1, 2, 3, 4), (5, 6, 7, 8)], 9)
        {9: {1: (1.0, 2.0, 3.0, 4.0), 2: (5.0, 6.0, 7.0, 8.0)}}
    """
    if boxes is None or len(boxes) == 0:
        return {}
    if not isinstance(boxes, Mapping):
        several = boxes if np.ndim(boxes[0]) else [boxes]
        boxes = dict(enumerate(several, start=1))
    if not all(isinstance(value, Mapping) for value in boxes.values()):
        boxes = {start: boxes}
    return {
        frame: {target: _box(box) for target, box in some.items()} for frame, some in boxes.items()
    }


def _box(box: OneBox) -> Box:
    try:
        x, y, w, h = (float(value) for value in box)
    except (TypeError, ValueError):
        x = y = w = h = math.nan
    if not math.isfinite(x + y + w + h) or w <= 0 or h <= 0:
        raise DataError(
            f"{box!r} is no box: four finite numbers x, y, w, h with w and h above zero are needed"
        )
    return x, y, w, h
