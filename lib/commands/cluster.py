"""`python scripts/cluster.py`: the parts of an evaluation as jobs of Slurm.

Every part is `tracking/test.py … --shard K/N`. A part that dies is given out again, and goes on
with what is not on disk; at the end the results are counted.
"""

import argparse
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from lib.commands import test
from lib.commands.entry import count, parser, positive, say
from lib.utils.errors import EXIT_OK, ConfigError, MissingExtraError, SeqTrackError

# What is finished is on disk when the command is interrupted.
SAVES_AS_IT_GOES = True

KINDS = ("slurm", "local")
_ROOT = Path(__file__).resolve().parents[2]


def build_parser() -> argparse.ArgumentParser:
    """The arguments of this command; those behind the kind are test.py's."""
    p = parser("cluster.py", "Evaluate on a cluster. Options of the cluster go before its name.")
    add = p.add_argument
    add("--parts", type=positive, default=8, metavar="N", help="jobs to make of it (default 8)")
    add("--gpus", type=count, default=0, help="GPUs of a job; workers by --threads share them")
    add("--cpus", type=positive, default=2, help="cores of a job (default 2)")
    add("--memory", type=positive, default=16, metavar="GB", help="of a job (default 16)")
    add("--hours", type=positive, default=24, help="time limit of a job (default 24)")
    add("--partition", help="where to run")
    add("--logs", default="logs/cluster", help="folder of the jobs' own output")
    add("--tries", type=positive, default=2, help="how often missing parts are run (default 2)")
    add("kind", choices=KINDS, help="slurm, or local: Slurm's way without it")
    add("arguments", nargs=argparse.REMAINDER, help="of tracking/test.py")
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
    from lib.commands.evaluation import count_results

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
        the exit code; what is wrong has been said in the job's output.
    """
    os.chdir(folder)
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
            f"{args.kind} needs submitit: pip install 'seqtrack[slurm]', or pip install submitit"
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
            _tell(f"job {job.job_id}", job.result)

    return submit


def _search_path() -> str:
    return os.pathsep.join(filter(None, (str(_ROOT), os.environ.get("PYTHONPATH"))))


def _tell(name: str, result: Callable[[], object]) -> None:
    """Wait for a part and say how it ended; what it left undone is counted later."""
    try:
        code = result()
    except Exception as error:
        # A job can die in every way that a cluster knows, and none of them may end this one.
        reason = str(error).strip().splitlines()[:1] or [type(error).__name__]
        say(f"{name} died: {reason[0]}", error=True)
    else:
        if code != EXIT_OK:
            say(f"{name} ended with exit code {code}; its output says why", error=True)
