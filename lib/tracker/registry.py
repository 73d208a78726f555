"""Which trackers there are: a row for each of ours, and those of other packages.

Another package adds a tracker by an entry point, without a line here:

    [project.entry-points."seqtrack.trackers"]
    toy = "toy_tracker:ToyTracker"

It names a subclass of `BaseTracker`, or a function `(spec, device) -> BaseTracker`.
"""

import contextlib
import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING

from lib.config.loader import load_config
from lib.config.paths import Paths, resolve_paths
from lib.tracker.base import BaseTracker
from lib.tracker.spec import TrackerSpec
from lib.utils.console import say
from lib.utils.errors import CheckpointError, ConfigError, did_you_mean
from lib.utils.files import user_path

if TYPE_CHECKING:
    import torch

GROUP = "seqtrack.trackers"
# What `--checkpoint` says for seeded untrained weights.
RANDOM_CHECKPOINT = "random"


@dataclass(frozen=True)
class TrackerRow:
    """A tracker that can be asked for by name.

    Attributes:
        name: as in `TRACKER/CONFIGURATION`.
        target: what builds it, `module:name`; imported when it is built.
        has_config: whether it has a configuration of `experiments/` and weights; otherwise the
            second name only tells its results apart.
        origin: the package it comes from.
    """

    name: str
    target: str
    has_config: bool = False
    origin: str = "seqtrack"

    def build(self, spec: TrackerSpec, device: "torch.device | str") -> BaseTracker:
        """The tracker, ready for its first target.

        Raises:
            ConfigError: what builds it cannot be imported, or is something else.
        """
        build: Callable[..., BaseTracker] | type[BaseTracker]
        try:
            build = EntryPoint(self.name, self.target, GROUP).load()
        except (ImportError, AttributeError, ValueError) as error:
            raise ConfigError(
                f"tracker {self.name!r} of {self.origin} cannot be loaded from {self.target!r}: "
                f"{error}"
            ) from error
        if isinstance(build, type) and issubclass(build, BaseTracker):
            build = build.build
        tracker = build(spec, device)
        if not isinstance(tracker, BaseTracker):
            raise ConfigError(
                f"tracker {self.name!r} of {self.origin}: {self.target!r} gives a "
                f"{type(tracker).__name__}, no subclass of lib.tracker.base.BaseTracker"
            )
        return tracker


_OURS = (
    TrackerRow("seqtrack", "lib.tracker.build:build_seqtrack_tracker", has_config=True),
    TrackerRow("static_box", "lib.tracker.baselines.static_box:StaticBox"),
    TrackerRow("mil", "lib.tracker.baselines.mil:MIL"),
    TrackerRow("template_match", "lib.tracker.baselines.template_match:TemplateMatch"),
)


@functools.cache
def trackers() -> dict[str, TrackerRow]:
    """All trackers by name, ours first; a name of ours cannot be taken."""
    found = {row.name: row for row in _OURS}
    for one in sorted(entry_points(group=GROUP), key=lambda one: one.name):
        origin = one.dist.name if one.dist else "another package"
        found.setdefault(one.name, TrackerRow(one.name, one.value, origin=origin))
    return found


def find_tracker(name: str) -> TrackerRow:
    """The tracker of that name.

    Raises:
        ConfigError: there is none; the message lists those that there are.
    """
    known = trackers()
    if name not in known:
        raise ConfigError(
            f"unknown tracker {name!r}{did_you_mean(name, known)}; choose one of {', '.join(known)}"
        )
    return known[name]


def make_spec(tracker: str, config: str, overrides: list[str]) -> TrackerSpec:
    """The tracker with its configuration, still without weights.

    Raises:
        ConfigError: unknown configuration or setting, or settings for a tracker without any.
    """
    if find_tracker(tracker).has_config:
        cfg = load_config(config, overrides)
        return TrackerSpec(tracker, cfg.name, cfg)
    if overrides:
        raise ConfigError(f"--set does nothing for {tracker!r}, which has no configuration")
    return TrackerSpec(tracker, config)


def watching(spec: TrackerSpec) -> TrackerSpec:
    """The spec with TEST.LOST.ACTIVE on, unless the configuration or the user says otherwise."""
    cfg = spec.config
    if cfg is None or "active" in cfg.test.lost.model_fields_set:
        return spec
    test = cfg.test.model_copy(update={"lost": cfg.test.lost.model_copy(update={"active": True})})
    return replace(spec, config=cfg.model_copy(update={"test": test}))


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


def weights_words(spec: TrackerSpec) -> list[str]:
    """Words that name the weights of a tracker to another command, for advice that can be typed."""
    words = ["--config", spec.config_name]
    from lib.models.weights import find_checkpoint

    with contextlib.suppress(CheckpointError):
        folders = resolve_paths().checkpoint_dirs(spec.config_name)
        usual = find_checkpoint(spec.config_name, folders)
        if spec.checkpoint is not None and usual.resolve() == spec.checkpoint.resolve():
            return words
    return [*words, "--checkpoint", str(spec.checkpoint or RANDOM_CHECKPOINT)]
