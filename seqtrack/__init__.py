"""The import name for users; the code is in `lib`, PyTracking's word for it."""

from typing import TYPE_CHECKING, Any

from lib import __version__

if TYPE_CHECKING:
    from lib.api import Result, TargetResult, Tracker

__all__ = ["Result", "TargetResult", "Tracker", "__version__"]


def __getattr__(name: str) -> Any:
    """What needs more than NumPy and OpenCV is imported when it is asked for."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from lib import api

    return getattr(api, name)
