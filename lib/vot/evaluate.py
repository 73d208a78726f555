"""Numbers from raw results: our own scores, and what the toolkit makes of them."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lib.utils.advice import advice
from lib.utils.console import align, say
from lib.utils.errors import PartialFailure, ResultsError, SeqTrackError, counted
from lib.utils.files import atomic_write_text
from lib.utils.json_text import parse_json
from lib.vot.results import has_results
from lib.vot.score import Scores, score_tracker
from lib.vot.sequences import VotSequence
from lib.vot.stacks import Experiment
from lib.vot.toolkit import find_toolkit, last_trouble, log_lines
from lib.vot.workspace import Workspace

_REPORT_FILES = {"html": "report.html", "latex": "report.tex", "plots": ""}


def score(workspace: Workspace, experiments: Sequence[Experiment], trackers: Sequence[str]) -> None:
    """Score raw results with numpy alone, print a table, write `scores.json`.

    Raises:
        SeqTrackError: there is nothing to score.
        PartialFailure: some trackers cannot be scored; the others are.
    """
    sequences = workspace.sequences()
    found: dict[str, list[Scores]] = {}
    failures = []
    for name in trackers or trackers_with_results(workspace):
        try:
            found[name] = score_tracker(workspace.results_dir(name), experiments, sequences)
        except SeqTrackError as error:
            failures.append(f"{name}: {error}")
    if found:
        rows = {name: {one.experiment: row_of(one) for one in some} for name, some in found.items()}
        say(table(rows))
        _caution(workspace, sequences)
        _keep_scores(workspace, found, len(sequences))
    if failures:
        raise (PartialFailure if found else ResultsError)("\n".join(failures))


def _caution(workspace: Workspace, sequences: Sequence[VotSequence]) -> None:
    needed = workspace.stack.sequences
    if needed not in (None, len(sequences)):
        say(
            f"note: {counted(len(sequences), 'sequence')} of the {needed} of "
            f"{workspace.stack.name}; these are no numbers of that challenge"
        )
    for one in sequences:
        if len(one.regions) < len(one):
            say(
                f"note: {one.truth_file}: {len(one.regions)} rows for {len(one)} frames; "
                "frames without truth count as misses"
            )


def analyze(workspace: Workspace, trackers: Sequence[str], name: str) -> None:
    """Have the toolkit analyse results; print EAO, A and R of every experiment.

    Raises:
        SeqTrackError: the toolkit is missing, or has made nothing of the results.
    """
    path = workspace.root / "analysis" / f"{name}.json"
    _call(workspace, "analysis", trackers, name, "json", path)
    say(table(read_analysis(path)))
    say(f"analysis: {path}")


def report(workspace: Workspace, trackers: Sequence[str], name: str, form: str) -> None:
    """Have the toolkit write a report, `form` being a key of `_REPORT_FILES`.

    Raises:
        SeqTrackError: the toolkit is missing, or has made nothing of the results.
    """
    path = workspace.root / "reports" / name / _REPORT_FILES[form]
    _call(workspace, "report", trackers, name, form, path)
    say(f"report: {path}")


def trackers_with_results(workspace: Workspace) -> list[str]:
    """All trackers that have results, those of other programs too.

    Raises:
        ResultsError: none has.
    """
    folder = workspace.root / "results"
    folders = sorted(one for one in folder.iterdir() if one.is_dir()) if folder.is_dir() else []
    names = [one.name for one in folders if has_results(one)]
    if not names:
        raise ResultsError(f"{folder}: no results yet; {workspace.advice('run')} makes them")
    return names


def row_of(scores: Scores) -> dict[str, float]:
    """The numbers of one experiment by their short names."""
    row = {"EAO": scores.eao, "A": scores.accuracy, "R": scores.robustness}
    return {key: value for key, value in row.items() if value is not None}


def table(rows: Mapping[str, Mapping[str, Mapping[str, float]]]) -> str:
    """Trackers below each other, experiments side by side."""
    columns = list(
        dict.fromkeys(
            (experiment, key)
            for row in rows.values()
            for experiment, numbers in row.items()
            for key in numbers
        )
    )
    lines = [["tracker", *(f"{experiment} {key}" for experiment, key in columns)]]
    for name, row in rows.items():
        cells = [row.get(experiment, {}).get(key) for experiment, key in columns]
        lines.append([name, *("-" if cell is None else f"{cell:.4f}" for cell in cells)])
    return "\n".join(align(lines, [False] + [True] * len(columns)))


def read_analysis(path: Path) -> dict[str, dict[str, dict[str, float]]]:
    """EAO or Q, A and R by tracker and experiment, from what the toolkit wrote.

    Raises:
        ResultsError: it is something else.
    """
    rows: dict[str, dict[str, dict[str, float]]] = {}
    try:
        content = parse_json(path.read_text(encoding="utf-8"))
        names = list(content["trackers"])
        for experiment, part in content["results"].items():
            for i, name in enumerate(names):
                values = [one[i] for one in part["results"]]
                anchored = "Unsupervised" not in str(part.get("type"))
                rows.setdefault(name, {})[experiment] = _numbers(values, anchored)
    except (
        OSError, ValueError, KeyError, IndexError, TypeError, AttributeError, OverflowError
    ) as error:  # fmt: skip
        raise ResultsError(
            f"{path}: not an analysis of toolkit 0.7.4 ({type(error).__name__}: {error!s:.80})"
        ) from error
    return rows


def _numbers(values: Sequence[Any], anchored: bool) -> dict[str, float]:
    """EAO, A and R from the analyses of one experiment, distinguished by how many they give.

    There is an EAO with anchors only; without, the number beside A and R is the quality Q of VOTS.
    """
    alone = "EAO" if anchored else "Q"
    row: dict[str, float] = {}
    for value in values:
        scalars = [one for one in value if isinstance(one, int | float)]
        if len(value) == 1 and scalars:
            row[alone if len(values) > 1 else "A"] = float(scalars[0])
        elif len(scalars) >= 2:
            row["A"], row["R"] = float(scalars[0]), float(scalars[1])
    return row


def _call(
    workspace: Workspace, what: str, trackers: Sequence[str], name: str, form: str, made: Path
) -> None:
    """Call the toolkit and see that it has made a file, whatever it says itself."""
    names = list(trackers) or [
        one for one in trackers_with_results(workspace) if one in workspace.trackers()
    ]
    workspace.choose(names)
    # It needs every run of every experiment.
    sequences = workspace.sequences()
    for one in names:
        score_tracker(workspace.results_dir(one), workspace.stack.experiments, sequences)
    toolkit = find_toolkit()
    log = workspace.logs_dir / f"toolkit-{what}.log"
    before = made.stat().st_mtime_ns if made.exists() else None
    say(f"the toolkit's {what} takes a minute the first time; its log: {log}")
    words = [what, "--workspace", str(workspace.root), "--format", form, "--name", name, *names]
    code = toolkit.run(words, log)
    if not made.exists() or made.stat().st_mtime_ns == before:
        raise ResultsError(
            f"{made}: the toolkit has not written it (exit code {code}): "
            f"{_reason(log_lines(log))}; all of it in {log}"
        )


def _reason(lines: Sequence[str]) -> str:
    """The line of the toolkit's log that says most."""
    failed = [line for line in lines if line.startswith("Failed task")]
    if any("division by zero" in line for line in failed):
        return (
            f"a tracker without any overlap has no accuracy there; {advice('vot', 'score')} gives 0"
        )
    return failed[-1][:200] if failed else last_trouble(lines)


