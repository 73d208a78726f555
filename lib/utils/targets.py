"""How a target is called: by a number, or by a name."""

TargetId = int | str

# More digits than a file's number may have are a name; Python refuses thousands of them.
_DIGITS = 16


def target_id(text: str) -> TargetId:
    """A target's number, or its name.

    Example:
        >>> target_id("7"), target_id("cat")
        (7, 'cat')
    """
    return int(text) if text.isdecimal() and len(text) < _DIGITS else text
