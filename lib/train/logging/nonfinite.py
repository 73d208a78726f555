"""What is written about a batch whose loss is no number, so that it can be looked at."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from lib.train.data.loader import Batch
from lib.utils.files import atomic_write_text
from lib.utils.image_io import write_rgb

FACTS_NAME = "batch.json"


def dump_batches(folder: Path, batches: Sequence[Batch], facts: Mapping[str, Any]) -> None:
    """Write `batch.json` and the images of every sample into `folder`.

    Args:
        folder: is made if need be.
        batches: the parts of one optimizer step, on any device.
        facts: plain values to put first, such as the epoch.

    Raises:
        OSError: the folder cannot be written.
    """
    parts = [batch.to("cpu") for batch in batches]
    samples = [
        {
            "number": int(number),
            "source": part.sources[i],
            "box": part.boxes[i].tolist(),
            "template_boxes": part.template_boxes[i].tolist(),
            "history": [] if part.history is None else part.history[i].tolist(),
        }
        for part in parts
        for i, number in enumerate(part.numbers)
    ]
    content = _spelled({**facts, "samples": samples})
    atomic_write_text(folder / FACTS_NAME, json.dumps(content, indent=1) + "\n")
    for part in parts:
        for number, search, templates in zip(
            part.numbers.tolist(), part.search.numpy(), part.templates.numpy(), strict=True
        ):
            write_rgb(folder / f"sample{number:06d}-search.png", search)
            for t, template in enumerate(templates):
                write_rgb(folder / f"sample{number:06d}-template{t}.png", template)


def non_finite_weights(network: nn.Module) -> list[str]:
    """Names of the parameters and buffers that hold a NaN or an infinity."""
    state = network.state_dict()
    return [name for name, value in state.items() if not torch.isfinite(value).all()]


def _spelled(value: Any) -> Any:
    """`value` with numbers that JSON does not know as words."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict):
        return {key: _spelled(item) for key, item in value.items()}
    return [_spelled(item) for item in value] if isinstance(value, list) else value
