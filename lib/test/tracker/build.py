"""From names to a tracker: which trackers exist, and how each is made.

A `TrackerSpec` is small and picklable, so every worker process can build its own tracker; the
network is built once per process and serves all sequences.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import torch

from lib.config.schema import Config
from lib.models.seqtrack import SeqTrack, build_seqtrack
from lib.models.weights import load_weights
from lib.test.tracker.base import Tracker
from lib.test.tracker.seqtrack import SeqTrackTracker
from lib.test.tracker.static_box import StaticBox
from lib.utils.errors import ConfigError, did_you_mean

TRACKER_NAMES = ("seqtrack", "static_box")

# Seed of the weights that `--checkpoint random` asks for.
RANDOM_WEIGHTS_SEED = 0


@dataclass(frozen=True)
class TrackerSpec:
    """Everything that is needed to build a tracker in another process.

    Attributes:
        tracker: one of TRACKER_NAMES.
        config_name: names the results.
        config: the network and tracker settings; None for trackers without any.
        checkpoint: weights file; None for seeded untrained weights.
        update_key: key of the data set in TEST.UPDATE_INTERVALS.
    """

    tracker: str
    config_name: str
    config: Config | None = None
    checkpoint: Path | None = None
    update_key: str = "DEFAULT"

    @property
    def config_digest(self) -> str | None:
        """SHA-256 over the settings that decide boxes, or None without a configuration.

        Training settings are left out, and so are defaults: neither another learning rate nor
        a key that a later version adds makes results those of another tracker.
        """
        if self.config is None:
            return None
        decisive = {
            "model": {"hidden_dim", "bins", "feature_type", "encoder", "decoder"},
            "data": {"seq_format": True, "search": {"size"}, "template": {"size"}},
            "test": True,
        }
        values = self.config.model_dump(mode="json", include=decisive, exclude_defaults=True)
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def check_tracker_name(name: str) -> None:
    """Raise ConfigError, listing the choices, unless `name` is a tracker."""
    if name not in TRACKER_NAMES:
        raise ConfigError(
            f"unknown tracker {name!r}{did_you_mean(name, TRACKER_NAMES)}; "
            f"choose one of {', '.join(TRACKER_NAMES)}"
        )


def load_network(
    cfg: Config, checkpoint: Path | None, device: torch.device | str = "cpu"
) -> SeqTrack:
    """The configuration's network with its weights, in evaluation mode.

    Args:
        cfg: the configuration.
        checkpoint: weights file, or None for seeded untrained weights.
        device: where the network goes.

    Raises:
        CheckpointError: the file is unsafe, damaged or of another model.
    """
    if checkpoint is None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(RANDOM_WEIGHTS_SEED)
            network = build_seqtrack(cfg)
    else:
        # On the meta device nothing is allocated or initialised: the file brings every tensor.
        with torch.device("meta"):
            network = build_seqtrack(cfg)
        load_weights(network, checkpoint)
    return network.to(device).eval().requires_grad_(False)


def build_tracker(spec: TrackerSpec, device: torch.device | str = "cpu") -> Tracker:
    """The tracker that `spec` describes, on `device`.

    Raises:
        ConfigError: no such tracker, or a setting that cannot work.
        CheckpointError: the weights cannot be used.
    """
    check_tracker_name(spec.tracker)
    if spec.tracker == "static_box":
        return StaticBox()
    if spec.config is None:
        raise ConfigError(f"tracker {spec.tracker!r} needs a configuration")
    network = load_network(spec.config, spec.checkpoint, device)
    return SeqTrackTracker(network, spec.config, spec.update_key)
