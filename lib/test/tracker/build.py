"""From a `TrackerSpec` to a tracker.

A spec is small and picklable, so every worker process can build its own tracker; the network is
built once per process and serves all sequences.
"""

from pathlib import Path

import torch

from lib.config.schema import Config
from lib.models.engine import build_engine
from lib.models.seqtrack import SeqTrack, build_seqtrack
from lib.models.weights import load_weights
from lib.test.tracker.base import Tracker
from lib.test.tracker.mil import MIL
from lib.test.tracker.seqtrack import SeqTrackTracker
from lib.test.tracker.spec import TrackerSpec, check_tracker_name
from lib.test.tracker.static_box import StaticBox
from lib.test.tracker.template_match import TemplateMatch
from lib.utils.errors import ConfigError, SeqTrackError

# Seed of the weights that `--checkpoint random` asks for.
RANDOM_WEIGHTS_SEED = 0


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
    if spec.tracker == "mil":
        return MIL()
    if spec.tracker == "template_match":
        return TemplateMatch()
    if spec.config is None:
        raise ConfigError(f"tracker {spec.tracker!r} needs a configuration")
    # Convolutions in TF32 would round the patches, and with them some of the tokens.
    torch.backends.cudnn.allow_tf32 = False
    try:
        network = load_network(spec.config, spec.checkpoint, device)
        engine = build_engine(spec.engine, network, spec.config, spec.precision)
    except (RuntimeError, MemoryError) as error:
        # PyTorch's way to say that memory is short or a device is out of order.
        reason = str(error).strip().splitlines()[:1] or [type(error).__name__]
        raise SeqTrackError(f"{spec.config_name} cannot be built: {reason[0]}") from error
    return SeqTrackTracker(engine, spec.config, spec.update_key)
