"""Closed-loop validation while training: the real tracker, on a few sequences, scored."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from lib.config.paths import Paths
from lib.config.schema import Config
from lib.datasets.catalog import CATALOG, open_dataset
from lib.datasets.sequence import Dataset
from lib.models.seqtrack import SeqTrack
from lib.test.analysis.frames import join
from lib.test.analysis.metrics import OpeScore, score_dataset
from lib.test.evaluation.running import run_sequence
from lib.test.tracker.seqtrack import SeqTrackTracker, TrackerSettings
from lib.utils.errors import ConfigError, DataError, SeqTrackError


@dataclass(frozen=True)
class ClosedLoop:
    """Tracks sequences with a network as it is at the moment.

    Attributes:
        cfg: the network's configuration.
        dataset: where the sequences come from.
        names: which of them.
    """

    cfg: Config
    dataset: Dataset
    names: tuple[str, ...]

    def __call__(self, network: SeqTrack, warn: Callable[[str], None]) -> dict[str, float]:
        """Score the network; it is left in evaluation mode.

        Args:
            network: on any device.
            warn: told about a sequence that cannot be tracked; the others count. Whatever is
                wrong (a file, or a network whose answers are no numbers), the training goes on.

        Returns:
            `AUC` as a fraction, or `AO` where the data set is scored by GOT-10k's rules; nothing
            if not one sequence could be tracked, or they cannot be scored.
        """
        with _exact_convolutions():
            tracker = SeqTrackTracker(network, self.cfg, self.dataset.update_key)
            tracked = []
            for name in self.names:
                try:
                    sequence = self.dataset.load(name)
                    boxes = run_sequence(tracker, sequence).boxes
                    tracked.append(join(sequence, boxes, with_size=True))
                except SeqTrackError as error:
                    warn(f"closed-loop validation leaves out {name}: {error}")
        if not tracked:
            return {}
        try:
            total = score_dataset(tracked, self.dataset.protocol).total
        except SeqTrackError as error:
            warn(f"closed-loop validation gives no score: {error}")
            return {}
        return {"AUC": total.auc} if isinstance(total, OpeScore) else {"AO": total.ao}


def build_closed_loop(cfg: Config, paths: Paths) -> ClosedLoop | None:
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
    return ClosedLoop(cfg, dataset, names)


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
