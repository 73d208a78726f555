"""The smallest tracker: it says that nothing has moved. A baseline, and an example."""

from typing import Any

import numpy as np

from lib.tracker.base import BaseTracker, Info


class StaticBox(BaseTracker):
    """Repeats the first box for ever."""

    def initialize(self, image: np.ndarray, info: Info) -> None:
        """Remember `info["init_bbox"]`."""
        self.box = [float(v) for v in info["init_bbox"]]

    def track(self, image: np.ndarray, info: Info | None = None) -> dict[str, Any]:
        """Return the first box again."""
        return {"target_bbox": list(self.box)}
