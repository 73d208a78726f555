"""Where the time of one frame goes: read, crop, upload, encode, each token, post.

A stage ends when the device has done it, so on a GPU the sum is larger than a frame that is
started as a whole.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lib.models.seqtrack import STEPS
from lib.profile.scene import Workload
from lib.tracker.engine.api import EngineOutput, UniqueTemplates
from lib.tracker.engine.build import build_engine
from lib.tracker.engine.torch import TorchEngine
from lib.tracker.seqtrack import advance
from lib.utils.crop import crop_square
from lib.utils.image_io import read_rgb, write_rgb

STAGES = ("read", "crop", "upload", "encode", *(f"token {i + 1}" for i in range(STEPS)), "post")
# The first calls allocate memory, choose kernels and record graphs.
WARM_UPS = 2


@dataclass(frozen=True)
class Times:
    """Milliseconds of the single calls of one alternative, in order."""

    each: tuple[float, ...]

    @property
    def median(self) -> float:
        return float(np.median(self.each))

    def row(self) -> dict[str, Any]:
        """Median, 10th and 90th percentile, and how many calls there were."""
        low, high = np.percentile(self.each, (10, 90))
        return {
            "median_ms": round(self.median, 4),
            "p10_ms": round(float(low), 4),
            "p90_ms": round(float(high), 4),
            "calls": len(self.each),
        }


def synchronise(device: torch.device) -> None:
    """Wait until the device has done all it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def timed(work: Callable[[], object], device: torch.device) -> tuple[float, Any]:
    """Milliseconds that `work` takes, the device's share included, and what it returns."""
    synchronise(device)
    begun = time.perf_counter()
    result = work()
    synchronise(device)
    return 1e3 * (time.perf_counter() - begun), result


class StageClock:
    """Milliseconds per stage, over several frames."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.times: dict[str, list[float]] = {stage: [] for stage in STAGES}

    def __call__(self, stage: str, work: Any) -> Any:
        """Run `work` as that stage; returns its result."""
        took, result = timed(work, self.device)
        self.times[stage].append(took)
        return result

    def rows(self, what: str, situation: str) -> list[dict[str, Any]]:
        """One row per stage, in order; the first frames are warm-up."""
        return [
            {"situation": situation, "what": what, "stage": stage, **Times(tuple(each)).row()}
            for stage, all_of_it in self.times.items()
            if (each := all_of_it[WARM_UPS:])
        ]


@torch.inference_mode()
def stage_rows(bench: Workload, folder: Path, rounds: int) -> list[dict[str, Any]]:
    """Rows per stage of PyTorch and of the reference, for each situation of the templates.

    Args:
        folder: a frame is written there, and read again.
    """
    path = folder / "frame.jpg"
    write_rgb(path, bench.scene.images[1 % len(bench.scene.images)])
    rows = []
    frames = {"reference": _reference_frame, "torch": _torch_frame}
    engines = {name: build_engine(name, bench.network, bench.cfg) for name in frames}
    for situation in bench.situations():
        clocks = {name: StageClock(bench.device) for name in engines}
        for _ in range(rounds + WARM_UPS):
            for name, engine in engines.items():
                frames[name](clocks[name], bench, engine, situation, path)
        for name, clock in clocks.items():
            rows += clock.rows(name, situation)
    return rows


def _look(
    clock: StageClock, bench: Workload, normalise: Any, path: Path
) -> tuple[Any, Any, torch.Tensor]:
    """Read, crop and upload; the image, the crop and the normalised search region."""
    settings = bench.settings
    image = clock("read", lambda: read_rgb(path))
    factor, size = settings.search_factor, settings.search_size
    crop = clock("crop", lambda: crop_square(image, bench.scene.boxes[0], factor, size))
    pixels = torch.from_numpy(crop.pixels)[None]
    return image, crop, clock("upload", lambda: normalise(pixels.to(bench.device)))


def _finish(
    clock: StageClock, bench: Workload, engine: Any, reading: Any, seen: tuple, outputs: tuple
) -> None:
    """Box in the image and new state, from the outputs and what was seen."""
    image, crop, _ = seen
    tokens, confidence, distributions = outputs

    def post() -> None:
        means = reading.tokenizer.expected(distributions) if reading.expectation else tokens
        boxes = reading.tokenizer.decode(means).cpu()
        read = EngineOutput(tokens.cpu(), confidence.cpu().double(), boxes)
        advance(state, image, crop, read, 0, bench.settings)

    state = bench.scene.state(bench.settings, engine)
    clock("post", post)


def _torch_frame(
    clock: StageClock, bench: Workload, engine: TorchEngine, situation: str, path: Path
) -> None:
    row = bench.scene.templates(bench.settings, engine, situation)
    network, reading = engine.network, engine.network.reading
    seen = _look(clock, bench, reading.normalise, path)
    inputs = engine.inputs([UniqueTemplates.of(row)])
    memory = clock("encode", lambda: network.remember(seen[2], *inputs))
    # Keys and values of the memory belong to the first token.
    steps = network.read_tokens(memory, reading.tokenizer, reading.window, inputs.templates.boxes)
    parts = [clock(f"token {step + 1}", lambda: next(steps)) for step in range(STEPS)]
    tokens, confidence, values = zip(*parts, strict=True)
    outputs = (torch.cat(tokens, 1), torch.cat(confidence, 1), torch.stack(values, 1))
    _finish(clock, bench, engine, reading, seen, outputs)


def _reference_frame(
    clock: StageClock, bench: Workload, engine: Any, situation: str, path: Path
) -> None:
    row = bench.scene.templates(bench.settings, engine, situation)
    seen = _look(clock, bench, engine.normalise, path)
    images, boxes = (torch.stack(x)[None] for x in zip(*(t.cached for t in row), strict=True))
    memory = clock("encode", lambda: engine.remember(images, seen[2], boxes))
    begin = engine.network.start_bias(memory, boxes)
    tokens = torch.tensor([[engine.tokenizer.start]], device=bench.device)
    outputs = []
    for step in range(STEPS):
        values = clock(
            f"token {step + 1}", lambda t=tokens, s=step: engine.say(t, s, memory, begin)
        )
        outputs.append(values)
        tokens = torch.cat([tokens, values.argmax(-1, keepdim=True).to(tokens)], dim=1)
    values = torch.stack(outputs, dim=1)
    _finish(clock, bench, engine, engine, seen, (tokens[:, 1:], values.amax(-1), values))
