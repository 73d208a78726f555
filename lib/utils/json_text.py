"""JSON from files that anybody may have written."""

import json
from collections.abc import Callable
from typing import Any


def parse_json(text: str, object_hook: Callable[[dict[str, Any]], Any] | None = None) -> Any:
    """As `json.loads`, whose errors are not all of one kind.

    Raises:
        ValueError: it is not JSON, nested too deeply, or holds a number of thousands of digits.
    """
    try:
        return json.loads(text, object_hook=object_hook)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def error_line(error: ValueError) -> str:
    """Where in the file an error of `parse_json` is, to follow its name: `:3`, or nothing."""
    return f":{error.lineno}" if isinstance(error, json.JSONDecodeError) else ""
