"""What is wrong with a VOT workspace, in words."""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from lib.utils.console import say
from lib.utils.errors import CheckpointError, ResultsError, SeqTrackError, counted
from lib.vot.entry import TrackerParts, made_of
from lib.vot.results import other_maker
from lib.vot.run import check_interpreter, why
from lib.vot.sequences import VotSequence
from lib.vot.toolkit import TOOLKIT_VERSION, Toolkit, find_toolkit, log_lines
from lib.vot.workspace import Workspace

# What the toolkit prints at the end of its self-test, in its own spelling.
_PASSED = "concluded successfuly"
_Found = TypeVar("_Found")


@dataclass
class CheckReport:
    """Says what is looked at, and counts what is wrong."""

    wrong: int = 0

    def ask(self, what: str, question: Callable[[], _Found]) -> _Found | None:
        """What `question` returns; None, after saying why, if it raises."""
        try:
            found = question()
        except SeqTrackError as error:
            self.fail(f"{what}: {error}")
            return None
        say(f"ok     {what}")
        return found

    def fail(self, text: str) -> None:
        """Say what is wrong."""
        self.wrong += 1
        say(f"WRONG  {text}")


def check(workspace: Workspace, trackers: Iterable[str], quick: bool) -> int:
    """Look at everything that a run needs; returns how many things are wrong.

    Raises:
        ConfigError: there are no such trackers.
    """
    named = list(trackers)
    sections = workspace.choose(named)
    findings = CheckReport()
    say(f"workspace {workspace.root}, stack {workspace.stack.name}")
    toolkit = findings.ask(f"VOT toolkit {TOOLKIT_VERSION}", find_toolkit)
    sequences = findings.ask("sequences", workspace.sequences)
    if sequences:
        _check_sequences(workspace, sequences, findings)
    without = []
    for name, section in sections.items():
        try:
            made = made_of(section)
        except CheckpointError as error:
            if named:
                findings.fail(f"{name}: {error}")
            else:
                without.append((name, error))
            continue
        except SeqTrackError as error:
            findings.fail(f"{name}: {error}")
            continue
        _check_tracker(workspace, name, section, made, None if quick else toolkit, findings)
    if without:
        names = ", ".join(name for name, _ in without)
        if len(without) == len(sections):
            findings.fail(f"no tracker has weights; the first is {without[0][0]}: {without[0][1]}")
        else:
            say(f"not looked at, as they have no weights: {names}")
    say(f"{counted(findings.wrong, 'finding')}" if findings.wrong else "nothing is wrong")
    return findings.wrong


def _check_sequences(
    workspace: Workspace, sequences: list[VotSequence], findings: CheckReport
) -> None:
    """Truth, anchors and the first frame of each."""
    starts = 0
    for sequence in sequences:
        try:
            for experiment in workspace.stack.experiments:
                starts += len(sequence.runs(experiment))
            sequence.check()
        except SeqTrackError as error:
            findings.fail(str(error))
    frames = sum(len(sequence) for sequence in sequences) if not findings.wrong else 0
    say(
        f"       {counted(len(sequences), 'sequence')}, {frames} frames, {counted(starts, 'run')} "
        "for each tracker"
    )
    needed = workspace.stack.sequences
    if needed not in (None, len(sequences)):
        say(f"       {workspace.stack.name} has {needed}: these are no numbers of that challenge")


def _check_tracker(
    workspace: Workspace,
    name: str,
    section: Mapping[str, str],
    made: TrackerParts | None,
    toolkit: Toolkit | None,
    findings: CheckReport,
) -> None:
    """Interpreter, results and self-test of one tracker, whose weights are there."""

    def same_maker() -> None:
        if made is None:
            return
        problem = other_maker(workspace.results_dir(name), made.record(workspace.stack))
        if problem:
            again = workspace.advice("run", "--overwrite", name)
            raise ResultsError(f"{problem}; {again} runs anew")

    before = findings.wrong
    findings.ask(f"{name}: interpreter with vot-trax", lambda: check_interpreter(name, section))
    findings.ask(f"{name}: results are of these weights, or there are none", same_maker)
    if toolkit is not None and findings.wrong == before:
        kept = toolkit
        findings.ask(
            f"{name}: self-test on the toolkit's dummy sequence",
            lambda: _self_test(workspace, name, kept),
        )


def _self_test(workspace: Workspace, name: str, toolkit: Toolkit) -> None:
    """Track the toolkit's drawn sequence of 50 frames."""
    log = workspace.logs_dir / f"toolkit-test-{name}.log"
    began = time.time()
    words = ["--registry", str(workspace.root), "test", name]
    code = toolkit.run(words, log, cwd=workspace.root)
    if not any(_PASSED in line for line in log_lines(log)):
        raise ResultsError(f"{why(workspace, name, log, began, code)}; all of it in {log}")
