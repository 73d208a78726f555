"""The import name for users; the code is in `lib`, PyTracking's word for it."""

from lib import __version__

__all__ = ["__version__"]
