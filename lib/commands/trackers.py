"""From the words of a command line to a `TrackerSpec`; shared by the commands that track."""

from dataclasses import replace

from lib.commands.entry import say
from lib.config.loader import load_config
from lib.config.paths import Paths
from lib.tracker.spec import TrackerSpec
from lib.utils.errors import ConfigError
from lib.utils.files import user_path

# What `--checkpoint` says for seeded untrained weights.
RANDOM_CHECKPOINT = "random"


def make_spec(tracker: str, config: str, overrides: list[str]) -> TrackerSpec:
    """The tracker with its configuration, still without weights.

    Raises:
        ConfigError: unknown configuration or setting, or settings for a tracker without any.
    """
    if tracker == "seqtrack":
        cfg = load_config(config, overrides)
        return TrackerSpec(tracker, cfg.name, cfg)
    if overrides:
        raise ConfigError(f"--set does nothing for {tracker!r}, which has no configuration")
    return TrackerSpec(tracker, config)


def with_checkpoint(
    spec: TrackerSpec, wanted: str | None, paths: Paths, update_key: str
) -> TrackerSpec:
    """The tracker with the weights that `--checkpoint` names, or that its folders hold.

    Raises:
        CheckpointError: there are none; the message lists where they were looked for.
        ConfigError: a checkpoint is given for a tracker that has none.
    """
    checkpoint = None
    if spec.config is not None:
        if wanted == RANDOM_CHECKPOINT:
            say("warning: untrained weights, the boxes of this run mean nothing")
        else:
            from lib.models.weights import find_checkpoint

            explicit = user_path(wanted, "--checkpoint") if wanted else None
            folders = paths.checkpoint_dirs(spec.config_name)
            checkpoint = find_checkpoint(spec.config_name, folders, explicit)
    elif wanted:
        raise ConfigError(f"--checkpoint does nothing for {spec.tracker!r}, which has no weights")
    return replace(spec, checkpoint=checkpoint, update_key=update_key)
