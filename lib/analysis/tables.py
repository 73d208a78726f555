"""Tables of text cells, and the four ways to write them: aligned, Markdown, LaTeX, CSV."""

import csv
import io
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from lib.utils.console import align

UNKNOWN = "-"
_LATEX_SPECIAL = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        "&": r"\&",
        "%": r"\%",
        "$": r"\$",
        "#": r"\#",
        "_": r"\_",
        "{": r"\{",
        "}": r"\}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "±": r"$\pm$",
    }
)


@dataclass(frozen=True)
class Table:
    """One table."""

    title: str  # what it shows; one line
    header: tuple[str, ...]  # of the columns; the first names the rows and is aligned to the left
    rows: tuple[tuple[str, ...], ...]  # cells, as many as the header in each
    # (row, column) of cells to mark; None where nothing is compared
    best: frozenset[tuple[int, int]] | None = None
    # (name of a row, what its numbers must not be quoted without)
    notes: tuple[tuple[str, str], ...] = ()

    @property
    def footers(self) -> list[str]:
        """The notes as lines below the table."""
        return [f"note: {row}: {note}" for row, note in self.notes]

    def marked(self, row: int, column: int) -> bool:
        return self.best is not None and (row, column) in self.best


def best_cells(rows: Iterable[tuple[str, ...]], along_rows: bool = False) -> frozenset:
    """Positions of the largest numbers among text cells, so that what looks equal is marked alike.

    Args:
        rows: with a name first.
        along_rows: compare the cells of a row instead of those of a column.
    """
    cells = {
        (r, c): float(cell)
        for r, row in enumerate(rows)
        for c, cell in enumerate(row)
        if c and cell != UNKNOWN
    }
    groups: dict[int, list[tuple[int, int]]] = {}
    for place in cells:
        groups.setdefault(place[0 if along_rows else 1], []).append(place)
    return frozenset(
        place
        for places in groups.values()
        for place in places
        if cells[place] == max(cells[one] for one in places)
    )


def as_text(table: Table) -> str:
    """Aligned columns below the title; an asterisk behind the best cells."""
    mark = (lambda r, c: "*" if table.marked(r, c) else " ") if table.best is not None else None
    lines = [[table.header[0], *(f"{name} " if mark else name for name in table.header[1:])]]
    for r, row in enumerate(table.rows):
        cells = [cell + (mark(r, c) if mark else "") for c, cell in enumerate(row[1:], start=1)]
        lines.append([row[0], *cells])
    aligned = align(lines, [False] + [True] * (len(table.header) - 1))
    title = f"{table.title}, * best" if table.best else table.title
    return "\n".join([title, *aligned, *table.footers]) + "\n"


def as_markdown(table: Table) -> str:
    """A table of GitHub's Markdown; the best cells are bold."""
    rows = [
        [f"**{cell}**" if table.marked(r, c) else cell for c, cell in enumerate(row)]
        for r, row in enumerate(table.rows)
    ]
    rule = ["---", *["---:"] * (len(table.header) - 1)]
    lines = ["| " + " | ".join(_piped(row)) + " |" for row in (table.header, rule, *rows)]
    footers = ["", *(f"- {footer}" for footer in table.footers)] if table.notes else []
    return "\n".join([table.title, "", *lines, *footers]) + "\n"


def as_latex(table: Table) -> str:
    """A `tabular` that needs no package, the title as a comment; the best cells are bold.

    Notes are small print below.
    """
    rows = [[_latex(name) for name in table.header]]
    rows += [
        [rf"\textbf{{{_latex(cell)}}}" if table.marked(r, c) else _latex(cell)
         for c, cell in enumerate(row)]
        for r, row in enumerate(table.rows)
    ]  # fmt: skip
    lines = [" & ".join(row) + r" \\" for row in rows]
    columns = "l" + "r" * (len(table.header) - 1)
    return "\n".join(
        [
            f"% {table.title}",
            rf"\begin{{tabular}}{{{columns}}}",
            r"\hline",
            lines[0],
            r"\hline",
            *lines[1:],
            r"\hline",
            r"\end{tabular}",
            *(rf"{{\par\footnotesize {_latex(footer)}\par}}" for footer in table.footers),
        ]
    ) + "\n"  # fmt: skip


def as_csv(table: Table) -> str:
    """Comma separated values with a header line, without the title; notes are a last column."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    rows = [table.header, *table.rows]
    if table.notes:
        of_row = {
            name: "; ".join(note for row, note in table.notes if row == name)
            for name, *_ in table.rows
        }
        rows = [(*table.header, "notes"), *((*row, of_row[row[0]]) for row in table.rows)]
    writer.writerows(rows)
    return stream.getvalue()


WRITERS: Mapping[str, Callable[[Table], str]] = MappingProxyType(
    {"text": as_text, "markdown": as_markdown, "latex": as_latex, "csv": as_csv}
)


def _piped(cells: Iterable[str]) -> list[str]:
    return [cell.replace("|", r"\|") for cell in cells]


def _latex(cell: str) -> str:
    return cell.translate(_LATEX_SPECIAL)
