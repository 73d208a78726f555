"""Which sample comes next: everything random in a sample follows from (seed, epoch, number).

So a sample can be made again by its number, in any process and in any order.
"""

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from lib.config.paths import Paths
from lib.config.schema import Config
from lib.datasets.training.open import open_training_set
from lib.datasets.training.sample import (
    BoxedFrame,
    EncodedImage,
    FrameSample,
    SampleSource,
    UnusableSampleError,
)
from lib.datasets.training.set import (
    MIN_LENGTH,
    StoredFrames,
    TrainingSet,
    can_be_drawn_from,
    enough_frames,
)
from lib.synthetic.pairs.source import PairSource
from lib.train.data.history import boxes_before, tracked_boxes, with_motion
from lib.train.data.transforms import TrainingSample, TrainingTransform
from lib.train.data.video_changes import changed, with_distractors
from lib.utils.errors import ConfigError, DataError, counted
from lib.utils.files import user_path

logger = logging.getLogger(__name__)

# So many draws in a row without a sample mean that something is wrong with the data.
MAX_DRAWS = 100
SYNTHETIC = "SYNTHETIC"
VALIDATION_EPOCH = 0


class VideoSource:
    """Draws frames of one target from a training set; of a set of images, one image only.

    Every sequence that has enough visible frames is equally likely.
    """

    def __init__(
        self,
        training_set: TrainingSet,
        templates: int,
        mode: str,
        interval: int,
        encoded: bool = False,
        min_used: float = 0.0,
        history: int = 0,
        tracked: Path | None = None,
    ) -> None:
        """Find the sequences that can be drawn from; warn of how many cannot.

        Where `encoded`, the decoding is left to whoever knows at which size frames are needed.

        Raises:
            DataError: there is none, or less than the share `min_used`.
        """
        self.name, self._set = training_set.name, training_set
        self._templates, self._mode, self._interval = templates, mode, interval
        self._encoded, self._history, self._tracked = encoded, history, tracked
        self._indices = _fit_sequences(training_set, templates, min_used)

    def draw(self, rng: np.random.Generator, progress: float) -> FrameSample:
        """Draw the templates and the search frame of one sample; `progress` changes nothing.

        Raises:
            DataError: a file of the sample cannot be used; the message names it.
            UnusableSampleError: the sequence has no frames for this sampler mode.
        """
        sequence = self._set.load(int(self._indices[rng.integers(len(self._indices))]))
        name = f"{self.name} {sequence.name}"
        chosen = [0] * (self._templates + 1)
        if self._set.is_video:
            how = self._templates, self._mode, self._interval
            try:
                chosen = choose_frames(rng, sequence.visible, *how)
            except UnusableSampleError as error:
                raise UnusableSampleError(f"{name}: {error}") from None
        images = {i: self._image(sequence.frames, i) for i in dict.fromkeys(chosen)}
        boxes = np.asarray(sequence.boxes, np.float64)
        sightings = tuple(BoxedFrame(images[i], boxes[i]) for i in chosen)
        told = f"{name}, frames {', '.join(map(str, chosen))}"
        before = None
        if self._history:
            past = boxes
            if self._tracked is not None:
                past = tracked_boxes(self._tracked, sequence.name, boxes)
            before = boxes_before(past, sequence.visible, chosen[-1], self._history)
        return FrameSample(sightings, told, recorded=self._set.is_video, before=before)

    def _image(self, frames: StoredFrames, index: int) -> np.ndarray | EncodedImage:
        if self._encoded:
            data, name = frames.read_bytes(index), frames.describe(index)
            return EncodedImage(data, name, lambda: frames.grey_range)
        return frames.read(index)


