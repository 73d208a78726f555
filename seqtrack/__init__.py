"""The import name for users; the code is in `lib`, PyTracking's word for it."""

from lib.api import Result, TargetResult, Tracker, __version__

__all__ = ["Result", "TargetResult", "Tracker", "__version__"]
