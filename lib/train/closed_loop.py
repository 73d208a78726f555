"""Closed-loop validation while training: the real tracker, on a few sequences, scored."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch

from lib.analysis.frames import TrackedSequence, join
from lib.analysis.metrics import OpeScore, score_dataset
from lib.config.paths import Paths
from lib.config.schema import Config
from lib.datasets.benchmarks.open import CATALOG, open_dataset
from lib.datasets.sequence import Dataset
from lib.evaluation.lockstep import Lockstep
from lib.evaluation.one_by_one import failure
from lib.evaluation.plan import RunOptions
from lib.evaluation.sequence import ListSource, Outcome
from lib.models.seqtrack import SeqTrack
from lib.tracker.seqtrack import SeqTrackTracker
from lib.tracker.settings import TrackerSettings, as_published
from lib.utils.distributed import World
from lib.utils.errors import ConfigError, DataError

# Sequences that one process tracks at a time; it needs memory beside what the training holds.
_TOGETHER = 16


@dataclass(frozen=True)
class ClosedLoop:
    """Tracks sequences with a network as it is at the moment.

    Every process tracks its share of them in lock-step; the main one scores them all.
    """

    cfg: Config
    dataset: Dataset
    names: tuple[str, ...]
    world: World = field(default_factory=World)

    def __call__(self, network: SeqTrack, warn: Callable[[str], None]) -> dict[str, float]:
        """Score the network; it is left in evaluation mode. All processes call this together.

        Args:
            network: on any device.
            warn: is called for a sequence that cannot be tracked; the others count. Whatever is
                wrong (a file, a network whose outputs are not finite, an engine that cannot be
                built), the training, which is safe on disk, goes on.

        Returns:
            `AUC` as a fraction, or `AO` where the data set is scored by GOT-10k's rules; nothing
            if not one sequence could be tracked, or they cannot be scored, and nothing outside of
            the main process.
        """
        parts = self.world.gather(self._track(network))
        tracked = [sequence for sequences, _ in parts for sequence in sequences]
        for name, reason in (item for _, left_out in parts for item in left_out):
            warn(f"closed-loop validation leaves out {name}: {reason}")
        if not tracked:
            return {}
        try:
            tracked.sort(key=lambda sequence: self.names.index(sequence.name))
            total = score_dataset(tracked, self.dataset.protocol).total
        except Exception as error:
            warn(f"closed-loop validation gives no score: {failure('', error).reason}")
            return {}
        return {"AUC": total.auc} if isinstance(total, OpeScore) else {"AO": total.ao}

    def _track(self, network: SeqTrack) -> tuple[list[TrackedSequence], list[tuple[str, str]]]:
        """What this process's share gave, and the names that gave nothing, each with why."""
        names = self.names[self.world.rank :: self.world.size]
        tracked: list[TrackedSequence] = []
        left_out: dict[str, str] = {}
        try:
            for outcome in self._outcomes(network, names):
                try:
                    tracked.append(self._joined(outcome))
                except Exception as error:
                    left_out[outcome.name] = failure(outcome.name, error).reason
        except Exception as error:
            done = {sequence.name for sequence in tracked} | left_out.keys()
            reason = failure("", error).reason
            left_out |= {name: reason for name in names if name not in done}
        return tracked, list(left_out.items())

    def _outcomes(self, network: SeqTrack, names: tuple[str, ...]) -> Iterator[Outcome]:
        if not names:
            return
        with _exact_convolutions():
            tracker = SeqTrackTracker(network, as_published(self.cfg), self.dataset.update_key)
            options = RunOptions(
                max_frames=self.cfg.data.val.sequences_frames,
                batch_size=min(len(names), _TOGETHER),
            )
            follow = Lockstep(self.dataset, options, self.world.size)
            yield from follow(tracker, ListSource(names), lambda: None)

    def _joined(self, outcome: Outcome) -> TrackedSequence:
        if outcome.result is None:
            raise DataError(outcome.reason)
        boxes = outcome.result.boxes
        video = self.dataset.load(outcome.name).annotated_up_to(len(boxes))
        return join(video, boxes, with_size=True)


def build_closed_loop(cfg: Config, paths: Paths, world: World | None = None) -> ClosedLoop | None:
    """The validator that DATA.VAL asks for; None if it names no sequences.

    Raises:
        ConfigError: the tracker cannot work with this configuration, or the data set has no
            ground truth to score with.
        DataError: there is no such data set, or its first sequence is broken.
    """
    name = cfg.data.val.sequences_name
    if name is None:
        return None
    dataset = open_dataset(name, paths)
    names = dataset.sequence_names[: cfg.data.val.sequences_number]
    # Now, not after the first epochs.
    TrackerSettings.from_config(cfg, dataset.update_key)
    first = dataset.load(names[0])
    if len(first.ground_truth) != len(first):
        raise ConfigError(
            f"DATA.VAL.SEQUENCES_NAME: {name!r} has no ground truth but for the first frames"
        )
    return ClosedLoop(cfg, dataset, names, world or World())


def missing_sequences(cfg: Config, paths: Paths) -> str | None:
    """For a trial: build the validator; what is missing if its data set is known but not here.

    Raises:
        ConfigError: as `build_closed_loop`.
        DataError: there is no data set of that name, or no such folder.
    """
    try:
        build_closed_loop(cfg, paths)
    except DataError as error:
        known = {name for row in CATALOG for name in (row.name, *row.aliases)}
        if cfg.data.val.sequences_name not in known:
            raise
        return str(error)
    return None


@contextmanager
def _exact_convolutions() -> Iterator[None]:
    """Without TF32, as `build_tracker` has it: some tokens would differ from those of a test."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before
