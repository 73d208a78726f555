"""`seqtrack cluster`, `python scripts/cluster.py`: the parts of an evaluation as jobs of Slurm.

Every part is `tracking/test.py … --shard K/N`. A part that dies is given out again, and goes on
with what is not on disk; at the end the results are counted.
"""

import argparse
import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from lib.commands import test
from lib.commands._options import Parser, count, parser, positive
from lib.commands.entry import keeps, say
from lib.utils.advice import extra
from lib.utils.errors import EXIT_OK, ConfigError, MissingExtraError, SeqTrackError

KINDS = ("slurm", "local")
_ROOT = Path(__file__).resolve().parents[2]


def build_parser() -> Parser:
    """The arguments of this command; those behind the kind are those of `test`."""
    p = parser(
        "cluster",
        "Evaluate on a cluster: the parts of `test` as an array of jobs. Options of the jobs go "
        "before the word slurm, those of `test` after it.",
        "--parts 16 --gpus 1 --hours 4 slurm seqtrack_b256 --dataset lasot --batch-size 8",
    )
    p.add_argument("kind", choices=KINDS, help="slurm, or local: the same jobs on this "
        "machine, without Slurm")  # fmt: skip
    p.add_argument("arguments", nargs=argparse.REMAINDER, help="the arguments of `test`")
    add = p.add_argument_group("jobs").add_argument
    add("--parts", type=positive, default=8, metavar="N", help="jobs to make (default: 8)")
    add("--gpus", "--num-gpus", type=count, default=0, metavar="N", help="GPUs of each job "
        "(default: 0); its --workers share them")  # fmt: skip
    add("--cpus", type=positive, default=2, metavar="N", help="cores of each job (default: 2)")
    add("--memory", type=positive, default=16, metavar="GB", help="memory of each job "
        "(default: 16)")  # fmt: skip
    add("--hours", type=positive, default=24, metavar="N", help="time limit of each job "
        "(default: 24)")  # fmt: skip
    add("--partition", metavar="NAME", help="partition of the cluster to run on")
    add("--logs", default="logs/cluster", metavar="DIR", help="folder of the jobs' own output "
        "(default: logs/cluster)")  # fmt: skip
    add("--tries", type=positive, default=2, metavar="N", help="how often missing parts are run "
        "(default: 2)")  # fmt: skip
    return p


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code.

    Raises:
        SeqTrackError: wrong input; nothing was started.
        MissingExtraError: submitit is not installed.
    """
    args = build_parser().parse_args(argv)
    wanted = test.build_parser().parse_args(args.arguments)
    if wanted.shard is not None:
        raise ConfigError("--shard is what this command gives to the jobs; leave it out")
    if wanted.overwrite and args.tries > 1:
        raise ConfigError("--overwrite would track all again with each try; add --tries 1")
    jobs = test.plan_jobs(wanted)
    submit = _slurm_jobs(args)
    from lib.evaluation.jobs import count_results

    with keeps("finished sequences are saved, and jobs that were given out may still run"):
        for attempt in range(args.tries):
            say(f"try {attempt + 1} of {args.tries}: {args.parts} parts")
            submit(args.arguments)
            code = count_results(jobs)
            if code == EXIT_OK:
                break
    return code


def run_part(arguments: list[str], part: int, parts: int, folder: str) -> int:
    """One job: a part of an evaluation, in whatever process the cluster has started.

    Args:
        arguments: of test.py.
        part: number of the part, from 0.
        parts: how many there are.
        folder: that relative paths start from.

    Returns:
        the exit code; the job's output names what is wrong.
    """
    os.chdir(folder)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    try:
        return test.main([*arguments, "--shard", f"{part}/{parts}"])
    except SeqTrackError as error:
        say(f"error: {error}", error=True)
        return error.exit_code


def _slurm_jobs(args: argparse.Namespace) -> Callable[[list[str]], None]:
    """What runs all parts as one array of jobs and waits for them."""
    try:
        import submitit
    except ImportError:
        raise MissingExtraError(
            f"{args.kind} needs submitit: {extra('slurm')}, or pip install submitit"
        ) from None
    executor = submitit.AutoExecutor(
        folder=args.logs, cluster="local" if args.kind == "local" else "slurm"
    )
    executor.update_parameters(
        name="seqtrack",
        timeout_min=60 * args.hours,
        gpus_per_node=args.gpus,
        cpus_per_task=args.cpus,
        mem_gb=args.memory,
        slurm_array_parallelism=args.parts,
        **({"slurm_partition": args.partition} if args.partition else {}),
    )

    def submit(arguments: list[str]) -> None:
        # Jobs are this program again, and inherit where to find it.
        os.environ["PYTHONPATH"] = _search_path()
        folder = os.getcwd()
        several = [(arguments, part, args.parts, folder) for part in range(args.parts)]
        for job in executor.map_array(run_part, *zip(*several, strict=True)):
            _wait(f"job {job.job_id}", job.result)

    return submit


def _search_path() -> str:
    return os.pathsep.join(filter(None, (str(_ROOT), os.environ.get("PYTHONPATH"))))


def _wait(name: str, result: Callable[[], object]) -> None:
    """Wait for a part and report how it ended; what it left undone is counted later."""
    try:
        code = result()
    except Exception as error:
        # A job can die in every way that a cluster knows, and none of them may end this one.
        reason = str(error).strip().splitlines()[:1] or [type(error).__name__]
        say(f"{name} died: {reason[0]}", error=True)
    else:
        if code != EXIT_OK:
            say(f"{name} ended with exit code {code}; its output says why", error=True)
