"""`seqtrack bench`: how fast, beside the published method, in one run."""

import argparse
import contextlib
import io
import itertools
import json
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from lib.commands._options import (
    Parser,
    Several,
    add_checkpoint,
    add_config,
    add_cpu_threads,
    add_device,
    add_overrides,
    add_roots,
    count,
    parser,
    positive,
)
from lib.commands.entry import say
from lib.config.paths import Paths, resolve_paths
from lib.config.schema import Config
from lib.tracker.engine.names import ENGINE_NAMES, PRECISIONS, check_engine
from lib.tracker.registry import RANDOM_CHECKPOINT, make_spec, with_checkpoint
from lib.tracker.spec import TrackerSpec
from lib.utils.errors import (
    EXIT_OK,
    EXIT_PARTIAL,
    CheckpointError,
    ConfigError,
    SeqTrackError,
    counted,
)
from lib.utils.files import atomic_write_text, check_writable, user_path

PARTS = ("track", "evaluate", "targets", "train", "data")
_DEFAULT_CONFIG = {"evaluate": "seqtrack_tiny", "targets": "seqtrack_tiny"}


def build_parser() -> Parser:
    p = parser(
        "bench",
        "Measure beside the reference engine, the method as published, in turns. track: one frame; "
        "evaluate: whole sequences from JPEG files; targets: many targets in one pass beside a run "
        "for each; train: steps; data: the loader's samples.",
        "track --config seqtrack_b256 --stages",
        "evaluate --engine torch,onnx --batch-size 8,16 --workers 2",
        "train --precision fp32,bf16",
    )
    p.add_argument("part", choices=PARTS, help="what is measured")
    _add_what(p)
    _add_sweeps(p)
    how = p.add_argument_group("how")
    add_device(how)
    add_cpu_threads(how)
    add = how.add_argument
    add(
        "--rounds",
        type=positive,
        metavar="N",
        help="calls of each alternative (default: track 20, evaluate and targets 3, train 10)",
    )
    add(
        "--seconds",
        type=positive,
        default=120,
        metavar="N",
        help="track, train: seconds that each situation takes, about (default: 120)",
    )
    add("--json", metavar="FILE", help="write the record there")
    add_roots(p)
    return p


def _add_what(p: Parser) -> None:
    what = p.add_argument_group("what is measured")
    text = "configuration (default: seqtrack_b256; evaluate, targets: seqtrack_tiny)"
    add_config(what, required=False, help=text)
    add_overrides(what)
    add_checkpoint(what)
    add = what.add_argument
    add(
        "--sequence",
        metavar="FOLDER",
        help="track: folder of a sequence (default: a generated one)",
    )
    add(
        "--sequences",
        type=positive,
        default=48,
        metavar="N",
        help="evaluate: number of sequences (default: 48)",
    )
    add(
        "--max-frames",
        "--frames",
        type=positive,
        default=110,
        metavar="N",
        help="evaluate, targets: frames of each sequence, up to 110 (default: 110)",
    )
    add(
        "--frame-size",
        type=_size,
        default=(1280, 720),
        metavar="WxH",
        help="targets: width and height of the clip's pictures (default: 1280x720)",
    )
    add("--stages", action="store_true", help="track: measure the stages of a frame as well")


def _size(word: str) -> tuple[int, int]:
    width, _, height = word.partition("x")
    if not (width.isdecimal() and height.isdecimal() and int(width) and int(height)):
        raise argparse.ArgumentTypeError(f"{word!r} is no width and height such as 1920x1080")
    return int(width), int(height)


def _add_sweeps(p: Parser) -> None:
    add = p.add_argument_group("sweeps, each over one value or several").add_argument
    add(
        "--engine",
        action=Several,
        more=lambda word: word in ENGINE_NAMES,
        metavar="NAME",
        help=f"engines beside the reference: {', '.join(ENGINE_NAMES[:2])} (default: torch)",
    )
    add(
        "--precision",
        action=Several,
        more=lambda word: word in {one for names in PRECISIONS.values() for one in names},
        metavar="NAME",
        help="track, train: number formats, of fp32, bf16, fp16 and int8",
    )
    add(
        "--batch-size",
        "--batch",
        action=Several,
        more=str.isdecimal,
        type=positive,
        metavar="N",
        dest="batch",
        help="targets (track: 1, targets: 16), sequences (evaluate: 8) or samples (train) at a "
        "time",
    )
    add(
        "--workers",
        "--threads",
        action=Several,
        more=str.isdecimal,
        type=count,
        metavar="N",
        help="evaluate: processes of our side (default: 0, the command's own)",
    )


