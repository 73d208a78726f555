"""From the name of a tracker in a VOT workspace to what it is made of, and back.

`seqtrack_b256` answers with boxes, `seqtrack_b256_ar` with Alpha-Refine's masks. A section of
`trackers.ini` calls `vot serve` with all that is needed, so that `run` and `check` look at the
same weights as the tracker process will.
"""

import argparse
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lib import __version__
from lib.config.loader import list_configs
from lib.config.paths import Paths, resolve_paths
from lib.config.schema import PUBLISHED_CONFIGS
from lib.masks.base import REFINERS
from lib.tracker.registry import make_spec, trackers, with_checkpoint
from lib.tracker.spec import TrackerSpec
from lib.utils.errors import ConfigError, did_you_mean
from lib.utils.files import sha256_of, user_path
from lib.vot.results import VotRecord
from lib.vot.stacks import UPDATE_KEYS, Stack
from lib.vot.workspace import CODE_ROOT, arguments_of

# The eight models, each as box tracker and with Alpha-Refine's masks.
DEFAULT_TRACKERS = tuple(name + mask for name in PUBLISHED_CONFIGS for mask in ("", "_ar"))


@dataclass(frozen=True)
class Entry:
    """A tracker of a workspace."""

    name: str  # its section and folder of results
    tracker: str  # a name of the registry
    config: str  # its configuration
    refiner: str | None  # a key of `REFINERS`; None for boxes

    @property
    def label(self) -> str:
        """For reports."""
        base = self.config if self.tracker == "seqtrack" else self.tracker
        label = base.replace("_", "-").upper().replace("SEQTRACK", "SeqTrack")
        return f"{label} + {REFINERS[self.refiner].method}" if self.refiner else label


@dataclass(frozen=True)
class TrackerParts:
    """What a tracker is made of, with its weights found."""

    spec: TrackerSpec  # the box tracker
    refiner: str | None  # a key of `REFINERS`; None for boxes
    refiner_weights: Path | None  # its file or folder; None for boxes

    def record(self, stack: Stack) -> VotRecord:
        """What its results must have been made by."""
        spec, weights = self.spec, self.refiner_weights
        return VotRecord(
            tracker=spec.tracker,
            config_name=spec.config_name,
            settings=spec.settings,
            checkpoint_sha256=sha256_of(spec.checkpoint) if spec.checkpoint else None,
            refiner=self.refiner,
            refiner_sha256=_fingerprint(weights) if weights else None,
            stack=stack.name,
            version=__version__,
        )


def find_entry(name: str) -> Entry:
    """The tracker that a name stands for. Raises ConfigError: there is no such tracker."""
    configs = set(list_configs())
    plain = {row.name for row in trackers().values() if not row.has_config}
    for kind, suffix in [(None, ""), *((key, f"_{one.suffix}") for key, one in REFINERS.items())]:
        base = name.removesuffix(suffix)
        if base == name and suffix:
            continue
        if base in configs:
            return Entry(name, "seqtrack", base, kind)
        if base in plain:
            return Entry(name, base, "default", kind)
    known = [*DEFAULT_TRACKERS, *(one + mask for one in sorted(plain) for mask in ("", "_ar"))]
    hint = (
        did_you_mean(name, known)
        or f"; there are {', '.join(PUBLISHED_CONFIGS)}, each with _ar too"
    )
    raise ConfigError(f"there is no tracker {name!r}{hint}")


def serve_parser() -> argparse.ArgumentParser:
    """The arguments of `vot serve`, which `init` writes and nobody types."""
    p = argparse.ArgumentParser(prog="vot serve", allow_abbrev=False)
    add = p.add_argument
    add("name", help="section of trackers.ini")
    add("--workspace", required=True, help="folder of trackers.ini")
    # Workspaces of before have the second spelling.
    add("--update-rule", "--dataset", default=UPDATE_KEYS[0], choices=UPDATE_KEYS)
    add("--checkpoint", help="weights of the box tracker")
    add("--refiner-checkpoint", help="weights of the mask refiner")
    add("--device", default="auto")
    add("--save-dir", "--save_dir", help="root of checkpoints")
    return p


def serve_arguments(entry: Entry, root: Path, stack: Stack, args: argparse.Namespace) -> list[str]:
    """The words after `vot` that start a tracker in the workspace `root`; `args` are `init`'s."""
    place = root.resolve()
    inside = place.is_relative_to(CODE_ROOT)
    where = str(place.relative_to(CODE_ROOT)) if inside else str(place)
    words = ["serve", entry.name, "--workspace", where, "--update-rule", stack.update_key]
    for option, value in (
        ("--checkpoint", args.checkpoint),
        ("--refiner-checkpoint", args.refiner_checkpoint),
    ):
        if value:
            words += [option, str(user_path(value, option).absolute())]
    if args.device != "auto":
        words += ["--device", args.device]
    paths = resolve_paths(save_dir=args.save_dir)
    if paths.save_dir != paths.repository:
        words += ["--save-dir", str(paths.save_dir)]
    return words


def find_parts(args: argparse.Namespace) -> TrackerParts:
    """What the tracker of a section is made of.

    Raises:
        ConfigError: unknown tracker, or settings that cannot work.
        CheckpointError: weights are missing; the message says where they were looked for.
    """
    entry = find_entry(args.name)
    paths = resolve_paths(save_dir=args.save_dir)
    spec = make_spec(entry.tracker, entry.config, [])
    spec = with_checkpoint(spec, args.checkpoint, paths, args.update_rule)
    return TrackerParts(
        spec, entry.refiner, _refiner_weights(entry, args.refiner_checkpoint, paths)
    )


def made_of(section: Mapping[str, str]) -> TrackerParts | None:
    """What the tracker of a section of `trackers.ini` is made of; None if it is not ours.

    Raises:
        ConfigError, CheckpointError: as `find_parts`.
    """
    words = arguments_of(section)
    return None if words is None else find_parts(serve_parser().parse_args(words))


def _refiner_weights(entry: Entry, given: str | None, paths: Paths) -> Path | None:
    if given and entry.refiner is None:
        raise ConfigError(f"--refiner-checkpoint does nothing for {entry.name}, a box tracker")
    if given:
        path = user_path(given, "--refiner-checkpoint")
        if not path.exists():
            raise ConfigError(f"--refiner-checkpoint {path}: not found")
        return path
    if entry.refiner is None:
        return None
    # They import torch, which takes seconds: a typo is answered before.
    if entry.refiner == "sam2":
        from lib.masks.sam2 import find_model

        return find_model(paths)
    from lib.masks.alpha_refine.stage import find_weights

    return find_weights(paths)


def _fingerprint(path: Path) -> str:
    """Of a file, or of all files of a folder with their names."""
    if path.is_file():
        return sha256_of(path)
    digest = hashlib.sha256()
    for one in sorted(path.rglob("*")):
        if one.is_file():
            digest.update(f"{one.relative_to(path)} {sha256_of(one)}\n".encode())
    return digest.hexdigest()
