"""What a command says."""

import os
import sys


def say(text: str, error: bool = False) -> None:
    """Print one line at once; a reader that went away (head, less) does not stop the work."""
    stream = sys.stderr if error else sys.stdout
    try:
        print(text, file=stream, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
