"""`seqtrack vot`, `python tracking/vot.py`: VOT's short-term challenges with their own toolkit."""

import argparse
from collections.abc import Sequence

from lib.commands.entry import EXIT_CODES_HELP, parser, positive
from lib.vot.stacks import DEFAULT_STACK, STACKS, UPDATE_KEYS

# What is finished is on disk when the command is interrupted.
SAVES_AS_IT_GOES = True

_ACTIONS = "init|run|analyze|report|check|score"


def build_parser() -> argparse.ArgumentParser:
    """The arguments of this command."""
    p = parser(
        "vot.py",
        "VOT's short-term challenges: make a workspace of the VOT toolkit, run it, score it.",
    )
    actions = p.add_subparsers(dest="action", required=True, metavar=_ACTIONS)

    def action(name: str, what: str) -> argparse.ArgumentParser:
        one = actions.add_parser(
            name, help=what, description=what, epilog=EXIT_CODES_HELP, allow_abbrev=False
        )
        one.add_argument(
            "--stack",
            default=DEFAULT_STACK,
            help=f"{', '.join(STACKS)}, or a stack file; it chooses the workspace",
        )
        one.add_argument("--workspace", help="folder of the workspace, instead of the stack's own")
        one.add_argument("--save_dir", help="root of checkpoints and of external, the workspaces")
        return one

    _init_arguments(action("init", "write a workspace, and download its sequences"))
    run = action("run", "run trackers on all experiments; goes on where it stopped")
    analyze = action("analyze", "have the toolkit analyse complete results; EAO, A and R")
    report = action("report", "have the toolkit write a report")
    check = action("check", "find out what is wrong, with a self-test of the trackers")
    score = action("score", "EAO, A and R from the raw results, without the toolkit")
    for one in (run, analyze, report, check, score):
        one.add_argument("trackers", nargs="*", metavar="tracker", help="sections of trackers.ini")
    for one in (run, score):
        one.add_argument("--experiments", nargs="+", metavar="NAME", help="only these; all without")
    run.add_argument("--overwrite", action="store_true", help="remove the results that are there")
    check.add_argument("--quick", action="store_true", help="without the self-test")
    for one in (analyze, report):
        one.add_argument("--name", default="latest", help="of what is written; latest by default")
    report.add_argument("--format", default="html", choices=("html", "latex", "plots"))
    _serve_arguments(actions)
    return p


def _init_arguments(p: argparse.ArgumentParser) -> None:
    add = p.add_argument
    add("--trackers", nargs="+", metavar="NAME", help="all eight models, and _ar, by default")
    add("--dataset", choices=UPDATE_KEYS, help="template update rule, for a stack file")
    add("--nodownload", action="store_true", help="do not download the sequences")
    add("--checkpoint", help="weights of the tracker, instead of its documented place")
    add("--refiner-checkpoint", help="weights of the mask refiner, likewise")
    add("--device", default="auto", help="auto, cpu, mps, cuda or cuda:N")
    add("--cpu-threads", type=positive, default=1, metavar="N", help="of each tracker; 1")
    add("--restart", action="store_true", help="a new process for every start, which is slow")


def _serve_arguments(actions: argparse._SubParsersAction) -> None:
    """The tracker process, which only the toolkit starts."""
    from lib.commands.vot_entry import add_serve_arguments

    add_serve_arguments(actions.add_parser("serve", allow_abbrev=False))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code.

    Raises:
        SeqTrackError: wrong input; nothing was started.
        PartialFailure: some of the work failed.
    """
    args = build_parser().parse_args(argv)
    if args.action == "serve":
        from lib.commands.vot_serve import serve

        return serve(args)
    if args.action == "init":
        from lib.commands.vot_init import init

        return init(args)
    if args.action == "run":
        from lib.commands.vot_run import run

        return run(args)
    if args.action == "check":
        from lib.commands.vot_check import check

        return check(args)
    from lib.commands.vot_scores import analyze, report, score

    return {"analyze": analyze, "report": report, "score": score}[args.action](args)