@dataclass(frozen=True)
class TrackingSampler:
    """Makes the samples of a training; picklable, so that loader processes can have it."""

    sources: tuple[SampleSource, ...]
    ratios: tuple[float, ...]  # how often each source is drawn from, relative to the others
    transform: TrainingTransform
    seed: int
    epochs: int
    samples: int  # of one epoch
    # What was warned of in this process, so that it is not repeated
    warned: set[str] = field(default_factory=set, repr=False, compare=False)

    def sample(self, epoch: int, number: int) -> TrainingSample:
        """Make sample `number` (from 0) of `epoch` (from 1; 0 is the validation's).

        A draw that gives no sample is followed by another one of the same set, up to `MAX_DRAWS`.

        Raises:
            DataError: none of them gave a sample; the message names the set and the last draw, and
                says why.
        """
        seeds = np.random.SeedSequence([self.seed, epoch, number])
        rng = np.random.Generator(np.random.PCG64(seeds))
        # Share of the training that is done; validation is always at its end.
        progress = min((epoch - 1 + number / self.samples) / self.epochs, 1.0)
        if epoch == VALIDATION_EPOCH:
            progress = 1.0
        chances = np.asarray(self.ratios) / sum(self.ratios)
        # Once: otherwise the other sets would replace, unnoticed, one whose files are gone.
        source = self.sources[rng.choice(len(self.sources), p=chances)]
        broken: list[str] = []
        for redraws in range(MAX_DRAWS):
            try:
                draw = source.draw(rng, progress)
                if self.transform.history and draw.before is None:
                    count = self.transform.history
                    draw = with_motion(rng, draw, self.transform.data.history, count)
                variation = self.transform.vary(rng, len(draw.sightings))
                sample = self.transform.apply(draw, variation, number)
                if draw.recorded:
                    sample = self._altered(rng, sample, source, progress)
            except UnusableSampleError as error:
                why = str(error)
            except DataError as error:
                why = str(error)
                broken.append(why)
            else:
                return replace(sample, redraws=redraws, broken=tuple(broken))
        raise DataError(
            f"{source.name}: {MAX_DRAWS} draws gave no training sample "
            f"({len(broken)} hit a broken file); the last one: {why}"
        )

    def _altered(
        self,
        rng: np.random.Generator,
        sample: TrainingSample,
        source: SampleSource,
        progress: float,
    ) -> TrainingSample:
        """A sample of video with what DATA.DISTRACTORS and DATA.CHANGES add to it."""
        data = self.transform.data
        if data.distractors and rng.random() < data.distractors:
            sample = with_distractors(rng, sample, source.draw(rng, progress).sightings[-1])
        if data.changes and rng.random() < data.changes:
            sample = changed(rng, sample)
        return sample


def build_sampler(
    cfg: Config,
    paths: Paths,
    seed: int,
    part: str = "train",
    cache_dir: Path | None = None,
    stand_in: Callable[[str, DataError], SampleSource] | None = None,
) -> TrackingSampler:
    """Open the data sets of DATA.TRAIN or DATA.VAL; one whose ratio is 0 is left alone.

    Args:
        cfg: names the sets and what a sample is made of.
        paths: where the sets are.
        part: `train` or `val`.
        cache_dir: where indices of big sets are kept.
        stand_in: what is drawn from in the place of a set that cannot be used; may raise.

    Raises:
        ConfigError: no set is named.
        DataError: a name is unknown, a set is not there, or nothing can be drawn from it.
    """
    sets = cfg.data.train if part == "train" else cfg.data.val
    wanted = [(n, r) for n, r in zip(sets.datasets_name, sets.datasets_ratio, strict=True) if r]
    if not wanted:
        raise ConfigError(f"DATA.{part.upper()}.DATASETS_NAME names nothing to draw samples from")
    sources: list[SampleSource] = []
    for name, _ in wanted:
        try:
            sources.append(_open_source(cfg, paths, name, part, cache_dir))
        except DataError as error:
            if stand_in is None:
                raise
            sources.append(stand_in(name, error))
    return TrackingSampler(
        sources=tuple(sources),
        ratios=tuple(ratio for _, ratio in wanted),
        transform=TrainingTransform(cfg.data, cfg.model.history),
        seed=seed,
        epochs=cfg.train.epoch,
        samples=sets.sample_per_epoch,
    )


def _open_source(
    cfg: Config, paths: Paths, name: str, part: str, cache_dir: Path | None
) -> SampleSource:
    if name == SYNTHETIC:
        return _pair_source(cfg, part)
    opened = open_training_set(name, paths, cache_dir)
    data = cfg.data
    rules = (data.template.number, data.sampler_mode, data.max_sample_interval)
    # What is validated on does not depend on how the training is fed.
    encoded = data.scaled_decode and part == "train"
    # What is no video has no frames before.
    history = cfg.model.history if opened.is_video else 0
    named = data.history.tracked if part == "train" else None
    tracked = user_path(named, "DATA.HISTORY.TRACKED") if named else None
    return VideoSource(
        opened,
        *rules,
        encoded=encoded,
        min_used=data.min_used,
        history=history,
        tracked=tracked,
    )


