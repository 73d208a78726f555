"""Accuracy, robustness and expected average overlap, from raw results with numpy alone.

Source: VOT2020 challenge report (ECCV workshops 2020), section 3, in the form that vot-toolkit
0.7.4 computes, to the last digits.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lib.utils.errors import ResultsError
from lib.vot.regions import FAILURE, INITIALISATION, UNKNOWN, Region, overlap
from lib.vot.results import RunFile, run_files
from lib.vot.sequences import VotSequence
from lib.vot.stacks import Experiment

# A run has failed where ten frames in a row overlap by no more than this.
PATIENCE = 10
LOST_OVERLAP = 0.1


@dataclass(frozen=True, eq=False)
class Scores:
    """The scores of one tracker in one experiment, as fractions."""

    experiment: str  # its name
    # Mean overlap while the target is not lost; in the unsupervised experiment over all frames but
    # the first
    accuracy: float
    # Share of the frames before the target is lost; None without anchors
    robustness: float | None = None
    eao: float | None = None  # expected average overlap; None without limits in the stack
    # (high,) the EAO curve by number of frames, entry 0 unused; None likewise
    curve: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class Start:
    """One run."""

    overlaps: np.ndarray  # (N,) one per frame; entry 0, where the tracker was started, counts as 0
    progress: int  # number of frames before the target was lost for good, N if it was not

    @property
    def failed(self) -> bool:
        """Whether the target was lost."""
        return self.progress < len(self.overlaps)


def score_tracker(
    results: Path, experiments: Sequence[Experiment], sequences: Sequence[VotSequence]
) -> list[Scores]:
    """Score all experiments of a tracker, whose results lie in the folder `results`.

    Raises:
        ResultsError: results are missing or do not fit the sequences.
        DataError: a sequence cannot be read.
    """
    missing = [file for file in run_files(results, experiments, sequences) if file.find() is None]
    if missing:
        total = sum(1 for _ in run_files(results, experiments, sequences))
        first = missing[0]
        raise ResultsError(
            f"{results}: {len(missing)} of {total} runs are missing, the first is "
            f"{first.experiment.name}/{first.folder.name}/{first.run.stem}.bin"
        )
    return [
        _multistart(results, one, sequences) if one.multistart else _single(results, one, sequences)
        for one in experiments
    ]


def measure(regions: Sequence[Region], truth: Sequence[Region], width: int, height: int) -> Start:
    """Overlaps of a run with the truth, both (N,), and how far it came."""
    overlaps = np.array(
        [overlap(one, other, width, height) for one, other in zip(regions, truth, strict=True)]
    )
    left = PATIENCE
    for i, value in enumerate(overlaps):
        if value <= LOST_OVERLAP and not truth[i].is_empty:
            left -= 1
            if not left:
                return Start(overlaps, i + 1 - PATIENCE)
        else:
            left = PATIENCE
    return Start(overlaps, len(overlaps))


def eao_curve(starts: Sequence[Start], high: int) -> tuple[np.ndarray, np.ndarray]:
    """The curve of one sequence: sums of mean overlaps, and how many runs they are over.

    Entry j is about runs of j frames after the start: longer runs count with their first j
    frames, shorter ones only if they failed, as if nothing had overlapped from there on.

    Returns:
        (high,) sums and (high,) counts.
    """
    sums, counts = np.zeros(high), np.zeros(high)
    for start in starts:
        values = start.overlaps[1:].copy()
        values[max(0, start.progress - 1) :] = 0.0
        length = len(values)
        inside = np.arange(1, min(length + 1, high))
        sums[inside] += np.cumsum(values)[: len(inside)] / inside
        counts[inside] += 1
        if start.failed:
            beyond = np.arange(length + 1, high)
            sums[beyond] += values.sum() / (beyond - 1)
            counts[beyond] += 1
    return sums, counts


def _multistart(results: Path, experiment: Experiment, sequences: Sequence[VotSequence]) -> Scores:
    high = experiment.limits[1] if experiment.limits else 1
    sums, counts = np.zeros(high), np.zeros(high)
    kept_overlap, kept, robustness, frames = 0.0, 0, 0.0, 0
    for sequence in sequences:
        starts = [_start(file, sequence) for file in run_files(results, [experiment], [sequence])]
        for total, part in zip((sums, counts), eao_curve(starts, high), strict=True):
            total += part
        progress = sum(start.progress for start in starts)
        kept_overlap += sum(float(start.overlaps[: start.progress].sum()) for start in starts)
        kept += progress
        length = sum(len(start.overlaps) for start in starts)
        robustness += progress / length * len(sequence)
        frames += len(sequence)
    accuracy = kept_overlap / kept if kept else 0.0
    scores = (experiment.name, accuracy, robustness / frames)
    if experiment.limits is None:
        return Scores(*scores)
    curve = np.divide(sums, counts, out=np.zeros(high), where=counts > 0)
    low, high = experiment.limits
    return Scores(*scores, float(curve[low : high + 1].mean()), curve)


def _start(file: RunFile, sequence: VotSequence) -> Start:
    truth = [sequence.truth[i] for i in file.run.frames]
    return measure(file.read(), truth, *sequence.size)


def _single(results: Path, experiment: Experiment, sequences: Sequence[VotSequence]) -> Scores:
    """Mean overlap by sequence, weighted by length; frames without truth or answer are left out."""
    total, frames = 0.0, 0
    for sequence in sequences:
        (file,) = run_files(results, [experiment], [sequence])
        regions = file.read()
        overlaps = [
            overlap(region, truth, *sequence.size)
            for region, truth in zip(regions, sequence.truth, strict=True)
            if region.code not in (UNKNOWN, INITIALISATION, FAILURE) and truth.code != UNKNOWN
        ]
        total += (float(np.mean(overlaps)) if overlaps else 0.0) * len(sequence)
        frames += len(sequence)
    return Scores(experiment.name, total / frames)