def main(argv: Sequence[str] | None = None) -> int:
    args = build_parser().parse_args(argv)
    engines = _engines(args)
    paths = resolve_paths(args.data_dir, args.save_dir)
    spec = make_spec("seqtrack", args.config or _DEFAULT_CONFIG.get(args.part, "seqtrack_b256"),
                     args.overrides)  # fmt: skip
    target = user_path(args.json, "--json").absolute() if args.json else None
    if target is not None:
        check_writable(target.parent)

    import torch

    from benchmarks.machine import machine_record, peak_memory_mib
    from lib.utils.device import resolve_device

    device = resolve_device(args.device)
    if args.cpu_threads:
        torch.set_num_threads(args.cpu_threads)
    torch.backends.cudnn.allow_tf32 = False
    run = {
        "track": _track,
        "evaluate": _evaluate,
        "targets": _targets,
        "train": _train,
        "data": _data,
    }[args.part]
    record = {
        "benchmark": args.part,
        **run(args, engines, spec, paths, device),
        "memory_mib": peak_memory_mib(device),
        "machine": machine_record(device),
    }
    _tell(record)
    if target is not None:
        atomic_write_text(target, json.dumps(record, indent=1) + "\n")
        say(f"record: {target}")
    failed = record.get("tokens_equal") is False or record.get("results_equal") is False
    return EXIT_PARTIAL if failed else EXIT_OK


def _engines(args: argparse.Namespace) -> list[str]:
    """The engines that are asked for, after all names were checked."""
    engines = args.engine or ["torch"]
    for name in engines:
        check_engine(name)
    known = sorted({one for name in engines for one in PRECISIONS[name]})
    for precision in args.precision:
        if precision not in known:
            raise ConfigError(
                f"--precision {precision}: {', '.join(engines)} cannot compute in that; "
                f"choose of {', '.join(known)}"
            )
    if args.precision and args.part in ("evaluate", "data"):
        raise ConfigError(
            f"--precision {args.precision[0]}: {args.part} has none; track and train measure that"
        )
    return engines


def _weights(args: argparse.Namespace, spec: TrackerSpec, paths: Paths) -> TrackerSpec:
    """The specification with its weights; with none if there are none."""
    try:
        found = with_checkpoint(spec, args.checkpoint, paths, spec.update_key)
    except CheckpointError:
        if args.checkpoint not in (None, RANDOM_CHECKPOINT):
            raise
        say(f"no weights of {spec.config_name} are here: seeded random ones are used")
        return spec
    return found


def _config(spec: TrackerSpec) -> Config:
    if spec.config is None:
        raise ConfigError(f"{spec.tracker} has no network to measure")
    return spec.config


def _track(
    args: argparse.Namespace, engines: list[str], spec: TrackerSpec, paths: Paths, device: Any
) -> dict[str, Any]:
    from benchmarks.track import TrackBenchmark, candidates
    from lib.datasets.benchmarks.open import open_dataset
    from lib.profile.scene import ProfileScene, benchmark_network
    from lib.profile.stages import stage_rows
    from lib.synthetic.video.dataset import load_synthetic

    spec = _weights(args, spec, paths)
    cfg = _config(spec)
    if args.sequence:
        folder = user_path(args.sequence, "--sequence").resolve()
        sequence = open_dataset(str(folder), paths).load(folder.name)
    else:
        sequence = load_synthetic("synthetic-002")
    network = benchmark_network(cfg, spec.checkpoint, device)
    bench = TrackBenchmark(network, cfg, ProfileScene.of(sequence), args.rounds or 20, args.seconds)
    wanted = candidates(engines, args.precision or ["fp32"], args.batch or [1])
    record = {**bench.run(wanted), "weights": str(spec.checkpoint or "seeded, random")}
    if args.stages:
        with tempfile.TemporaryDirectory() as folder_name:
            record["rows"] += stage_rows(bench, Path(folder_name), min(bench.rounds, 10))
    return record


def _evaluate(
    args: argparse.Namespace, engines: list[str], spec: TrackerSpec, paths: Paths, device: Any
) -> dict[str, Any]:
    from benchmarks.evaluate import Raced, race

    spec = _weights(args, spec, paths)
    weights = str(spec.checkpoint or RANDOM_CHECKPOINT)
    sides = [Raced("reference", _runner(args, spec, weights, device, "reference", 1, 0))]
    for engine in engines:
        for workers in args.workers or [0]:
            for batch in args.batch or [8]:
                label = f"{engine} x{batch}" + (f", {workers} processes" if workers else "")
                run = _runner(args, spec, weights, device, engine, batch, workers)
                sides.append(Raced(label, run))
    with tempfile.TemporaryDirectory() as folder:
        record = race(
            sides, Path(folder), args.sequences, args.max_frames, args.rounds or 3,
            _factors(spec),
        )  # fmt: skip
    return {"config": spec.config_name, "weights": weights, **record}


def _factors(spec: TrackerSpec) -> tuple[float, ...]:
    """Of the squares that a tracker cuts; with one template, none is cut after the first frame."""
    test = _config(spec).test
    return (test.search_factor, test.template_factor)[: test.num_templates]