def _pair_source(cfg: Config, part: str) -> PairSource:
    synthetic = cfg.data.synthetic
    textures = synthetic.textures
    return PairSource(
        templates=cfg.data.template.number,
        split=part,
        textures=user_path(textures, "DATA.SYNTHETIC.TEXTURES") if textures else None,
        patch_ratio=synthetic.patch_ratio,
        cutout_ratio=synthetic.cutout_ratio,
        generated_ratio=synthetic.generated_ratio,
        strength=synthetic.strength,
        factors=(cfg.data.template.factor, cfg.data.search.factor),
        # All loader processes of this machine: `torchrun` says how many trainings feed on it.
        processes=max(1, cfg.train.num_worker) * int(os.environ.get("LOCAL_WORLD_SIZE", "1")),
    )


def _fit_sequences(training_set: TrainingSet, templates: int, min_used: float) -> np.ndarray:
    number = len(training_set)
    if not number:
        raise DataError(f"training set {training_set.name}: it has no sequence")
    if not training_set.is_video:
        return np.arange(number)
    visible, lengths = training_set.visible_counts, training_set.lengths
    fits = can_be_drawn_from(visible, lengths, templates)
    if fits.all():
        return np.arange(number)
    used = int(fits.sum())
    first = int(np.argmax(visible) if not used else np.argmin(fits))
    text = (
        f"training set {training_set.name}: {used or 'none'} of its {counted(number, 'sequence')} "
        f"can be drawn from. At least {MIN_LENGTH} frames are needed, more than "
        f"{enough_frames(templates)} of them with a visible target; the "
        f"{'first that has not' if used else 'best'}, {training_set.describe(first)}, has "
        f"{visible[first]} visible of {lengths[first]}"
    )
    if not used:
        raise DataError(text)
    if used < min_used * number:
        raise DataError(
            f"{text}. That is less than DATA.MIN_USED ({min_used:g}) of them; mend the set, or "
            "train with what there is: --set DATA.MIN_USED=0"
        )
    logger.warning("%s", text)
    return np.flatnonzero(fits)


def choose_frames(
    rng: np.random.Generator, visible: np.ndarray, templates: int, mode: str, interval: int
) -> list[int]:
    """Frames of one sample: the templates, then the search frame.

    Args:
        rng: generator of this sample.
        visible: `(N,)` bool, frames that can be used.
        mode: `order` draws around a base frame and sorts either way; `causal` takes the search
            frame from after the first template, and the other templates from before it.
        interval: largest distance to the base frame, in frames.

    Raises:
        UnusableSampleError: too few frames are visible for this mode.
    """
    usable = np.flatnonzero(visible)
    if not len(usable):
        raise UnusableSampleError("no frame is visible")
    if mode == "causal":
        return _causal(rng, usable, len(visible), templates, interval)
    base = rng.choice(usable)
    # With replacement: the same frame may come twice.
    chosen = np.sort(rng.choice(_between(usable, base - interval, base + interval), templates + 1))
    return chosen.tolist() if rng.random() < 0.5 else chosen[::-1].tolist()


def _causal(
    rng: np.random.Generator, usable: np.ndarray, length: int, templates: int, interval: int
) -> list[int]:
    bases = _between(usable, templates - 1, length - 1)
    # Each failure widens both windows; once they span the sequence, only the base is random, and a
    # few hundred bases are enough for any sequence that has a solution.
    for reach in range(interval, interval + length + 1000, 5):
        if not len(bases):
            break
        base = rng.choice(bases)
        before = _between(usable, base - reach, base)
        after = _between(usable, base + 1, base + reach)
        if len(after) and (len(before) or templates == 1):
            others = rng.choice(before, templates - 1).tolist() if templates > 1 else []
            return [int(base), *others, int(rng.choice(after))]
    raise UnusableSampleError("the visible frames leave no room for templates and a search frame")


def _between(usable: np.ndarray, first: int, end: int) -> np.ndarray:
    """The usable frames of `first` .. `end - 1`."""
    return usable[np.searchsorted(usable, first) : np.searchsorted(usable, end)]
