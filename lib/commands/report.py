"""`seqtrack report`, `python tracking/report.py`: one page that compares trackers."""

import argparse
import math
import sys
from collections.abc import Sequence
from pathlib import Path

from lib.commands.analyze import _contender, _open_all, _which_trackers
from lib.commands.entry import count, parser, say
from lib.config.paths import resolve_paths
from lib.datasets.catalog import dataset_names
from lib.datasets.sequence import Dataset
from lib.test.analysis.attributes import Attributes, NoAttributesError, read_attributes
from lib.test.analysis.compare import MAX_LINES, Comparison, compare
from lib.test.analysis.conventions import KINDS, check_kind, convention_named, convention_names
from lib.test.analysis.report import format_table, to_csv, to_json
from lib.test.report.build import DEFAULT_MEGABYTES, DEFAULT_SEQUENCES, Built, Part, build_report
from lib.test.report.plots import require_matplotlib, write_plots
from lib.utils.errors import EXIT_OK, ConfigError, counted
from lib.utils.files import atomic_write_text, check_writable, user_path

# Fewer frames of a sequence than this tell nothing about it.
_FEW = 4
_TABLES = {"csv": to_csv, "json": to_json}
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


def build_parser() -> argparse.ArgumentParser:
    """The arguments of this command."""
    p = parser("report.py", _DESCRIPTION)
    add = p.add_argument
    add("tracker", nargs="?", help="with the next argument, one more result to show")
    add("config_name", nargs="?", metavar="config", help="configuration of that tracker")
    add(
        "--config",
        nargs="+",
        action="extend",
        default=[],
        metavar="NAME",
        help="results to compare: a configuration of seqtrack, or TRACKER/NAME",
    )
    add(
        "--dataset",
        "--dataset_name",
        nargs="+",
        action="extend",
        required=True,
        metavar="DATASET",
        help=f"{', '.join(dataset_names())}, or a folder of sequences; several go on one page",
    )
    add("--out", default="report.html", metavar="FILE", help="the page (default: report.html)")
    add("--title", help="of the page (default: the trackers and data sets)")
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
    add("--tables", metavar="DIR", help="also write the scores there, as CSV and JSON")
    add("--runid", type=count, help="the results of <config>_%%03d")
    add("--protocol", metavar="KIND", help=f"rules instead of the data set's: {', '.join(KINDS)}")
    add("--convention", metavar="NAME", help=f"toolkit: {', '.join(convention_names())}")
    add(
        "--skip-missing",
        action="store_true",
        help="leave out, for all trackers, sequences that lack a result file of one (exit code 0)",
    )
    add("--data_dir", help="root of the data sets")
    add("--save_dir", help="root of checkpoints, test and logs")
    return p


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code.

    Raises:
        SeqTrackError: wrong input, or results that are missing or malformed; nothing is written.
    """
    args = build_parser().parse_args(argv)
    if args.convention is not None:
        convention_named(args.convention)
    if args.protocol is not None:
        check_kind(args.protocol)
    page = _page_file(args.out)
    plots = _folder(args.plots, "--plots")
    if plots:
        require_matplotlib()
    tables = _folder(args.tables, "--tables")
    names = _which_trackers(args)
    paths = resolve_paths(args.data_dir, args.save_dir)
    parts = []
    for typed, dataset in _open_all(args.dataset, paths).items():
        contenders = [_contender(one, dataset, typed, args.runid, paths) for one in names]
        comparison = compare(dataset, contenders, args.protocol, args.convention, args.skip_missing)
        parts.append(Part(dataset, contenders, comparison, _attributes(dataset)))
    built = build_report(
        args.title or _title(parts), parts, page.parent, args.max_mb, args.link_frames, say
    )
    atomic_write_text(page, built.page)
    _tell(parts, built, page)
    if plots:
        count_written = sum(len(write_plots(tree, plots)) for tree in built.figures)
        print(f"written: {counted(count_written, 'plot')} in {plots}")
    if tables:
        count_written = sum(len(_write_tables(part.comparison, tables)) for part in parts)
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


def _write_tables(comparison: Comparison, folder: Path) -> list[Path]:
    """Write the scores of a data set in every format; returns the files."""
    written = []
    for suffix, form in _TABLES.items():
        written.append(folder / f"{comparison.dataset}.{suffix}")
        atomic_write_text(written[-1], form(comparison))
    return written


def _attributes(dataset: Dataset) -> Attributes | None:
    try:
        return read_attributes(dataset)
    except NoAttributesError:
        return None


def _title(parts: Sequence[Part]) -> str:
    labels = dict.fromkeys(one.label for part in parts for one in part.contenders)
    return f"{', '.join(labels)} on {', '.join(part.dataset.name for part in parts)}"


def _tell(parts: Sequence[Part], built: Built, page: Path) -> None:
    warnings = [text for part in parts for text in part.comparison.warnings] + [*built.problems]
    for warning in warnings[:MAX_LINES]:
        print(f"warning: {warning}", file=sys.stderr)
    if len(warnings) > MAX_LINES:
        print(f"warning: {len(warnings) - MAX_LINES} more like these", file=sys.stderr)
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
