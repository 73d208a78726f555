"""`seqtrack profile`: parameters, multiplications, and time per stage."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lib.commands._options import (
    Parser,
    add_cpu_threads,
    add_device,
    add_one_config,
    parser,
    positive,
)
from lib.commands.entry import say
from lib.config.loader import load_config
from lib.utils.errors import EXIT_OK

if TYPE_CHECKING:
    from torch import nn

    from lib.config.schema import Config
    from lib.models.seqtrack import SeqTrack

_ROUNDS = 5


def build_parser() -> Parser:
    p = parser(
        "profile",
        "Say how large a configuration's network is, how much it multiplies for one frame (MACs, "
        "both ways that people count them), and where the time of a frame goes.",
        "--config seqtrack_b256",
        "--config seqtrack_l384 --no-speed",
    )
    what = p.add_argument_group("what is measured")
    add_one_config(what)
    how = p.add_argument_group("how")
    add_device(how)
    add_cpu_threads(how)
    how.add_argument(
        "--rounds",
        type=positive,
        default=_ROUNDS,
        metavar="N",
        help=f"frames that are timed (default: {_ROUNDS})",
    )
    how.add_argument("--no-speed", action="store_true", help="only count, which takes seconds")
    return p


def main(argv: Sequence[str] | None = None) -> int:
    args = build_parser().parse_args(argv)
    cfg = load_config(args.config, args.overrides)

    import torch

    from lib.profile.scene import benchmark_network
    from lib.tracker.build import choose_threads
    from lib.utils.device import resolve_device

    device = resolve_device(args.device)
    torch.backends.cudnn.allow_tf32 = False
    # Speed and size do not depend on what the weights are.
    network = benchmark_network(cfg, None, device)
    _print_parameters(cfg, network)
    _print_macs(cfg, network)
    if not args.no_speed:
        threads = args.cpu_threads
        if threads is None and device.type == "cpu":
            threads = choose_threads(cfg)
        if threads is not None:
            torch.set_num_threads(threads)
        _print_speed(cfg, network, args.rounds)
    return EXIT_OK


def _print_parameters(cfg: "Config", network: "SeqTrack") -> None:
    say(f"{cfg.name}: {_millions(network)} parameters")
    parts = {
        "encoder": network.encoder,
        "bottleneck": network.bottleneck,
        "decoder": network.decoder,
        "word head": network.vocab_embed,
    }
    for name, part in parts.items():
        say(f"  {name:<10} {_millions(part)}")


def _millions(part: "nn.Module") -> str:
    return f"{sum(p.numel() for p in part.parameters()) / 1e6:.2f} M"


def _print_macs(cfg: "Config", network: "SeqTrack") -> None:
    from lib.profile.work import frame_macs
    from lib.utils.console import align

    count = cfg.test.num_templates
    cases = {"as published": None, "equal templates" if count > 1 else "one template": 1}
    if count > 1:
        cases[f"{count} different templates"] = count
    say("GMAC per frame (1 MAC = 2 FLOP); linear+conv leaves the products of attention out")
    rows = [("", "linear+conv", "with attention")]
    for name, distinct in cases.items():
        macs = frame_macs(network, cfg, distinct)
        rows.append((name, f"{macs.linear_conv / 1e9:.2f}", f"{macs.all / 1e9:.2f}"))
    for line in align(rows, [False, True, True]):
        say("  " + line)


def _print_speed(cfg: "Config", network: "SeqTrack", rounds: int) -> None:
    import torch

    from lib.profile.scene import ProfileScene, Workload
    from lib.profile.stages import stage_rows
    from lib.synthetic.video.dataset import load_synthetic
    from lib.utils.console import align

    workload = Workload(network, cfg, ProfileScene.of(load_synthetic("synthetic-002")))
    say(f"time per stage on {workload.device}, {torch.get_num_threads()} CPU threads")
    with tempfile.TemporaryDirectory() as folder:
        rows = stage_rows(workload, Path(folder), rounds)
    lines = [("templates", "what", "stage", "median ms", "p10", "p90", "n")]
    for row in rows:
        times = (f"{row[key]:.3g}" for key in ("median_ms", "p10_ms", "p90_ms"))
        lines.append((row["situation"], row["what"], row["stage"], *times, str(row["calls"])))
    for line in align(lines, [False] * 3 + [True] * 4):
        say("  " + line)
    totals: dict[tuple[str, str], float] = {}
    for row in rows:
        key = row["situation"], row["what"]
        totals[key] = totals.get(key, 0.0) + row["median_ms"]
    for (situation, what), total in totals.items():
        say(f"  {situation} templates, {what}: {total:.1f} ms, {1e3 / total:.1f} frames/s")
