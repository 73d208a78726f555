"""From a `TrackerSpec` to a tracker.

A spec is small and picklable, so every worker process can build its own tracker; the network is
built once per process and serves all sequences.
"""

import contextlib
import math
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch

from lib.config.schema import Config
from lib.models.seqtrack import SeqTrack, build_seqtrack
from lib.models.weights import load_weights
from lib.tracker.base import BaseTracker
from lib.tracker.calibration import ADVICE, Calibration, calibration_path
from lib.tracker.engine.build import build_engine
from lib.tracker.registry import find_tracker, weights_words
from lib.tracker.seqtrack import SeqTrackTracker
from lib.tracker.spec import TrackerSpec
from lib.utils.advice import advice
from lib.utils.console import say
from lib.utils.cores import threads_are_given, usable_cores
from lib.utils.errors import ConfigError, SeqTrackError
from lib.utils.files import sha256_of

# Seed of the weights that `--checkpoint random` asks for.
RANDOM_WEIGHTS_SEED = 0
# What PyTorch takes by itself; the number in use may be changed after this.
_DEFAULT_THREADS = torch.get_num_threads()
# All threads wait for the last one after each operation, and a step has hundreds: less work than
# this is not worth another thread. Two were never slower than one (docs/performance.md).
_MACS_PER_THREAD = 100e6
_FEW_THREADS = 2


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


def build_tracker(spec: TrackerSpec, device: torch.device | str = "cpu") -> BaseTracker:
    """The tracker that `spec` describes, on `device`; PyTorch gets the threads that it names.

    Raises:
        ConfigError: no such tracker, or a setting that cannot work.
        CheckpointError: the weights cannot be used.
        SeqTrackError: there is not enough memory, or the device fails.
    """
    row = find_tracker(spec.tracker)
    if spec.cpu_threads:
        # Before the engine is there: some lay out weights or start threads of their own by it.
        torch.set_num_threads(spec.cpu_threads)
    return row.build(spec, device)


def build_seqtrack_tracker(spec: TrackerSpec, device: torch.device | str) -> SeqTrackTracker:
    """SeqTrack's row of the registry.

    Raises:
        SeqTrackError: as `build_tracker`.
    """
    if spec.config is None:
        raise ConfigError(f"tracker {spec.tracker!r} needs a configuration")
    # Convolutions in TF32 would round the patches, and with them some of the tokens.
    torch.backends.cudnn.allow_tf32 = False
    with _plain_errors(spec):
        network = load_network(spec.config, spec.checkpoint, device)
        engine = build_engine(spec.engine, network, spec.config, spec.precision)
    calibration = find_calibration(spec.checkpoint)
    if calibration is None and spec.checkpoint and spec.config.test.lost.active:
        words = [*weights_words(spec), "--dataset", "synthetic_calibration"]
        fit = advice("calibrate", *words)
        say(
            f"no state of the target: these weights have no calibration; {fit} fits one", error=True
        )
    return SeqTrackTracker(engine, spec.config, spec.update_key, calibration)


def find_calibration(checkpoint: Path | None) -> Calibration | None:
    """The calibration beside a weights file; None without one, or with one of other weights.

    Raises:
        CheckpointError: it cannot be read.
    """
    path = None if checkpoint is None else calibration_path(checkpoint)
    if checkpoint is None or path is None or not path.is_file():
        return None
    found = Calibration.load(path)
    if found.record.get("weights_sha256") != sha256_of(checkpoint):
        say(f"warning: {path} is of other weights and is not used; {ADVICE}", error=True)
        return None
    return found


def with_threads(
    spec: TrackerSpec, device: torch.device | str, batch_size: int, processes: int
) -> TrackerSpec:
    """The spec with a number of CPU threads, unless it has one, or needs none.

    Args:
        spec: what the processes are going to build.
        device: where they compute; only for the CPU there is something to choose.
        batch_size: targets of a step.
        processes: that share the cores.
    """
    on_cpu = torch.device(device).type == "cpu"
    # The reference is a yardstick, and keeps PyTorch's default.
    if spec.cpu_threads or not spec.config or not on_cpu or spec.engine == "reference":
        return spec
    return replace(spec, cpu_threads=choose_threads(spec.config, batch_size, processes))


def choose_threads(cfg: Config, batch_size: int = 1, processes: int = 1) -> int | None:
    """CPU threads of each of some processes that share the cores: few for a small network.

    None where the environment says it: PyTorch has read that.
    """
    if threads_are_given(os.environ):
        return None
    most = min(_DEFAULT_THREADS, usable_cores()) // processes
    wanted = max(_FEW_THREADS, batch_size * linear_macs(cfg) / _MACS_PER_THREAD)
    return max(1, int(min(most, wanted)))


def linear_macs(cfg: Config) -> float:
    """Multiplications of a frame in the encoder's linear layers: most of a large network's.

    Infinite for an encoder whose size only its module knows: few are small.
    """
    if cfg.model.encoder.family:
        return math.inf
    width, depth, _, patch = cfg.model.encoder.geometry
    search, template = cfg.test.search_size // patch, cfg.test.template_size // patch
    tokens = search**2 + cfg.test.num_templates * template**2
    return tokens * depth * 12 * width**2


@contextlib.contextmanager
def _plain_errors(spec: TrackerSpec) -> Iterator[None]:
    """Say in one line that memory is short or a device out of order, as PyTorch does at length."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        reason = str(error).strip().splitlines()[:1] or [type(error).__name__]
        raise SeqTrackError(f"{spec.config_name} cannot be built: {reason[0]}") from error
