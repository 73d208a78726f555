"""How a target is called: by a number, or by a name."""

import re

from lib.utils.errors import DataError

TargetId = int | str

# More digits than a file's number may have are a name; Python refuses thousands of them.
_DIGITS = 16
# What XML cannot hold (XML 1.0, section 2.2), of which UTF-8 cannot hold the halves of characters;
# and what ends a line or a cell of a table.
_NO_NAME = re.compile("[^\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def target_id(text: str) -> TargetId:
    """A target's number, or its name.

    Raises:
        DataError: it holds a character that not every file of annotations can.

    Example:
        >>> target_id("7"), target_id("cat")
        (7, 'cat')
    """
    if wrong := _NO_NAME.search(text):
        raise DataError(
            f"target {text[:60]!r}: a name cannot hold the character {wrong[0]!r}; rename it"
        )
    return int(text) if text.isdecimal() and len(text) < _DIGITS else text
