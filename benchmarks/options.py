"""What the options of a modern recipe are worth in a small network, each by itself.

    python benchmarks/options.py --out runs/options                    # about an hour on two cores
    python benchmarks/options.py --out runs/options --only history     # one option, and the base
    python benchmarks/options.py --out runs/options --steps 3000 --sequences 60

The base is `seqtrack_scratch` without the embedding of the template's box. Every variant is trained
with one option more, on the same generated pairs, with the same steps and seed, and tracks the same
generated sequences: of the test split, of seeds that no suite has and nothing was chosen by. AUC is
OTB's; differences to the base are paired over sequences, with 95 % bootstrap intervals. They hold
for these weights: another seed of the training gives others (`--seed`).

Each variant has a folder in --out. What is there is not done again, a training goes on where it
was, and --out of other settings is refused.
"""

import argparse
import json
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.update_rules import track
from lib.analysis.statistics import paired_bootstrap
from lib.commands.entry import run, say
from lib.config.paths import resolve_paths
from lib.synthetic.video.dataset import synthetic_sequence
from lib.tracker.registry import make_spec, with_checkpoint
from lib.utils.console import headed
from lib.utils.errors import EXIT_OK, ConfigError, SeqTrackError, did_you_mean
from lib.utils.files import atomic_write_text
from lib.utils.json_text import parse_json

CONFIG, BASE = "seqtrack_scratch", "base"
# Name of a variant -> what it sets beside the base; a new option is a row here.
VARIANTS: dict[str, tuple[str, ...]] = {
    BASE: (),
    "type embedding": ("MODEL.ENCODER.TYPE_EMBEDDING=true",),
    "box embedding": ("MODEL.TEMPLATE_BOX=true",),
    "causal templates": ("MODEL.ENCODER.CAUSAL_TEMPLATES=true",),
    "history": ("MODEL.HISTORY=4",),
    "distillation": ("TRAIN.TEACHER.CONFIG=seqtrack_tiny",),
    "distillation with features": (
        "TRAIN.TEACHER.CONFIG=seqtrack_tiny",
        "TRAIN.TEACHER.FEATURE_WEIGHT=0.5",
    ),
}
_EPOCHS, _FIRST_SEED = 2, 70001


def settings(name: str, args: argparse.Namespace) -> list[str]:
    """What a variant sets in `seqtrack_scratch`."""
    return [
        "MODEL.TEMPLATE_BOX=false",
        f"TRAIN.BATCH_SIZE={args.batch}",
        f"TRAIN.EPOCH={_EPOCHS}",
        f"TRAIN.VAL_EPOCH_INTERVAL={_EPOCHS}",
        "TRAIN.NUM_WORKER=0",
        f"DATA.TRAIN.SAMPLE_PER_EPOCH={max(1, args.steps // _EPOCHS) * args.batch}",
        "DATA.VAL.DATASETS_NAME=[]",
        "DATA.VAL.DATASETS_RATIO=[]",
        *VARIANTS[name],
        *args.set,
    ]


def measured(name: str, args: argparse.Namespace) -> dict[str, float]:
    """AUC of a variant on every sequence, in percent; trained and tracked if that was not done.

    Raises:
        SeqTrackError: the training failed, or the folder is of other settings.
    """
    from lib.tracker.build import build_tracker

    folder = args.out / name.replace(" ", "_")
    chosen, record = settings(name, args), folder / "scores.json"
    facts = {"settings": chosen, "seed": args.seed, "length": args.length}
    known = parse_json(record.read_text(encoding="utf-8")) if record.is_file() else facts
    if any(known[key] != value for key, value in facts.items()):
        raise ConfigError(f"{record} is of other settings; give another --out, or remove it")
    scores = dict(known.get("auc", {}))
    names = [f"options-{_FIRST_SEED + i}" for i in range(args.sequences)]
    if missing := [one for one in names if one not in scores]:
        words = ["--config", CONFIG, "--save-dir", str(folder), "--seed", str(args.seed)]
        if run("lib.commands.train", [*words, "--device", "cpu", "--set", *chosen]) != EXIT_OK:
            raise SeqTrackError(f"the training of {name!r} failed; its log is in {folder}")
        paths = resolve_paths(None, folder)
        spec = make_spec("seqtrack", CONFIG, chosen)
        tracker = build_tracker(with_checkpoint(spec, None, paths, "DEFAULT"))
        for one in missing:
            seed = int(one.rpartition("-")[2])
            video = synthetic_sequence(seed, args.length, split="test", name=one)
            scores[one], _ = track(tracker, video)
        atomic_write_text(record, json.dumps({**facts, "auc": scores}, indent=1) + "\n")
    return {one: scores[one] for one in names}


def table(found: Mapping[str, Mapping[str, float]]) -> str:
    """Mean AUC of every variant, and its paired difference to the base."""
    base = np.array(list(found[BASE].values()))
    rows = []
    for name, scores in found.items():
        values, difference = np.array([scores[one] for one in found[BASE]]), ""
        if name != BASE:
            test = paired_bootstrap(values, base)
            low, high = test.interval.low, test.interval.high
            difference = f"{test.difference:+.1f} [{low:+.1f}, {high:+.1f}]"
        rows.append((name, f"{values.mean():.1f}", difference))
    titles = ("option", f"AUC, {len(base)} sequences", "less base [95 %]")
    return headed(titles, rows)


def main(argv: Sequence[str] | None = None) -> int:
    """Train, track, print the table; returns the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add = parser.add_argument
    add("--out", type=Path, required=True, help="where a folder of each variant is kept")
    add("--only", action="append", default=[], metavar="NAME", help=", ".join(VARIANTS))
    add("--steps", type=int, default=1500, help="of each training (default: 1500)")
    add("--batch", type=int, default=16, help="samples of a step (default: 16)")
    add("--sequences", type=int, default=40, help="to track (default: 40)")
    add("--length", type=int, default=80, help="frames of a sequence (default: 80)")
    add("--seed", type=int, default=0, help="of the trainings (default: 0)")
    add("--set", action="append", default=[], metavar="KEY=VALUE", help="of all variants")
    _run(parser.parse_args(argv))
    return EXIT_OK


def _run(args: argparse.Namespace) -> None:
    for name in args.only:
        if name not in VARIANTS:
            hint = did_you_mean(name, VARIANTS)
            raise ConfigError(f"--only {name!r} is no option{hint}; choose {', '.join(VARIANTS)}")
    found = {}
    for name in VARIANTS:
        if name == BASE or not args.only or name in args.only:
            began = time.perf_counter()
            found[name] = measured(name, args)
            minutes = (time.perf_counter() - began) / 60
            mean = np.mean(list(found[name].values()))
            print(f"{name}: AUC {mean:.1f}, {minutes:.1f} minutes", file=sys.stderr, flush=True)
    say(table(found))


if __name__ == "__main__":
    sys.exit(run("benchmarks.options"))
