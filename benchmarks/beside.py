"""A frame of one configuration beside a frame of another, in turns, in one run.

    python -m benchmarks.beside seqtrack_plus_b224 seqtrack_b256 --rounds 8
    python -m benchmarks.beside seqtrack_plus_b224 seqtrack_b256 --engine onnx

Weights are seeded random ones: speed does not depend on them. Templates are equal, as before the
first update. Prints the medians, their ratio, and the ratios of the single rounds: where the
machine is slower for a while, both are slower in that round.
"""

import argparse
import sys
from collections.abc import Callable, Sequence

import numpy as np
import torch

from benchmarks.turns import take_turns
from lib.commands.entry import run, say
from lib.config.loader import load_config
from lib.profile.scene import ProfileScene, Workload, benchmark_network
from lib.synthetic.video.dataset import load_synthetic
from lib.tracker.engine.build import build_engine
from lib.tracker.engine.names import ENGINE_NAMES
from lib.utils.errors import EXIT_OK


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="a frame of one configuration beside another's")
    parser.add_argument("config", nargs=2, help="names in experiments/")
    parser.add_argument("--engine", choices=ENGINE_NAMES, default="torch")
    parser.add_argument("--rounds", type=int, default=8, help="frames of each (default: 8)")
    parser.add_argument("--seconds", type=float, default=60, help="begin no round after that")
    args = parser.parse_args(argv)
    device, scene = torch.device("cpu"), ProfileScene.of(load_synthetic("synthetic-002"))
    works = {}
    for name in args.config:
        cfg = load_config(name)
        bench = Workload(benchmark_network(cfg, None, device), cfg, scene)
        works[name] = frame(bench, args.engine)
    times = take_turns(works, device, args.rounds, args.seconds)
    for name, each in times.items():
        row = each.row()
        say(f"{name}: {row['median_ms']:.0f} ms ({row['p10_ms']:.0f} to {row['p90_ms']:.0f})")
    one, other = (times[name] for name in args.config)
    each = np.divide(one.each, other.each)
    low, middle, high = np.percentile(each, (10, 50, 90))
    say(
        f"ratio {one.median / other.median:.3f}; of a round {middle:.3f} "
        f"({low:.2f} to {high:.2f}); {len(each)} rounds in turns, {torch.get_num_threads()} threads"
    )
    return EXIT_OK


def frame(bench: Workload, engine_name: str) -> Callable[[int], object]:
    """A function of the round that cuts the search crop and runs the network once."""
    engine = build_engine(engine_name, bench.network, bench.cfg)
    row = bench.scene.templates(bench.settings, engine, "equal")
    search = bench.scene.search
    return lambda number: engine.generate([row], search(bench.settings, [number]))


if __name__ == "__main__":
    sys.exit(run("benchmarks.beside"))
