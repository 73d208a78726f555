"""Runs what `seqtrack test` was asked for: here, in worker processes, or as one of many workers."""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch

from lib.commands.entry import say
from lib.datasets.benchmarks.check import first_odd_boxes
from lib.evaluation.distributed import WorkerRank
from lib.evaluation.plan import Job, failure_lines, make_plan
from lib.evaluation.run import Evaluation, RunSummary
from lib.utils.device import resolve_device
from lib.utils.errors import EXIT_OK, EXIT_PARTIAL, ConfigError, PartialFailure, counted


def run_jobs(
    jobs: Sequence[Job],
    devices: Sequence[str],
    args: argparse.Namespace,
    rank: WorkerRank | None = None,
) -> int:
    """Run one job after the other, each in this process or in `--workers` processes.

    Other processes may take from the same results folders: no worker waits between two jobs, but
    at the end all stay until the last sequence is done, to take over from those that die.

    Returns:
        the exit code.

    Raises:
        SeqTrackError: see `Evaluation`.
    """
    if rank is None or rank.local_rank == 0:
        _warn_of_boxes(jobs[0])
    jobs = [replace(job, names=_part(job, n, args.shard)) for n, job in enumerate(jobs)]
    runs, summaries = [], []
    for number, job in enumerate(jobs):
        if rank is None:
            say(f"{job.title} on {job.dataset.name}: {counted(len(job.names), 'sequence')}")
        if not job.names:
            continue
        runs.append(Evaluation(job, devices, args.workers == 0, rank))
        try:
            runs[-1].run(wait=False)
        except PartialFailure as error:
            rest = ", ".join(job.title for job in jobs[number + 1 :])
            raise PartialFailure(f"{error}; not begun: {rest}") if rest else error from None
        if rank is None and runs[-1].settled:
            summaries.append(_tell(runs.pop()))
    for run in runs:
        run.run()
        summaries.append(_tell(run) if rank is None else run.finish())
    if rank is not None and rank.local_rank == 0:
        _tell_of_all(jobs, summaries)
    return EXIT_PARTIAL if any(summary.failed for summary in summaries) else EXIT_OK


def run_shared(jobs: Sequence[Job], rank: WorkerRank, args: argparse.Namespace) -> int:
    """Be one of the workers that torchrun has started.

    Returns:
        the exit code.

    Raises:
        ConfigError: an option that means something else than torchrun.
        SeqTrackError: see `Evaluation`.
    """
    for option, given in (("--workers", args.workers), ("--shard", args.shard)):
        if given:
            raise ConfigError(f"{option} does not go with torchrun, which starts the workers")
    return run_jobs(jobs, [_own_device(args, rank)], args, rank)


def count_results(jobs: Sequence[Job]) -> int:
    """Compare what is on disk with what was asked for, and name what is missing.

    Returns:
        the exit code.
    """
    failed: dict[str, str] = {}
    expected = 0
    for job in jobs:
        plan = make_plan(job)
        expected += len(job.names)
        for name, reason in {**plan.failed, **plan.missing()}.items():
            failed[f"{job.title} {name}"] = reason
    return _count(expected, failed)


def _tell(run: Evaluation) -> RunSummary:
    summary = run.finish()
    say(summary.text)
    say(f"results: {run.job.folder.root}")
    if run.job.options.debug_dir is not None:
        say(f"pictures: {run.job.options.debug_dir}")
    _tell_failures(summary.failed)
    return summary


def _tell_of_all(jobs: Sequence[Job], summaries: Sequence[RunSummary]) -> None:
    failed = {
        f"{job.title} {name}": reason
        for job, summary in zip(jobs, summaries, strict=True)
        for name, reason in summary.failed.items()
    }
    _count(sum(len(job.names) for job in jobs), failed)
    for job in jobs:
        say(f"results: {job.folder.root}")


def _count(expected: int, failed: Mapping[str, str]) -> int:
    there = expected - len(failed)
    say(f"{there} of {counted(expected, 'result')} are there, {len(failed)} failed")
    _tell_failures(failed)
    return EXIT_PARTIAL if failed else EXIT_OK


def _tell_failures(failed: Mapping[str, str]) -> None:
    for line in failure_lines(failed):
        say(line, error=True)


def _warn_of_boxes(job: Job) -> None:
    """Say it when the boxes of the data set, the same for all jobs, are probably no xywh."""
    if job.dataset.source != "built-in" and (odd := first_odd_boxes(job.dataset, job.names)):
        say(f"warning: {odd}", error=True)


def _part(job: Job, number: int, shard: tuple[int, int] | None) -> list[str]:
    """The sequences of a job that are this shard's: every N-th, by length."""
    if shard is None:
        return job.names
    plan = make_plan(job)
    part, parts = shard
    # What cannot be started is somebody's as well, or nobody would say so.
    names = [*plan.longest_first, *plan.failed]
    # Of several jobs not always the same shard gets the longest sequence.
    return names[(part + number) % parts :: parts]


def _own_device(args: argparse.Namespace, rank: WorkerRank) -> str:
    """The device of one of several workers on a machine: they take turns with its GPUs."""
    device = resolve_device(args.device)
    if device.type != "cuda" or device.index is not None:
        return str(device)
    gpus = min(args.num_gpus or torch.cuda.device_count(), torch.cuda.device_count())
    return f"cuda:{rank.local_rank % gpus}"