def _runner(
    args: argparse.Namespace,
    spec: TrackerSpec,
    weights: str,
    device: Any,
    engine: str,
    batch: int,
    workers: int,
) -> Any:
    """One side of the race: the test command with these settings."""
    import torch

    words = ["--config", args.config or spec.config_name, "--checkpoint", weights]
    words += ["--engine", engine, "--batch-size", str(batch), "--device", str(device)]
    words += ["--float-results", "--workers", str(workers)]
    # Said outright, so that nothing is measured for a choice; processes share the cores.
    words += ["--cpu-threads", str(max(1, torch.get_num_threads() // max(1, workers)))]
    words += [f"--set={one}" for one in args.overrides]

    def evaluate(data: Path, save: Path) -> None:
        _quietly([*words, "--dataset", str(data), "--save-dir", str(save)])

    return evaluate


def _quietly(words: list[str]) -> None:
    """Run the test command without its output; of an error the last line is kept."""
    from lib.commands.test import main as test_main

    output = io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
        try:
            code = test_main(words)
        except SystemExit as ended:
            code = int(ended.code or 0)
    if code != EXIT_OK:
        last = output.getvalue().strip().splitlines()[-1:]
        raise SeqTrackError(f"`test.py {' '.join(words)}` ended with {code}: {' '.join(last)}")


def _targets(
    args: argparse.Namespace, engines: list[str], spec: TrackerSpec, paths: Paths, device: Any
) -> dict[str, Any]:
    import torch

    from benchmarks.targets import targets_record
    from lib.api import Tracker
    from lib.synthetic.video.dataset import load_synthetic
    from lib.synthetic.video.suite import SUITES

    precision = args.precision[0] if args.precision else "fp32"
    chosen = {"engine": engines[0], "precision": precision, "cpu_threads": torch.get_num_threads()}
    spec = replace(_weights(args, spec, paths), **chosen)
    with Tracker(spec, device=str(device)) as tracker:
        names = itertools.cycle([*SUITES["synthetic"], *SUITES["synthetic_hard"]])
        count = args.batch[0] if args.batch else 16
        record = targets_record(
            tracker,
            [load_synthetic(name) for name in itertools.islice(names, count)],
            args.max_frames,
            args.rounds or 3,
            args.seconds,
            _factors(spec),
            args.frame_size,
        )
    weights = str(spec.checkpoint or RANDOM_CHECKPOINT)
    return {"config": spec.config_name, "weights": weights, **record}


def _train(
    args: argparse.Namespace, engines: list[str], spec: TrackerSpec, paths: Paths, device: Any
) -> dict[str, Any]:
    from benchmarks.step import step_record

    batch = args.batch[0] if args.batch else None
    precisions = args.precision or ["fp32", "bf16"]
    return step_record(_config(spec), device, batch, precisions, args.rounds or 10, args.seconds)


def _data(
    args: argparse.Namespace, engines: list[str], spec: TrackerSpec, paths: Paths, device: Any
) -> dict[str, Any]:
    from benchmarks.data import loader_record

    record = loader_record(_config(spec), paths, args.rounds)
    scaled = record["scaled"]
    smaller = 100 * (1 - scaled["frames"][1])
    say(f"DATA.SCALED_DECODE decodes {smaller:.0f} % of the frames smaller; "
        f"their search crops differ by {scaled['mean_levels']} levels in the mean, 99 % of the "
        f"pixels by at most {scaled['p99_levels']}")  # fmt: skip
    return record


def _tell(record: dict[str, Any]) -> None:
    from benchmarks.tables import table

    for line in table(record["rows"]):
        say(line)
    machine = record["machine"]
    hardware = machine.get("gpu") or machine["cpu"]
    say(f"{hardware}, {machine['threads']} threads, load {machine['load_average'][0]}, "
        f"torch {machine['torch']}, memory {record['memory_mib']} MiB")  # fmt: skip
    if record.get("weights", "").startswith(("seeded", RANDOM_CHECKPOINT)):
        say("weights: seeded random ones; speed does not depend on them, boxes mean nothing")
    if record.get("ratio_is_void"):
        share = 100 * record["reference_share_of_peak"]
        say(f"void: the reference reached {share:.0f} % of the matrix peak, 50 % are needed; "
            "is the machine busy?")  # fmt: skip
    ratio = record.get("ratio_to_reference")
    if ratio is not None:
        of = f" ({record['quickest']})" if "quickest" in record else ""
        say(f"ratio to the reference: {ratio:.2f}{of}")
    if record.get("tokens_equal") is not None:
        say(f"tokens equal: {'yes' if record['tokens_equal'] else 'NO'}")
    if record.get("results_equal") is not None:
        ties = sum(len(row.get("ties", ())) for row in [record, *record["rows"]])
        after = f", up to ties of rounding in {counted(ties, 'sequence')}" if ties else ""
        say(f"results equal: {'yes' if record['results_equal'] else 'NO'}{after}")
