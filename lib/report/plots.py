"""The curves and the attributes as figures for papers: PNG and PDF, by matplotlib."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from lib.utils.advice import extra
from lib.utils.errors import MissingExtraError
from lib.utils.files import atomic_path

FORMATS = ("png", "pdf")
# As on the page, so that text and report can name the same line.
_COLOURS = ("#1f5fd0", "#d2480d", "#7b3ff2", "#00796b", "#bf1d5c", "#826400", "#47586b", "#83492a")
_DASHES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1.2, 1.8)), (0, (6, 2, 1.2, 2)))
# Inches: one column of a paper with two.
_SIZE = (3.4, 2.7)
_STYLE: dict[Any, Any] = {
    "font.size": 8,
    "axes.linewidth": 0.6,
    "axes.grid": True,
    "grid.linewidth": 0.4,
    "grid.color": "#d5dae0",
    "axes.axisbelow": True,
    "lines.linewidth": 1.4,
    "legend.fontsize": 7,
    "legend.framealpha": 0.9,
    # Text stays text in a PDF, and letters look the same everywhere.
    "pdf.fonttype": 42,
    "savefig.dpi": 300,
}


def require_matplotlib() -> Any:
    """The package, or the line that installs it. Raises MissingExtraError: it is not installed."""
    try:
        import matplotlib
    except ImportError:
        raise MissingExtraError(f"plots need matplotlib: {extra('plots')}") from None
    return matplotlib


def write_plots(tree: dict[str, Any], folder: Path) -> list[Path]:
    """Write every curve of a data set, and its attributes, as PNG and PDF.

    Args:
        tree: of `dataset_tree`.
        folder: for the files `<data set>_<plot>.<format>`.

    Returns:
        the files.

    Raises:
        MissingExtraError: matplotlib is not installed.
        OSError: the folder cannot be written.
    """
    require_matplotlib()
    written = []
    for curve in tree["curves"]:
        stem = f"{tree['name']}_{curve['id']}"
        written += _save(folder, stem, _SIZE, _draw_curve, tree, curve)
    if tree["attributes"]:
        height = 1.0 + len(tree["attributes"]) * (0.1 + 0.11 * len(tree["trackers"]))
        size = (_SIZE[0], max(_SIZE[1], height))
        written += _save(folder, f"{tree['name']}_attributes", size, _draw_attributes, tree)
    return written


def _save(
    folder: Path, stem: str, size: tuple[float, float], draw: Callable[..., None], *content: Any
) -> list[Path]:
    import matplotlib
    from matplotlib.figure import Figure

    written = []
    with matplotlib.rc_context(_STYLE):
        # A figure of its own: pyplot would keep it, and look for a screen.
        figure = Figure(figsize=size, layout="constrained")
        draw(figure.subplots(), *content)
        for form in FORMATS:
            path = folder / f"{stem}.{form}"
            # Without a date the same scores give the same file.
            dated: dict[str, Any] = {"CreationDate": None} if form == "pdf" else {}
            with atomic_path(path) as temporary:
                figure.savefig(temporary, format=form, metadata=dated)
            written.append(path)
    return written


def _draw_curve(axes: Any, tree: dict[str, Any], curve: dict[str, Any]) -> None:
    order = _by_score(curve["headline"])
    for place in order:
        score = curve["headline"][place]
        shown = "-" if score is None else f"{score:.1f}"
        axes.plot(
            curve["x"],
            [math.nan if value is None else value for value in curve["lines"][place]],
            color=_COLOURS[place % len(_COLOURS)],
            linestyle=_DASHES[(place + place // len(_COLOURS)) % len(_DASHES)],
            label=f"{_plain(tree['trackers'][place])} [{shown}]",
        )
    if curve["mark"] is not None:
        axes.axvline(curve["mark"], color="#8a94a0", linewidth=0.7, linestyle=":")
    axes.set(xlim=(0, curve["x"][-1]), ylim=(0, 100))
    axes.set(xlabel=curve["xLabel"], ylabel=curve["yLabel"])
    axes.set_title(f"{_plain(tree['name'])}: {curve['title'].lower()} [{curve['headlineName']}]")
    axes.legend(loc="best")


def _draw_attributes(axes: Any, tree: dict[str, Any]) -> None:
    rows, trackers = tree["attributes"], tree["trackers"]
    thick = 0.8 / len(trackers)
    for place, tracker in enumerate(trackers):
        middles = [i + (place - (len(trackers) - 1) / 2) * thick for i in range(len(rows))]
        values = [row["scores"][place] or 0.0 for row in rows]
        colour = _COLOURS[place % len(_COLOURS)]
        axes.barh(middles, values, height=thick * 0.9, color=colour, label=_plain(tracker))
    labels = [f"{_plain(row['name'])} ({row['sequences']})" for row in rows]
    axes.set_yticks(range(len(rows)), labels)
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)
    axes.set(xlim=(0, 100), xlabel=f"{tree['metrics'][0]}, in percent")
    axes.set_title(f"{_plain(tree['name'])}: attributes (number of sequences)")
    axes.figure.legend(loc="outside lower center", ncols=2)


def _by_score(scores: Sequence[float | None]) -> list[int]:
    """Places of the trackers, the best first."""
    known = [-math.inf if score is None else score for score in scores]
    return sorted(range(len(known)), key=lambda place: -known[place])


def _plain(name: str) -> str:
    """A name in which matplotlib sees no formula."""
    return name.encode("utf-8", errors="replace").decode("utf-8").replace("$", r"\$")
