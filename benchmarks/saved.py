"""How much memory a training needs, counted on any machine.

    python -m benchmarks.saved seqtrack_plus_b224 seqtrack_b256 --batch 128

Counts what a step must hold: weights, gradients and the optimizer's two averages, and every tensor
that the forward pass keeps for the backward one, in TRAIN.PRECISION. Those grow with the samples:
they are counted for one sample and for two. Not counted: what the kernels need for a moment, what
the allocator loses to fragments, and the process itself. Kernels of a GPU keep the same tensors but
for small ones, so a GPU needs a little more than what stands here.
"""

import argparse
import sys
from collections.abc import Sequence

import torch
from torch import Tensor

from benchmarks.step import NoiseBatch
from lib.commands.entry import run, say
from lib.config.loader import load_config
from lib.config.schema import Config
from lib.models.seqtrack import build_seqtrack
from lib.train.losses.objective import Objective
from lib.train.precision import Precision
from lib.utils.console import headed
from lib.utils.errors import EXIT_OK

_MIB = 2**20


def main(argv: Sequence[str] | None = None) -> int:
    """Print a row for each configuration."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("config", nargs="+", help="names in experiments/")
    parser.add_argument("--batch", type=int, default=128, help="samples of a step (default: 128)")
    args = parser.parse_args(argv)
    rows = []
    for name in args.config:
        fixed, each = needed(load_config(name))
        whole = (fixed + each * args.batch) / 1024
        rows.append((name, f"{fixed:.0f}", f"{each:.1f}", f"{whole:.1f}"))
    titles = ("configuration", "fixed, MiB", "a sample, MiB", f"batch of {args.batch}, GiB")
    say(headed(titles, rows))
    return EXIT_OK


def needed(cfg: Config) -> tuple[float, float]:
    """MiB that a step holds whatever its samples, and for each sample."""
    torch.manual_seed(0)
    objective = Objective(build_seqtrack(cfg), cfg).train()
    if cfg.train.lora_rank:
        objective.add_low_rank(cfg.train.lora_rank, 0)
    held = sum(p.nbytes for p in objective.parameters())
    # A gradient and two averages of it.
    held += 3 * sum(p.nbytes for p in objective.parameters() if p.requires_grad)
    one, two = (kept_by_forward(objective, cfg, samples) for samples in (1, 2))
    return (held + 2 * one - two) / _MIB, (two - one) / _MIB


def kept_by_forward(objective: Objective, cfg: Config, samples: int) -> int:
    """Bytes that a forward pass keeps for the backward one, parameters left out."""
    device = torch.device("cpu")
    own = {p.untyped_storage().data_ptr() for p in objective.parameters()}
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        # Views share their storage; the graph keeps all of them alive, so no address comes twice.
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    precision = Precision(cfg.train.precision, device)
    batch = NoiseBatch.of(cfg, samples, device)
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        with precision.autocast():
            graph = objective(batch, 0.0)  # lives on until all is counted
    sizes = [size for place, size in kept.items() if place not in own]
    del graph
    return sum(sizes)


if __name__ == "__main__":
    sys.exit(run("benchmarks.saved"))
