"""`python scripts/export_onnx.py`: a network as ONNX graphs, compared with PyTorch on video."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from lib.commands._options import (
    Parser,
    add_checkpoint,
    add_dataset,
    add_one_config,
    add_roots,
    count,
    parser,
)
from lib.commands.entry import say
from lib.config.paths import resolve_paths
from lib.config.schema import Config
from lib.datasets.benchmarks.open import open_dataset
from lib.datasets.sequence import Dataset
from lib.tracker.engine.names import PRECISIONS, check_engine
from lib.tracker.registry import make_spec, watching, with_checkpoint
from lib.utils.errors import EXIT_OK, EXIT_PARTIAL, ConfigError, counted
from lib.utils.files import user_path


def build_parser() -> Parser:
    p = parser(
        "export",
        "Write a network as two ONNX graphs, template.onnx and step.onnx, with what else a tracker "
        "needs of it, tracker.json, and compare them with PyTorch on video. SeqTrackONNX tracks "
        "with these files and without PyTorch; `--engine onnx` finds them where they are kept by "
        "default: SEQTRACK_ONNX, else the user's cache.",
        "--config seqtrack_tiny",
        "--config seqtrack_tiny --precision int8 --dataset my_videos/ --max-frames 500",
    )
    what = p.add_argument_group("what is exported")
    add = what.add_argument
    add_one_config(what)
    add_checkpoint(what)
    add(
        "--precision",
        default="fp32",
        metavar="NAME",
        help=f"number format, {' or '.join(PRECISIONS['onnx'])} (default: fp32); int8 changes "
        "some boxes, and the comparison says how much",
    )
    add("--out", metavar="DIR", help="folder in which exported networks are kept")
    how = p.add_argument_group("comparison with PyTorch")
    add_dataset(how, default="synthetic")
    how.add_argument(
        "--max-frames",
        "--frames",
        type=count,
        default=200,
        metavar="N",
        help="frames to compare on (default: 200); 0 compares nothing",
    )
    add_roots(p)
    return p


def main(argv: Sequence[str] | None = None) -> int:
    args = build_parser().parse_args(argv)
    check_engine("onnx", args.precision)
    paths = resolve_paths(args.data_dir, args.save_dir)
    out = user_path(args.out, "--out").absolute() if args.out else None
    spec = make_spec("seqtrack", args.config, args.overrides)
    cfg = spec.config
    if cfg is None:
        raise ConfigError(f"{spec.config_name} has no network to export")
    dataset = open_dataset(args.dataset, paths) if args.max_frames else None
    spec = with_checkpoint(spec, args.checkpoint, paths, spec.update_key)
    # Only now: importing torch takes seconds, and a typo should be answered before that.
    from lib.tracker.build import find_calibration, load_network
    from lib.tracker.engine.onnx import export
    from lib.tracker.engine.runtime import import_runtime
    from lib.tracker.exported import write_tracker

    import_runtime()
    network = load_network(cfg, spec.checkpoint)
    place = export(network, cfg, args.precision, out)
    watched = watching(spec).config or cfg
    settings = write_tracker(place, watched, find_calibration(spec.checkpoint))
    for file in [*sorted(place.glob("*.onnx")), settings]:
        say(f"{file}: {file.stat().st_size / 1e6:.1f} MB")
    if dataset is None:
        return EXIT_OK
    facts = compare(network, cfg, place, dataset, args.max_frames)
    _tell(facts, args, cfg)
    return EXIT_OK if facts["equal"] or args.precision != "fp32" else EXIT_PARTIAL


def compare(
    network: Any, cfg: Config, place: Path, dataset: Dataset, frames: int
) -> dict[str, Any]:
    """Track with PyTorch and let the exported network answer to the same crops.

    Raises:
        DataError: a frame cannot be read.
    """
    from lib.tracker.agreement import SideBySide
    from lib.tracker.engine.build import build_engine
    from lib.tracker.engine.runtime import OnnxEngine
    from lib.tracker.seqtrack import SeqTrackTracker

    exported = OnnxEngine(place)
    both = SideBySide(build_engine("torch", network, cfg), exported, cfg.test.search_size)
    tracker = SeqTrackTracker(both, cfg, dataset.update_key)
    left = frames
    with tqdm(total=left, unit="frame", disable=None, leave=False) as bar:
        for name in dataset.sequence_names:
            sequence = dataset.load(name)
            # A part of each, so that not one clip speaks for all.
            some = min(len(sequence) - 1, -(-frames // len(dataset)), left)
            tracker.initialize(sequence.frames.read(0), {"init_bbox": sequence.init_box})
            for number in range(1, some + 1):
                tracker.track(sequence.frames.read(number))
                bar.update()
            left -= some
    return both.facts()


def _tell(facts: dict[str, Any], args: argparse.Namespace, cfg: Config) -> None:
    equal = facts["tokens"] - facts["wrong"] - facts["ties"]
    say(
        f"{counted(facts['frames'], 'frame')} of {args.dataset} beside PyTorch: {equal} of "
        f"{facts['tokens']} tokens equal, {facts['ties']} ties, {facts['wrong']} different"
    )
    say(
        f"boxes in pixels of the {cfg.test.search_size}-pixel search crop: median "
        f"{facts['box_px_median']:.3f}, 99 % within {facts['box_px_99']:.3f}, largest "
        f"{facts['box_px_max']:.3f}; within 1 pixel in {100 * facts['within_1px']:.1f} % of frames"
    )