def read_scores_file(workspace: Workspace) -> dict[str, Any]:
    """`scores.json`; empty where there is none. Raises ResultsError: it cannot be read."""
    path = workspace.scores_file
    if not path.is_file():
        return {}
    try:
        content = parse_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ResultsError(f"{path}: cannot be read as JSON ({error}); remove it") from error
    return content if isinstance(content, dict) else {}


def forget_scores(workspace: Workspace, name: str) -> None:
    """Take a tracker out of `scores.json`: its results change now."""
    rows = read_scores_file(workspace)
    if rows.pop(name, None) is not None:
        atomic_write_text(workspace.scores_file, json.dumps(rows, indent=2) + "\n")


def _keep_scores(workspace: Workspace, found: Mapping[str, list[Scores]], sequences: int) -> None:
    """Write the scores of trackers that have an EAO in the first experiment; others stay."""
    rows = read_scores_file(workspace)
    first = next((one.name for one in workspace.stack.experiments if one.limits), None)
    for name, scores in found.items():
        main = next((one for one in scores if one.experiment == first), None)
        if main is None or main.eao is None:
            continue
        rows[name] = {
            "eao": main.eao,
            "accuracy": main.accuracy,
            "robustness": main.robustness,
            "stack": workspace.stack.name,
            "sequences": sequences,
            "experiments": {one.experiment: row_of(one) for one in scores},
        }
    atomic_write_text(workspace.scores_file, json.dumps(rows, indent=2) + "\n")
    say(f"scores: {workspace.scores_file}")
