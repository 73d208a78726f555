"""Runs what `seqtrack test` was asked for: here, in worker processes, or as one of many workers."""

import argparse
from collections.abc import Mapping, Sequence

import torch

from lib.commands.entry import say
from lib.datasets.benchmarks.check import first_odd_boxes
from lib.evaluation.distributed import Run, evaluate_shared
from lib.evaluation.job import Job
from lib.evaluation.one_by_one import RunOptions
from lib.evaluation.plan import failure_lines, make_plan
from lib.evaluation.queue import Place
from lib.evaluation.run import evaluate, make_follow
from lib.utils.device import resolve_device
from lib.utils.errors import EXIT_OK, EXIT_PARTIAL, ConfigError, PartialFailure, counted


def run_jobs(jobs: Sequence[Job], devices: list[str], args: argparse.Namespace) -> int:
    """Run one job after the other, each in this process or in `--threads` workers.

    Returns:
        the exit code.

    Raises:
        SeqTrackError: see `evaluate`.
    """
    failed = False
    _warn_of_boxes(jobs[0])
    for number, job in enumerate(jobs):
        options = _options(job, args)
        make_follow(job.dataset, job.spec, options)
        names = _part(job, options, number, args.shard)
        say(f"{_title(job)} on {job.dataset.name}: {counted(len(names), 'sequence')}")
        if not names:
            continue
        try:
            summary = evaluate(
                job.dataset,
                names,
                job.spec,
                job.folder,
                job.record,
                options,
                devices,
                in_process=args.threads == 0,
            )
        except PartialFailure as error:
            rest = ", ".join(map(_title, jobs[number + 1 :]))
            raise PartialFailure(f"{error}; not begun: {rest}") if rest else error from None
        say(summary.text)
        say(f"results: {job.folder.root}")
        if job.debug_dir is not None:
            say(f"pictures: {job.debug_dir}")
        _tell_failures(summary.failed)
        failed = failed or bool(summary.failed)
    return EXIT_PARTIAL if failed else EXIT_OK


def run_shared(jobs: Sequence[Job], place: Place, args: argparse.Namespace) -> int:
    """Be one of the workers that torchrun has started.

    Returns:
        the exit code.

    Raises:
        ConfigError: an option that means something else than torchrun.
        SeqTrackError: see `evaluate_shared`.
    """
    for option, given in (("--threads", args.threads), ("--shard", args.shard)):
        if given:
            raise ConfigError(f"{option} does not go with torchrun, which starts the workers")
    if place.local_rank == 0:
        _warn_of_boxes(jobs[0])
    runs = []
    for job in jobs:
        options = _options(job, args)
        make_follow(job.dataset, job.spec, options)
        plan = make_plan(job.dataset, job.names, job.folder, options)
        if place.local_rank == 0:
            _tell_failures(plan.failed, f"cannot be started: {_title(job)}")
        runs.append(Run(job.dataset, job.spec, job.record, plan))
    summary = evaluate_shared(runs, place, _own_device(args, place), lambda text: say(text, True))
    if summary.reports:
        say(summary.text)
        for job in jobs:
            say(f"results: {job.folder.root}")
        _tell_failures(summary.failed)
    return EXIT_PARTIAL if summary.failed else EXIT_OK


def count_results(jobs: Sequence[Job], args: argparse.Namespace) -> int:
    """Compare what is on disk with what was asked for, and name what is missing.

    Returns:
        the exit code.
    """
    failed: dict[str, str] = {}
    expected = 0
    for job in jobs:
        plan = make_plan(job.dataset, job.names, job.folder, _options(job, args))
        expected += len(job.names)
        for name, reason in {**plan.failed, **plan.missing()}.items():
            failed[f"{_title(job)} {name}"] = reason
    say(f"{expected - len(failed)} of {counted(expected, 'result')} are there")
    _tell_failures(failed)
    return EXIT_PARTIAL if failed else EXIT_OK


def _tell_failures(failed: Mapping[str, str], word: str = "failed") -> None:
    for line in failure_lines(failed, word):
        say(line, error=True)


def _warn_of_boxes(job: Job) -> None:
    """Say it when the boxes of the data set, the same for all jobs, are probably no xywh."""
    if job.dataset.source != "built-in" and (odd := first_odd_boxes(job.dataset, job.names)):
        say(f"warning: {odd}", error=True)


def _title(job: Job) -> str:
    return f"{job.spec.tracker}/{job.spec.config_name}"


def _options(job: Job, args: argparse.Namespace) -> RunOptions:
    return RunOptions(
        max_frames=args.max_frames,
        as_float=args.float_results,
        debug_dir=job.debug_dir,
        overwrite=args.overwrite,
        batch_size=args.batch_size,
        readers=args.readers,
    )


def _part(job: Job, options: RunOptions, number: int, shard: tuple[int, int] | None) -> list[str]:
    """The sequences of a job that are this shard's: every N-th, by length."""
    if shard is None:
        return job.names
    plan = make_plan(job.dataset, job.names, job.folder, options)
    part, parts = shard
    # What cannot be started is somebody's as well, or nobody would say so.
    names = [*plan.longest_first, *plan.failed]
    # Of several jobs not always the same shard gets the longest sequence.
    return names[(part + number) % parts :: parts]


def _own_device(args: argparse.Namespace, place: Place) -> str:
    """The device of one of several workers on a machine: they take turns with its GPUs."""
    device = resolve_device(args.device)
    if device.type != "cuda" or device.index is not None:
        return str(device)
    gpus = min(args.num_gpus or torch.cuda.device_count(), torch.cuda.device_count())
    return f"cuda:{place.local_rank % gpus}"
