"""`seqtrack report`, `python tracking/report.py`: one page that compares trackers."""

import argparse
import math
from collections.abc import Sequence
from pathlib import Path

from lib.analysis.attributes import Attributes, NoAttributesError, read_attributes
from lib.analysis.export import documents
from lib.analysis.findings import work_out
from lib.analysis.text import format_table
from lib.commands._options import Parser, add_roots, parser
from lib.commands._results import (
    add_result_arguments,
    check_rules,
    compare_as_asked,
    named_results,
    open_all,
    print_warnings,
)
from lib.commands.entry import say
from lib.config.paths import resolve_paths
from lib.datasets.sequence import Dataset
from lib.report.build import DEFAULT_MEGABYTES, DEFAULT_SEQUENCES, Built, Part, build_report
from lib.report.plots import require_matplotlib, write_plots
from lib.utils.errors import EXIT_OK, ConfigError, counted
from lib.utils.files import atomic_write_text, check_writable, user_path

# Fewer frames of a sequence than this tell nothing about it.
_FEW = 4
_PAGE_SUFFIXES = (".html", ".htm")
_DESCRIPTION = (
    "Write one page that compares trackers: scores with intervals, curves, a table of the "
    "sequences, and a player of each with all boxes. It opens from the file, without network."
)


def megabytes_argument(text: str) -> float:
    """An argument that is a size in megabytes."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value <= 2000:
        raise argparse.ArgumentTypeError(f"{text!r} is no size from 0 to 2000 megabytes")
    return value


def build_parser() -> Parser:
    p = parser(
        "report",
        _DESCRIPTION,
        "seqtrack_b256 static_box/default --dataset lasot",
        "seqtrack_b256 --results OSTrack=raw/ostrack --dataset otb --out otb.html --plots plots/",
    )
    add_result_arguments(p)
    add = p.add_argument_group("what is written").add_argument
    add("--out", default="report.html", metavar="FILE", help="the page (default: report.html)")
    add("--title", metavar="TEXT", help="title of the page (default: the trackers and data sets)")
    add(
        "--max-mb",
        type=megabytes_argument,
        metavar="MB",
        help="size of the page, which decides how many frames it shows (default: "
        f"{DEFAULT_MEGABYTES:g} for up to {DEFAULT_SEQUENCES} sequences, more for more)",
    )
    add(
        "--link-frames",
        action="store_true",
        help="link the image files of all frames; the page then needs them where they are",
    )
    add("--plots", metavar="DIR", help="also write the plots there, as PNG and PDF for papers")
    add(
        "--tables", metavar="DIR", help="also write the scores there, as CSV, JSON, Markdown, LaTeX"
    )
    add_roots(p)
    return p


def main(argv: Sequence[str] | None = None) -> int:
    args = build_parser().parse_args(argv)
    check_rules(args)
    page = _page_file(args.out)
    plots = _folder(args.plots, "--plots")
    if plots:
        require_matplotlib()
    tables = _folder(args.tables, "--tables")
    named = named_results(args)
    paths = resolve_paths(args.data_dir, args.save_dir)
    parts = []
    for typed, dataset in open_all(args.dataset, paths).items():
        trackers, comparison = compare_as_asked(named, dataset, typed, args, paths)
        parts.append(Part(dataset, trackers, work_out(comparison, _attributes(dataset))))
    built = build_report(
        args.title or _title(parts), parts, page.parent, args.max_mb, args.link_frames, say
    )
    atomic_write_text(page, built.page)
    _print(parts, built, page)
    if plots:
        count_written = sum(len(write_plots(tree, plots)) for tree in built.figures)
        print(f"written: {counted(count_written, 'plot')} in {plots}")
    if tables:
        count_written = sum(len(_write_tables(part, tables)) for part in parts)
        print(f"written: {counted(count_written, 'table')} in {tables}")
    return EXIT_OK


def _page_file(text: str) -> Path:
    """Where the page goes, which must be writable before minutes are spent on it."""
    page = user_path(text, "--out")
    if page.suffix.lower() not in _PAGE_SUFFIXES:
        raise ConfigError(f"--out {text}: the page is HTML; call it {page.stem or 'report'}.html")
    if page.is_dir():
        raise ConfigError(f"--out {text}: a folder is called so already")
    check_writable(page.parent)
    return page


def _folder(text: str | None, option: str) -> Path | None:
    """A folder that files will go to, which must be writable."""
    if text is None:
        return None
    folder = user_path(text, option)
    check_writable(folder)
    return folder


def _write_tables(part: Part, folder: Path) -> list[Path]:
    """Write the scores of a data set in every format; returns the files."""
    written = []
    for suffix, text in documents(part.findings).items():
        written.append(folder / f"{part.comparison.dataset}{suffix}")
        atomic_write_text(written[-1], text)
    return written


def _attributes(dataset: Dataset) -> Attributes | None:
    try:
        return read_attributes(dataset)
    except NoAttributesError:
        return None


def _title(parts: Sequence[Part]) -> str:
    labels = dict.fromkeys(one.label for part in parts for one in part.trackers)
    return f"{', '.join(labels)} on {', '.join(part.dataset.name for part in parts)}"


def _print(parts: Sequence[Part], built: Built, page: Path) -> None:
    warnings = [text for part in parts for text in part.comparison.warnings] + [*built.problems]
    print_warnings(warnings)
    sequences = sum(len(figures["sequences"]) for figures in built.figures)
    if built.pictures < _FEW * sequences < _FEW * built.frames:
        say(
            f"warning: the page shows {counted(built.pictures, 'frame')} of "
            f"{counted(sequences, 'sequence')}; --max-mb gives it more, --link-frames shows all",
            error=True,
        )
    for part in parts:
        print(format_table(part.comparison))
    size = page.stat().st_size / 1e6
    print(
        f"written: {page}, {size:.1f} MB, "
        f"{built.pictures} of {counted(built.frames, 'frame')} can be seen"
    )
