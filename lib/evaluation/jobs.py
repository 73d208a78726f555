"""Several jobs in a row: here, in worker processes, or as one of many workers."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from lib.datasets.benchmarks.check import first_odd_boxes
from lib.evaluation.distributed import WorkerRank
from lib.evaluation.plan import Job, failure_lines, make_plan
from lib.evaluation.run import Evaluation, RunSummary
from lib.utils.console import say
from lib.utils.errors import EXIT_OK, EXIT_PARTIAL, PartialFailure, counted


def run_jobs(
    jobs: Sequence[Job],
    devices: Sequence[str],
    in_process: bool,
    shard: tuple[int, int] | None = None,
    rank: WorkerRank | None = None,
) -> int:
    """Run one job after the other; returns the exit code.

    Other processes may take from the same results folders: no worker waits between two jobs, but
    at the end all stay until the last sequence is done, to take over from those that die.

    Args:
        devices: see `Evaluation`, as `in_process` and `rank`.
        shard: (K, N), to track only part K of N.

    Raises:
        SeqTrackError: see `Evaluation`.
    """
    if rank is None or rank.local_rank == 0:
        _warn_of_boxes(jobs[0])
    jobs = [replace(job, names=_part(job, n, shard)) for n, job in enumerate(jobs)]
    runs, summaries = [], []
    for number, job in enumerate(jobs):
        if rank is None:
            say(f"{job.title} on {job.dataset.name}: {counted(len(job.names), 'sequence')}")
        if not job.names:
            continue
        runs.append(Evaluation(job, devices, in_process, rank))
        try:
            runs[-1].run(wait=False)
        except PartialFailure as error:
            rest = ", ".join(job.title for job in jobs[number + 1 :])
            raise PartialFailure(f"{error}; not begun: {rest}") if rest else error from None
        if rank is None and runs[-1].settled:
            summaries.append(_report(runs.pop()))
    for run in runs:
        run.run()
        summaries.append(_report(run) if rank is None else run.finish())
    if rank is not None and rank.local_rank == 0:
        failed = [summary.failed for summary in summaries]
        _count(jobs, failed)
        for job in jobs:
            say(f"results: {job.folder.root}")
    return EXIT_PARTIAL if any(summary.failed for summary in summaries) else EXIT_OK


def count_results(jobs: Sequence[Job]) -> int:
    """Compare what is on disk with what was asked for, name what is missing; the exit code."""
    plans = [make_plan(job) for job in jobs]
    return _count(jobs, [{**plan.failed, **plan.missing()} for plan in plans])


def _count(jobs: Sequence[Job], failed: Sequence[Mapping[str, str]]) -> int:
    reasons = {
        f"{job.title} {name}": reason
        for job, found in zip(jobs, failed, strict=True)
        for name, reason in found.items()
    }
    expected = sum(len(job.names) for job in jobs)
    there = expected - len(reasons)
    say(f"{there} of {counted(expected, 'result')} are there, {len(reasons)} failed")
    _list_failures(reasons)
    return EXIT_PARTIAL if reasons else EXIT_OK


def _report(run: Evaluation) -> RunSummary:
    summary = run.finish()
    say(summary.text)
    say(f"results: {run.job.folder.root}")
    if run.job.options.debug_dir is not None:
        say(f"pictures: {run.job.options.debug_dir}")
    _list_failures(summary.failed)
    return summary


def _list_failures(failed: Mapping[str, str]) -> None:
    for line in failure_lines(failed):
        say(line, error=True)


def _warn_of_boxes(job: Job) -> None:
    """Warn when the boxes of the data set, the same for all jobs, are probably no xywh."""
    if job.dataset.source != "built-in" and (odd := first_odd_boxes(job.dataset, job.names)):
        say(f"warning: {odd}", error=True)


def _part(job: Job, number: int, shard: tuple[int, int] | None) -> list[str]:
    """The sequences of a job that are this shard's: every N-th, by length."""
    if shard is None:
        return job.names
    plan = make_plan(job)
    part, parts = shard
    # What cannot be started is somebody's as well, or nobody would name it.
    names = [*plan.longest_first, *plan.failed]
    # Of several jobs not always the same shard gets the longest sequence.
    return names[(part + number) % parts :: parts]
