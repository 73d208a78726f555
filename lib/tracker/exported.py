"""An exported network as a tracker: NumPy, OpenCV and ONNX Runtime are all it needs.

`seqtrack export` writes `tracker.json` beside the graphs: what of the tracker is not in them. The
graphs hold mean and deviation of the colours, window and decoding; the file holds the numbers of
`TrackerSettings` (crop sizes and factors, templates and their update, size prior, hold, smallest
box, what is done about a lost target) and the calibration of the certainty. All that is done with
these is `lib.tracker.seqtrack`, as with every engine.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np

from lib.tracker.base import Info
from lib.tracker.calibration import Calibration
from lib.tracker.engine.runtime import OnnxEngine
from lib.tracker.seqtrack import EngineTracker
from lib.tracker.settings import TrackerSettings
from lib.utils.errors import SeqTrackError
from lib.utils.files import atomic_write_text
from lib.utils.json_text import parse_json

if TYPE_CHECKING:
    from lib.config.schema import Config

TRACKER_FILE = "tracker.json"
# Of the file: raise it when a field comes or goes.
_VERSION = 3


def write_tracker(folder: Path, cfg: "Config", calibration: Calibration | None) -> Path:
    """Write `tracker.json` of a configuration into the folder of its graphs."""
    settings = TrackerSettings.from_config(cfg)
    tree = {
        "version": _VERSION,
        "config": cfg.name,
        "settings": {**asdict(settings), "lost": settings.lost and settings.lost.model_dump()},
        "calibration": None if calibration is None else calibration.tree(),
    }
    path = folder / TRACKER_FILE
    atomic_write_text(path, json.dumps(tree, indent=2) + "\n")
    return path


def read_tracker(path: Path) -> tuple[TrackerSettings, Calibration | None]:
    """What `write_tracker` wrote.

    Raises:
        SeqTrackError: it is not there, damaged, or of another version.
    """
    again = "write it again with seqtrack export"
    try:
        tree = parse_json(path.read_text(encoding="utf-8"))
        version = tree["version"]
        if version == _VERSION:
            settings, fitted = TrackerSettings(**tree["settings"]), tree["calibration"]
            if settings.lost:
                settings = replace(settings, lost=SimpleNamespace(**settings.lost))
            return settings, None if fitted is None else Calibration.from_tree(fitted, path)
    except FileNotFoundError:
        raise SeqTrackError(f"{path} is not there; {again}") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise SeqTrackError(f"{path} cannot be read ({error!r:.160}); {again}") from error
    raise SeqTrackError(f"{path} is of version {version!r:.40}, not {_VERSION}; {again}")


class SeqTrackONNX:
    """Follows a target with what `seqtrack export` wrote. Frames are `(H, W, 3)` uint8 RGB.

    Args:
        folder: with `template.onnx`, `step.onnx` and `tracker.json`.
        threads: of ONNX Runtime; by default one for each core, but at most four.
        state: tell whether the target is tracked, uncertain or lost, and look for a lost one, as
            `seqtrack track` does where the weights are calibrated; without, as `seqtrack test`.

    Raises:
        SeqTrackError: a file is missing or damaged.
    """

    def __init__(self, folder: str | Path, threads: int | None = None, state: bool = True) -> None:
        place = Path(folder)
        settings, calibration = read_tracker(place / TRACKER_FILE)
        if not state:
            settings = replace(settings, lost=None)
        self.tracker = EngineTracker(OnnxEngine(place, threads), settings, calibration)

    def initialize(self, image: np.ndarray, box: Sequence[float]) -> Info:
        """Start on the box x, y, width, height in pixels of the image.

        Raises:
            DataError: the box is empty, not finite, or outside the image.
        """
        return self.tracker.initialize(image, {"init_bbox": box})

    def track(self, image: np.ndarray) -> dict[str, Any]:
        """The target in the next frame; see `EngineTracker.track`."""
        return self.tracker.track(image)
