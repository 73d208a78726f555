"""Rows of texts as lines with straight columns."""

from collections.abc import Sequence


def align(rows: Sequence[Sequence[str]], right: Sequence[bool] = ()) -> list[str]:
    """One line for each row; columns whose entry of `right` is true are aligned to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    right = [*right, *[False] * (len(widths) - len(right))]
    return [
        "  ".join(
            cell.rjust(width) if to_the_right else cell.ljust(width)
            for cell, width, to_the_right in zip(row, widths, right, strict=True)
        ).rstrip()
        for row in rows
    ]


def headed(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table with a rule below its head, all columns to the left."""
    rule = ["-" * max(map(len, column)) for column in zip(head, *rows, strict=True)]
    return "\n".join(align([head, rule, *rows]))
