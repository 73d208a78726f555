"""`seqtrack vot`, `python tracking/vot.py`: VOT's short-term challenges with their own toolkit."""

import sys
from collections.abc import Sequence

from lib.commands._options import (
    Parser,
    Several,
    action,
    add_device,
    add_roots,
    parser,
    thread_count,
)
from lib.commands.entry import keeps
from lib.utils.errors import EXIT_OK, EXIT_PARTIAL
from lib.vot import evaluate
from lib.vot.check import check
from lib.vot.entry import serve_parser
from lib.vot.init import chosen_workspace, init
from lib.vot.run import run
from lib.vot.stacks import DEFAULT_STACK, EXPERIMENT_NAMES, STACKS, UPDATE_KEYS

# What each action does, and an example of its arguments.
_ACTIONS = {
    "init": ("write a workspace, and download its sequences", ["", "seqtrack_b256_ar"]),
    "run": ("run trackers on all experiments; goes on where it stopped", ["seqtrack_b256"]),
    "analyze": ("have the toolkit analyse complete results: EAO, A and R", ["seqtrack_b256"]),
    "report": ("have the toolkit write a report", ["seqtrack_b256 --format latex"]),
    "check": ("find out what is wrong, with a self-test of the trackers", ["", "--quick"]),
    "score": ("compute EAO, A and R from the raw results, without the toolkit", ["seqtrack_b256"]),
}


def build_parser() -> Parser:
    p = parser(
        "vot",
        "VOT's short-term challenges: make a workspace of the VOT toolkit, run it, score it.",
        "init",
        "run seqtrack_b256",
        "score seqtrack_b256",
    )
    actions = p.add_subparsers(dest="action", required=True, metavar="ACTION", help="one of")
    made = {}
    for name, (what, examples) in _ACTIONS.items():
        one = made[name] = action(actions, f"vot {name}", what, *examples)
        one.add_argument(
            "trackers",
            nargs="*",
            metavar="TRACKER",
            help="sections of trackers.ini (default: all)"
            if name != "init"
            else "trackers to write (default: the eight models, each also with _ar)",
        )
        add = one.add_argument_group("where").add_argument
        add(
            "--stack",
            default=DEFAULT_STACK,
            metavar="NAME",
            help=f"{', '.join(STACKS)}, or a stack file; it chooses the workspace (default: "
            f"{DEFAULT_STACK})",
        )
        add("--workspace", metavar="DIR", help="the workspace, instead of the stack's own")
    _init_arguments(made["init"])
    _run_arguments(made)
    for one in made.values():
        add_roots(one, data=False)
    return p


def _run_arguments(made: dict[str, Parser]) -> None:
    titles = {"run": "is run", "score": "is scored", "check": "is checked"}
    add = {
        name: made[name].add_argument_group(f"what {titles.get(name, 'is written')}").add_argument
        for name in made.keys() - {"init"}
    }
    for name in ("run", "score"):
        add[name](
            "--experiments",
            action=Several,
            more=lambda word: word in EXPERIMENT_NAMES,
            metavar="NAME",
            help="take only these experiments of the stack (default: all)",
        )
    text = "run all again; the results that are there are removed"
    add["run"]("--overwrite", "--force", action="store_true", help=text)
    add["check"]("--quick", action="store_true", help="leave the self-test out")
    for name in ("analyze", "report"):
        text = "what the toolkit's files are called (default: latest)"
        add[name]("--name", default="latest", metavar="NAME", help=text)
    add["report"](
        "--format",
        default="html",
        choices=("html", "latex", "plots"),
        help="what the report is (default: html)",
    )


def _init_arguments(p: Parser) -> None:
    add = p.add_argument_group("what is written").add_argument
    add(
        "--trackers",
        action=Several,
        more=lambda word: True,
        metavar="NAME",
        dest="more_trackers",
        help="trackers to write, beside those named as TRACKER",
    )
    add(
        "--update-rule",
        "--dataset",
        choices=UPDATE_KEYS,
        help="rule of the template update, for a stack file (default: VOT20)",
    )
    add("--nodownload", action="store_true", help="do not download the sequences")
    group = p.add_argument_group("how the trackers are started")
    add = group.add_argument
    add(
        "--checkpoint",
        metavar="FILE",
        help="weights of the tracker, instead of its documented place",
    )
    add(
        "--refiner-checkpoint",
        metavar="FILE",
        help="weights of the mask refiner, instead of their documented place",
    )
    add_device(group)
    add(
        "--cpu-threads",
        type=thread_count,
        default=1,
        metavar="N",
        help="threads that each tracker computes with on a CPU (default: 1)",
    )
    add("--restart", action="store_true", help="start a new process for every start, which is slow")


def main(argv: Sequence[str] | None = None) -> int:
    words = list(sys.argv[1:] if argv is None else argv)
    if words[:1] == ["serve"]:
        # The tracker process, which only the toolkit starts.
        from lib.vot.serve import serve

        serve(serve_parser().parse_args(words[1:]))
        return EXIT_OK
    args = build_parser().parse_args(words)
    if args.action == "init":
        args.trackers += args.more_trackers
        init(args)
        return EXIT_OK
    workspace = chosen_workspace(args)
    if args.action == "check":
        return EXIT_PARTIAL if check(workspace, args.trackers, args.quick) else EXIT_OK
    if args.action == "analyze":
        evaluate.analyze(workspace, args.trackers, args.name)
    elif args.action == "report":
        evaluate.report(workspace, args.trackers, args.name, args.format)
    else:
        experiments = workspace.stack.chosen(args.experiments)
        if args.action == "score":
            evaluate.score(workspace, experiments, args.trackers)
        else:
            with keeps("finished runs are kept, and the same command goes on with the others"):
                run(workspace, experiments, args.trackers, args.overwrite)
    return EXIT_OK
