"""What a command prints: lines, and rows of texts as lines with straight columns."""

import os
import sys
from collections.abc import Sequence


def say(text: str, error: bool = False) -> None:
    """Print one line at once; a reader that went away (head, less) does not stop the work."""
    stream = sys.stderr if error else sys.stdout
    try:
        print(text, file=stream, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


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
