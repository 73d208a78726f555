"""Errors meant for people, and the exit codes that every command shares.

An error message names what was wrong, the value, the file, and what to do next. It is
one line (or one line per finding), because commands print it as it is, without traceback.
"""

import difflib
from collections.abc import Iterable, Sequence

EXIT_OK = 0
EXIT_PARTIAL = 1
EXIT_BAD_INPUT = 2
EXIT_NON_FINITE = 3
EXIT_INTERRUPTED = 130
EXIT_TERMINATED = 143

EXIT_CODES_HELP = (
    f"exit codes: {EXIT_OK} done; {EXIT_PARTIAL} part of the work failed (listed); "
    f"{EXIT_BAD_INPUT} wrong input, nothing started; "
    f"{EXIT_NON_FINITE} training stopped by non-finite numbers; "
    f"{EXIT_INTERRUPTED} interrupted, {EXIT_TERMINATED} terminated"
)


def printable(text: str) -> str:
    """Text with everything but new lines that does not show on a terminal spelled out.

    Example:
        >>> printable("a\\x1b[2Jb")
        'a\\\\x1b[2Jb'
    """
    return "".join(c if c.isprintable() or c == "\n" else ascii(c)[1:-1] for c in text)


class SeqTrackError(Exception):
    """Root of all errors that end a command with one clear line; `exit_code` is its status."""

    exit_code = EXIT_BAD_INPUT

    def __str__(self) -> str:
        """Fit for a terminal: what a file says in a message cannot move the cursor, say."""
        return printable(super().__str__())


class ConfigError(SeqTrackError):
    """A configuration file, an override or a path setting is wrong."""


class DataError(SeqTrackError):
    """A data set, an annotation or an image cannot be used."""


class CheckpointError(SeqTrackError):
    """A checkpoint is missing, unsafe, damaged or of another model."""


class ResultsError(SeqTrackError):
    """A raw result file is missing or malformed, or belongs to another run."""


class MissingExtraError(SeqTrackError):
    """An optional package is needed; the message holds the `pip install` line."""


class PartialFailure(SeqTrackError):
    """Part of the work failed; everything else was done and saved."""

    exit_code = EXIT_PARTIAL


def out_of_memory(error: BaseException) -> str | None:
    """What to say where a device has too little memory; None for any other error.

    PyTorch's error is known by its name, because importing torch takes seconds.

    Example:
        >>> out_of_memory(ValueError("no"))
    """
    if not any(kind.__name__ == "OutOfMemoryError" for kind in type(error).__mro__):
        return None
    first = str(error).strip().partition("\n")[0].partition(". ")[0].rstrip(".")
    return (
        f"{first or 'the device is out of memory'}; end what else uses the device, do less at once "
        "(--batch-size, --jobs), or take --device cpu"
    )


def counted(number: int, noun: str) -> str:
    """A number with its noun.

    Example:
        >>> counted(1, "sequence"), counted(2, "sequence")
        ('1 sequence', '2 sequences')
    """
    plural = "es" if noun.endswith("s") else "s"
    return f"{number} {noun}" if number == 1 else f"{number} {noun}{plural}"


def some(names: Sequence[str], most: int = 5) -> str:
    """The first names, and how many more there are.

    Example:
        >>> some(["a", "b", "c"], 2)
        'a, b and 1 more'
    """
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def did_you_mean(word: str, choices: Iterable[str]) -> str:
    """A hint such as `; did you mean 'seqtrack_b256'?`, or an empty string.

    Example:
        >>> did_you_mean("lasott", ["lasot", "otb"])
        "; did you mean 'lasot'?"
        >>> did_you_mean("zzz", ["lasot", "otb"])
        ''
    """
    by_lower = {c.lower(): c for c in choices}
    close = difflib.get_close_matches(word.lower(), by_lower, n=1, cutoff=0.6)
    return f"; did you mean {by_lower[close[0]]!r}?" if close else ""
