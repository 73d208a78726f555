"""`seqtrack calibrate`: fit how sure a network's boxes are, from 0 to 1, on videos with truth."""

from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from lib import __version__
from lib.commands._options import (
    Parser,
    add_checkpoint,
    add_datasets,
    add_device,
    add_one_config,
    add_roots,
    parser,
    positive,
)
from lib.commands.entry import say
from lib.config.paths import resolve_paths
from lib.datasets.benchmarks.open import open_dataset
from lib.datasets.sequence import Dataset
from lib.tracker.registry import make_spec, with_checkpoint
from lib.tracker.spec import TrackerSpec
from lib.utils.errors import EXIT_OK, ConfigError, counted
from lib.utils.files import sha256_of, user_path

if TYPE_CHECKING:
    from lib.evaluation.calibration import Observed
    from lib.tracker.calibration import Calibration


def build_parser() -> Parser:
    p = parser(
        "calibrate",
        "Track videos with ground truth and fit the certainty of a network's boxes on them: the "
        "probability that a box overlaps the target by half or more. It is written beside the "
        "weights, where every tracker finds it. Take videos that nothing is measured on.",
        "--config seqtrack_tiny --dataset synthetic_calibration",
        "--config seqtrack_b256 --dataset synthetic_calibration my_videos/ --max-sequences 40",
    )
    what = p.add_argument_group("what is calibrated")
    add_one_config(what)
    add_checkpoint(what)
    add_device(what)
    on = p.add_argument_group("on what")
    add_datasets(on)
    on.add_argument(
        "--max-sequences", type=positive, metavar="N", help="take N sequences of each, evenly"
    )
    p.add_argument_group("what is written").add_argument(
        "--out",
        metavar="FILE",
        help="the calibration (default: <weights>.calibration.json beside the weights)",
    )
    add_roots(p)
    return p


def main(argv: Sequence[str] | None = None) -> int:
    args = build_parser().parse_args(argv)
    paths = resolve_paths(args.data_dir, args.save_dir)
    spec = make_spec("seqtrack", args.config, args.overrides)
    datasets = [open_dataset(name, paths) for name in args.dataset]
    spec = with_checkpoint(spec, args.checkpoint, paths, spec.update_key)
    if spec.checkpoint is None:
        raise ConfigError("untrained weights cannot be calibrated; name others with --checkpoint")
    # Only now: importing torch takes seconds, and a typo should be answered before that.
    from lib.tracker.calibration import calibration_path

    out = user_path(args.out, "--out") if args.out else calibration_path(spec.checkpoint)
    calibrate(spec, datasets, args.max_sequences, args.device, out)
    return EXIT_OK


def calibrate(
    spec: TrackerSpec, datasets: Sequence[Dataset], most: int | None, device: str, out: Path
) -> None:
    """Fit on at most so many sequences of each data set, say how good it is, and write it.

    Raises:
        DataError: there is too little to fit on.
    """
    if spec.checkpoint is None:
        raise ConfigError("untrained weights cannot be calibrated; name others with --checkpoint")
    seen = _observe(spec, datasets, most, device)
    record = {
        "config": spec.config_name,
        "datasets": {one.name: _chosen(one, most) for one in datasets},
        "date": datetime.now(timezone.utc).date().isoformat(),
        "version": __version__,
        "weights_sha256": sha256_of(spec.checkpoint),
    }
    _fit(seen, record, out)


def _chosen(dataset: Dataset, most: int | None) -> list[str]:
    names = list(dataset.sequence_names)
    if most is None or most >= len(names):
        return names
    return [names[i * len(names) // most] for i in range(most)]


def _observe(
    spec: TrackerSpec, datasets: Sequence[Dataset], most: int | None, device: str
) -> "list[Observed]":
    """What was seen of every video.

    They are tracked once to learn which frames are sure, and once more knowing that: what the
    target looks like in sure frames is evidence.

    Raises:
        DataError: there is too little to fit on.
    """
    from lib.evaluation.calibration import balanced, fit, observe
    from lib.tracker.build import load_network
    from lib.tracker.certainty import Witness
    from lib.tracker.seqtrack import SeqTrackTracker
    from lib.tracker.settings import as_published
    from lib.utils.device import resolve_device

    if spec.config is None:
        raise ConfigError(f"{spec.config_name} has no network to calibrate")
    network = load_network(spec.config, spec.checkpoint, resolve_device(device))
    # Neither a state nor a gate decides what is seen.
    cfg = as_published(spec.config)
    work = [[(one, name) for name in _chosen(one, most)] for one in datasets]
    with tqdm(total=2 * sum(map(len, work)), unit="sequence", disable=None) as bar:

        def seen(known: "Calibration | None") -> "list[Observed]":
            tracker = SeqTrackTracker(network, cfg, calibration=known)
            tracker.engine.keep_distributions = True
            witness = Witness(tracker.settings, known)

            def follow(dataset: Dataset, name: str) -> "Observed":
                found = observe(tracker, witness, dataset.load(name))
                bar.update()
                return found

            return balanced([[follow(*one) for one in videos] for videos in work])

        return seen(fit(seen(None)))


def _fit(seen: "list[Observed]", record: dict[str, Any], out: Path) -> None:
    """Fit, say how good it is on videos it was not fitted on, and write it.

    Raises:
        DataError: there is too little to fit on.
    """
    from lib.analysis.reliability import average_precision, calibration_error
    from lib.evaluation.calibration import fit, held_out, pooled

    good, outside = pooled(seen).good, held_out(seen)
    found = {
        "frames": len(good),
        "share_good": round(float(good.mean()), 4),
        "calibration_error": round(calibration_error(outside, good), 4),
        "average_precision_of_bad": round(average_precision(-outside, ~good), 4),
    }
    fit(seen, record | found).save(out)
    say(
        f"{counted(len(seen), 'video')}, {counted(len(good), 'frame')}, "
        f"{100 * found['share_good']:.1f} % of the boxes good; on videos left out of the fit the "
        f"certainty is off by {100 * found['calibration_error']:.1f} points on average, and finds "
        f"bad boxes with an average precision of {found['average_precision_of_bad']:.2f} (chance "
        f"{1 - found['share_good']:.2f})"
    )
    say(f"written: {out}")
