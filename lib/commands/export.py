"""`python scripts/export_onnx.py`: a network as two graphs, compared with PyTorch on video."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
from lib.tracker.engine.names import FORMATS, check_format
from lib.tracker.registry import make_spec, watching, with_checkpoint
from lib.utils.errors import EXIT_OK, EXIT_PARTIAL, ConfigError, counted
from lib.utils.files import user_path

if TYPE_CHECKING:
    from lib.tracker.engine.api import Engine


def build_parser() -> Parser:
    p = parser(
        "export",
        "Write a network as two graphs, template and step, and tracker.json, which has what else "
        "a tracker needs; read them again, and compare them with PyTorch on video. `--engine onnx` "
        "and, without PyTorch, seqtrack.onnx.SeqTrackONNX track with the ONNX files "
        "(docs/onnx.md).",
        "--config seqtrack_tiny",
        "--config seqtrack_tiny --precision int8 --dataset my_videos/ --max-frames 500",
        "--config seqtrack_tiny --format openvino --precision fp16",
    )
    what = p.add_argument_group("what is exported")
    add = what.add_argument
    add_one_config(what)
    add_checkpoint(what)
    add("--format", default="onnx", choices=FORMATS, help="file format (default: onnx)")
    add(
        "--precision",
        default="fp32",
        metavar="NAME",
        help="number format (default: fp32), for "
        + "; ".join(f"{name}: {', '.join(known)}" for name, known in FORMATS.items())
        + ". All but fp32 change some boxes, and the comparison says how much",
    )
    add(
        "--out",
        metavar="DIR",
        help="folder for the folders of exported networks (default: SEQTRACK_ONNX, else "
        "~/.cache/seqtrack/onnx, where --engine onnx looks)",
    )
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
    check_format(args.format, args.precision)
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
    from lib.tracker.exported import write_tracker

    _import_packages(args.format)
    network = load_network(cfg, spec.checkpoint)
    place, exported = _write(network, cfg, args, out)
    watched = watching(spec).config or cfg
    settings = write_tracker(place, watched, find_calibration(spec.checkpoint))
    for file in [*_files(place, args.format), settings]:
        say(f"{file}: {file.stat().st_size / 1e6:.1f} MB")
    if dataset is None:
        return EXIT_OK
    facts = compare(network, cfg, exported, dataset, args.max_frames)
    _tell(facts, args, cfg)
    return EXIT_OK if facts["equal"] or args.precision != "fp32" else EXIT_PARTIAL


def _import_packages(form: str) -> None:
    """Raise MissingExtraError now, not after minutes of work."""
    if form == "onnx":
        from lib.tracker.engine.onnx import import_onnx
        from lib.tracker.engine.runtime import import_runtime

        import_onnx()
        import_runtime()
    elif form == "openvino":
        from lib.tracker.engine.formats import import_openvino

        import_openvino()


def _write(
    network: Any, cfg: Config, args: argparse.Namespace, out: Path | None
) -> tuple[Path, "Engine"]:
    """The folder of the graphs, and the engine that has read them again."""
    if args.format == "onnx":
        from lib.tracker.engine.onnx import export
        from lib.tracker.engine.runtime import OnnxEngine

        place = export(network, cfg, args.precision, out)
        return place, OnnxEngine(place)
    from lib.tracker.engine.formats import FormatEngine, write_format

    place = write_format(args.format, network, cfg, args.precision, out)
    return place, FormatEngine(args.format, place, network, cfg)


def _files(place: Path, form: str) -> list[Path]:
    from lib.tracker.engine.formats import SUFFIX

    suffixes = {SUFFIX.get(form, ".onnx"), ".bin" if form == "openvino" else ""}
    return sorted(one for one in place.iterdir() if one.suffix in suffixes - {""})


def compare(
    network: Any, cfg: Config, exported: "Engine", dataset: Dataset, frames: int
) -> dict[str, Any]:
    """Track with PyTorch and let the exported network answer to the same crops.

    Raises:
        DataError: a frame cannot be read.
    """
    from lib.tracker.agreement import SideBySide
    from lib.tracker.engine.build import build_engine
    from lib.tracker.seqtrack import SeqTrackTracker

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
