"""Has the VOT toolkit run trackers, and sees that it has."""

import re
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tqdm import tqdm

from lib.utils.advice import advice, extra
from lib.utils.console import say
from lib.utils.errors import (
    CheckpointError,
    ConfigError,
    MissingExtraError,
    PartialFailure,
    ResultsError,
    SeqTrackError,
    counted,
)
from lib.vot.entry import TrackerParts, made_of
from lib.vot.evaluate import forget_scores
from lib.vot.results import RunFile, check_maker, claim_results, run_files
from lib.vot.stacks import Experiment
from lib.vot.toolkit import Toolkit, find_toolkit, last_trouble, log_lines, plain_path
from lib.vot.workspace import Workspace

_PRINT_EVERY = 60.0
_NO_REPLY = re.compile(r"did not reply in (\d+) seconds")


def run(
    workspace: Workspace,
    experiments: Sequence[Experiment],
    trackers: Sequence[str],
    overwrite: bool,
) -> None:
    """Run trackers one after the other, all of the workspace if none is named.

    Raises:
        SeqTrackError: something is missing or wrong; nothing was started.
        PartialFailure: a tracker did not come to the end; what it finished is kept.
    """
    sections = workspace.choose(trackers)
    toolkit = find_toolkit()
    sequences = workspace.sequences()
    for sequence in sequences:
        sequence.check()
    ready = _ready(workspace, sections, bool(trackers))
    for name, made in ready.items():
        check_interpreter(name, sections[name])
        if made and not overwrite:
            check_maker(workspace.results_dir(name), made.record(workspace.stack))
    failures = []
    for name, made in ready.items():
        results = workspace.results_dir(name)
        if made:
            claim_results(results, made.record(workspace.stack), overwrite)
        files = list(run_files(results, experiments, sequences))
        try:
            _run_one(workspace, name, files, experiments, toolkit)
        except SeqTrackError as error:
            failures.append(f"{name}: {error}")
    if failures:
        raise PartialFailure("\n".join(failures))


def _ready(
    workspace: Workspace, sections: Mapping[str, Mapping[str, str]], named: bool
) -> dict[str, TrackerParts | None]:
    """What the trackers are made of; those without weights are left out unless named."""
    ready: dict[str, TrackerParts | None] = {}
    without: dict[str, CheckpointError] = {}
    for name, section in sections.items():
        try:
            ready[name] = made_of(section)
        except CheckpointError as error:
            if named:
                raise CheckpointError(f"{name}: {error}") from None
            without[name] = error
    if not ready:
        first = next(iter(without))
        raise CheckpointError(
            f"no tracker of {workspace.ini_file} has weights; the first is {first}: "
            f"{without[first]}"
        )
    if without:
        say(f"left out, as they have no weights: {', '.join(without)}")
    return ready


def check_interpreter(name: str, section: Mapping[str, str]) -> None:
    """Make sure that the Python of a section can run the toolkit.

    Raises:
        ConfigError: it is not there.
        MissingExtraError: it has no vot-trax.
    """
    words = shlex.split(section.get("python", "").replace("%%", "%"))
    if not words:
        return
    again = f"activate your environment and repeat {advice('vot', 'init', name)}"
    try:
        asked = subprocess.run(
            [*words, "-c", "import trax; trax.Server"],
            capture_output=True,
            text=True,
            check=False,
            cwd=Path(__file__).parent,
        )
    except OSError as error:
        raise ConfigError(
            f"{name}: the interpreter {words[0]} of trackers.ini cannot be run "
            f"({error.strerror}); {again}"
        ) from None
    if asked.returncode:
        reason = (asked.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise MissingExtraError(
            f"{name}: {words[0]} has no vot-trax ({reason}): {words[0]} -m "
            f"{extra('vot')} -c constraints.txt. If this is the wrong interpreter: {again}"
        )


def _run_one(
    workspace: Workspace,
    name: str,
    files: Sequence[RunFile],
    experiments: Sequence[Experiment],
    toolkit: Toolkit,
) -> None:
    """Run one tracker; what is complete stays as it is."""
    for file in files:
        if file.is_cut():
            say(f"{name}: {file.experiment.name}/{file.run.stem} was left half-written; runs anew")
            file.remove()
    done = sum(file.find() is not None for file in files)
    if done == len(files):
        say(f"{name}: all {counted(len(files), 'run')} are there already")
        return
    forget_scores(workspace, name)
    say(f"{name}: {counted(len(files) - done, 'run')} to do, {done} are there already")
    log = workspace.logs_dir / f"toolkit-evaluate-{name}.log"
    began = time.time()
    options = [name, "--experiments", ",".join(one.name for one in experiments)]
    with Progress(name, files) as watch, plain_path(workspace.root) as root:
        code = toolkit.run(["evaluate", "--workspace", str(root), *options], log, watch=watch)
    missing = [file for file in files if file.find() is None]
    if missing:
        raise ResultsError(
            f"{len(missing)} of {len(files)} runs are missing, from "
            f"{missing[0].experiment.name}/{missing[0].run.stem} on: "
            f"{why(workspace, name, log, began, code)}. What is finished is kept: repeat the "
            f"command to go on. Logs: {log}, {workspace.logs_dir / name}"
        )
    say(f"{name}: {counted(len(files), 'run')} complete in {workspace.results_dir(name)}")


class Progress:
    """Shows how many runs are finished: a bar for a terminal, now and then a line otherwise."""

    def __init__(self, name: str, files: Sequence[RunFile]) -> None:
        self.files = files
        self.name = name
        self.bar = tqdm(total=len(files), desc=name, unit="run", disable=not sys.stderr.isatty())
        self.printed = time.monotonic()

    def __enter__(self) -> Callable[[], None]:
        return self.show

    def __exit__(self, *_: object) -> None:
        self.bar.close()

    def show(self) -> None:
        """Update the bar; without a terminal, print a line now and then."""
        done = sum(file.find() is not None for file in self.files)
        self.bar.update(done - self.bar.n)
        if self.bar.disable and time.monotonic() - self.printed > _PRINT_EVERY:
            self.printed = time.monotonic()
            say(f"{self.name}: {done} of {len(self.files)} runs")


def why(workspace: Workspace, name: str, log: Path, began: float, code: int) -> str:
    """Why the toolkit, begun at `began` (seconds since 1970), stopped: the tracker's last error."""
    lines = log_lines(log)
    early = ""
    for line in lines:
        if found := _NO_REPLY.search(line):
            if time.time() - began >= int(found[1]):
                return f"timeout: {line.partition('sequence')[2].strip() or line}"
            # It says so too of a process that ended before its clock ticked for the first time.
            early = ", but less time went by: the tracker's process ended"
    logs = (workspace.logs_dir / name).glob("*.log")
    for path in sorted(logs, key=lambda one: one.stat().st_mtime, reverse=True):
        if path.stat().st_mtime < began:
            break
        own = path.read_text(encoding="utf-8", errors="replace").splitlines()
        errors = [line.partition("error: ")[2] for line in own if "error: " in line]
        if errors:
            return f"the tracker stopped: {errors[-1]}"
        if own and not own[-1].endswith("the end"):
            return f"the tracker's process died without a word (its log: {path.name})"
    if any("interrupted by the user" in line for line in lines):
        return "interrupted"
    return f"the toolkit (exit code {code}) says: {last_trouble(lines)}{early}"
