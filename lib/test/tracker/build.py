"""From names to a tracker: which trackers exist, and how each is made.

A `TrackerSpec` is small and picklable, so every worker process can build its own tracker; the
network is built once per process and serves all sequences.
"""

from dataclasses import dataclass
from pathlib import Path

import torch

from lib.config.schema import Config
from lib.models.seqtrack import SeqTrack, build_seqtrack
from lib.models.weights import load_weights
from lib.test.tracker.base import Tracker
from lib.test.tracker.seqtrack import SeqTrackTracker
from lib.test.tracker.static_box import StaticBox
from lib.utils.errors import ConfigError, SeqTrackError, did_you_mean

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
    def settings(self) -> dict[str, object]:
        """The settings that decide boxes, by dotted key; those of training are left out."""
        cfg = self.config
        if cfg is None:
            return {}
        width, depth, heads, patch_size = cfg.model.encoder.geometry
        return {
            "MODEL.ENCODER": f"width {width}, depth {depth}, heads {heads}, patch {patch_size}",
            "MODEL.HIDDEN_DIM": cfg.model.hidden_dim,
            "MODEL.BINS": cfg.model.bins,
            "MODEL.FEATURE_TYPE": cfg.model.feature_type,
            "MODEL.DECODER.NHEADS": cfg.model.decoder.nheads,
            "MODEL.DECODER.DIM_FEEDFORWARD": cfg.model.decoder.dim_feedforward,
            "MODEL.DECODER.DEC_LAYERS": cfg.model.decoder.dec_layers,
            "MODEL.DECODER.PRE_NORM": cfg.model.decoder.pre_norm,
            "DATA.SEQ_FORMAT": cfg.data.seq_format,
            "TEST.TEMPLATE_FACTOR": cfg.test.template_factor,
            "TEST.TEMPLATE_SIZE": cfg.test.template_size,
            "TEST.SEARCH_FACTOR": cfg.test.search_factor,
            "TEST.SEARCH_SIZE": cfg.test.search_size,
            "TEST.WINDOW": cfg.test.window,
            "TEST.NUM_TEMPLATES": cfg.test.num_templates,
            "TEST.UPDATE_INTERVALS": cfg.test.update_interval_for(self.update_key),
            "TEST.UPDATE_THRESHOLD": cfg.test.update_threshold_for(self.update_key),
        }


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
        SeqTrackError: there is not enough memory, or the device fails.
    """
    check_tracker_name(spec.tracker)
    if spec.tracker == "static_box":
        return StaticBox()
    if spec.config is None:
        raise ConfigError(f"tracker {spec.tracker!r} needs a configuration")
    # Convolutions in TF32 would round the patches, and with them some of the tokens.
    torch.backends.cudnn.allow_tf32 = False
    try:
        network = load_network(spec.config, spec.checkpoint, device)
    except (RuntimeError, MemoryError) as error:
        # PyTorch's way to say that memory is short or a device is out of order.
        reason = str(error).strip().splitlines()[:1] or [type(error).__name__]
        raise SeqTrackError(f"{spec.config_name} cannot be built: {reason[0]}") from error
    return SeqTrackTracker(network, spec.config, spec.update_key)
