"""`seqtrack train --finetune`: weights that exist, on clips of one's own, and what that gave."""

import argparse
import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lib import __version__
from lib.analysis.compare import TrackerResults, compare
from lib.analysis.findings import work_out
from lib.commands._options import Parser
from lib.commands._own_clips import OwnClips, prepare
from lib.commands.calibrate import calibrate
from lib.commands.entry import say
from lib.config.loader import list_configs, load_config
from lib.config.paths import Paths
from lib.config.schema import Config
from lib.datasets.benchmarks.folder import open_folder
from lib.datasets.benchmarks.open import open_dataset
from lib.datasets.sequence import Dataset
from lib.report.build import Part, build_report
from lib.results.files import ResultsFolder, RunRecord, hash_data
from lib.tracker.spec import TrackerSpec
from lib.utils.advice import advice
from lib.utils.errors import ConfigError, DataError, counted
from lib.utils.files import atomic_write_text, sha256_of, user_path

_CONFIG = "seqtrack_tiny"
_RECORD, _PAGE = "finetune.json", "finetune.html"
_HELD_OUT = 0.25
# Generated pairs among the samples, so that the network does not forget other targets.
_GENERATED = 0.25
# Of the user's kind and of the generated one; few, for a calibration has few numbers.
_CALIBRATED_ON = "synthetic_calibration"
_CALIBRATION_SEQUENCES = 12
_TOGETHER = 8
# Of all held-out clips together, tracked after each epoch: some ten seconds on a CPU.
_JUDGED_FRAMES, _MOST_JUDGED_CLIPS = 1000, 20


def add_finetuning(p: Parser) -> None:
    """The options of fine-tuning."""
    add = p.add_argument_group("fine-tuning on one's own clips").add_argument
    add(
        "--finetune",
        action="store_true",
        help=f"go on from the weights of --config (default: {_CONFIG}), or of --init-from",
    )
    add(
        "--data",
        action="append",
        default=[],
        metavar="PATH",
        help="a folder of sequences, of videos with boxes called alike, or in MOTChallenge's "
        "layout; or a file of boxes (CSV, JSON, MOT, COCO, CVAT); may be repeated",
    )
    add(
        "--video",
        action="append",
        default=[],
        metavar="CLIP",
        help="the video or folder of images that the boxes of --data FILE are of (default: what is "
        "called like the file); may be repeated, in the same order",
    )
    add("--preset", metavar="NAME", help="what trains: full, lora, frozen (default: by the size "
        "of the network)")  # fmt: skip
    add("--name", metavar="NAME", help="folder of the new weights (default: of config and data)")
    add(
        "--held-out",
        type=_share,
        metavar="SHARE",
        help=f"share of the clips to measure on, of a single one its end (default: {_HELD_OUT})",
    )


def _share(text: str) -> float:
    """An argument that is a share of the clips."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no share between 0 and 1, such as 0.25")
    return value


@dataclass(frozen=True, eq=False)
class FineTuning:
    """What is to be trained, and from what.

    Attributes:
        base: the configuration as it was named.
        cfg: the same with the preset and the clips in it.
        start: the weights to start from.
        own: the clips.
        paths: of the outputs.
    """

    base: str
    cfg: Config
    start: Path
    own: OwnClips
    paths: Paths

    @property
    def folder(self) -> Path:
        """Of the new weights."""
        return self.paths.checkpoint_dir(self.cfg.name)

    def concluded(self) -> str | None:
        """What the same fine-tuning gave, if it is done; None if there is work to do."""
        try:
            record = json.loads((self.folder / _RECORD).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return record["result"] if record["of"] == self._identity() else None

    def conclude(self, device: str) -> None:
        """Compare old and new weights on what is held out, keep the better ones, and report.

        Raises:
            SeqTrackError: the clips cannot be tracked.
        """
        from lib.models.weights import FINAL_NAMES

        final, dataset = self.folder / FINAL_NAMES[0], open_folder(self.own.held_out)
        pairs = (("after", final), ("before", self.start))
        trackers = [_track(*pair, self.cfg, dataset, self.paths, device) for pair in pairs]
        findings = work_out(compare(dataset, trackers, skip_missing=True))
        page = self.folder / _PAGE
        title = f"{self.cfg.name}: before and after fine-tuning"
        built = build_report(title, [Part(dataset, trackers, findings)], page.parent)
        atomic_write_text(page, built.page)
        metric, test = findings.metrics[0], findings.differences["before"].test
        scores = {
            label: score.total.percentages()[metric]
            for label, score in findings.comparison.scores.items()
        }
        result = _in_words(metric, scores, test, test.sequences)
        better = test.difference > 0
        if better:
            self._calibrate(final, dataset, device)
        else:
            result += f"; no gain, so {final} holds the weights of before"
            _take_back(self.start, final)
        record = {
            "result": f"{result}; the weights are {final}",
            "metric": metric,
            **scores,
            "difference": test.difference,
            "interval": [test.interval.low, test.interval.high] if test.interval.known else None,
            "clips": list(dataset.sequence_names),
            "split": self.own.split,
            "of": self._identity(),
        }
        atomic_write_text(self.folder / _RECORD, json.dumps(record, indent=1) + "\n")
        say(result)
        say(f"report: {page}")
        use = ("--config", self.base, "--checkpoint", str(final))
        say(f"to track with them: {advice('track', 'CLIP', *use)}")

    def _identity(self) -> dict[str, Any]:
        """Tells this fine-tuning from another one."""
        return {
            "config": self.cfg.model_dump(by_alias=True, mode="json"),
            "start": sha256_of(self.start),
        }

    def _calibrate(self, final: Path, dataset: Dataset, device: str) -> None:
        """Fit the certainty of the new weights, where the old ones had one."""
        from lib.tracker.calibration import calibration_path

        if not calibration_path(self.start).is_file():
            return
        say("calibrating: how sure a box is, for the new weights")
        spec = TrackerSpec("seqtrack", self.cfg.name, self.cfg, final)
        sets = [dataset, open_dataset(_CALIBRATED_ON, self.paths)]
        try:
            calibrate(spec, sets, _CALIBRATION_SEQUENCES, device, calibration_path(final))
        except DataError as error:
            say(f"warning: no calibration of the new weights: {error}", True)


def plan_finetuning(
    args: argparse.Namespace, overrides: Sequence[str], paths: Paths
) -> FineTuning | None:
    """What the arguments ask for, the clips made ready; None without `--finetune`.

    Raises:
        SeqTrackError: something cannot be read, or does not go together.
    """
    if not args.finetune:
        for option in ("data", "video", "preset", "name", "held_out"):
            if getattr(args, option):
                raise ConfigError(f"--{option.replace('_', '-')} is for --finetune")
        if args.config is None:
            raise ConfigError("--config NAME is needed: what is to be trained?")
        return None
    if not args.data:
        raise ConfigError("--finetune needs --data PATH: which clips are to be trained on?")
    name = args.config or _CONFIG
    base = load_config(name)
    # Only now: importing torch takes seconds, and a typo should be answered before that.
    from lib.models.weights import find_checkpoint
    from lib.train.memory import expected_memory
    from lib.train.presets import default_preset, describe_preset, preset_settings
    from lib.utils.checkpoint import read_state_dict
    from lib.utils.device import computes_bf16, resolve_device

    given = user_path(args.init_from, "--init-from") if args.init_from else None
    start = find_checkpoint(base.name, paths.checkpoint_dirs(base.name), given)
    preset = args.preset or default_preset(sum(x.numel() for x in read_state_dict(start).values()))
    settings = preset_settings(preset, base)
    data = [user_path(text, "--data") for text in args.data]
    videos = [user_path(text, "--video") for text in args.video]
    new_name = check_name(args.name or f"{base.name}_{_plain(data[0])}")
    root = paths.save_dir / "cache" / "finetune" / new_name
    own = prepare(data, videos, args.held_out or _HELD_OUT, root)
    settings += _data_settings(own, base.data.search.center_jitter)
    if base.train.precision == "bf16" and not computes_bf16(resolve_device(args.device)):
        settings.append("TRAIN.PRECISION=fp32")  # bf16 would be emulated
    cfg = load_config(name, [*settings, *overrides], training=True).named(new_name)
    if "RANK" not in os.environ:
        say(own.split)
        reach = cfg.data.search.center_jitter / 2
        say(f"search regions are off by up to {reach:.2f} of a target's size "
            f"(DATA.SEARCH.CENTER_JITTER={2 * reach:g})")  # fmt: skip
        say(f"preset {describe_preset(preset)}")
        say(str(expected_memory(cfg)))
    return FineTuning(name, cfg, start, own, paths)


def _data_settings(own: OwnClips, jitter: float) -> list[str]:
    """Settings of the samples, and of what judges an epoch: how the held-out clips are tracked.

    By the loss alone, boxes may fit better and yet targets be lost more often.

    Args:
        own: the clips.
        jitter: the configuration's DATA.SEARCH.CENTER_JITTER.

    Raises:
        DataError: an annotation cannot be read.
    """
    from lib.train.data.motion import fitting_jitter

    train, held_out = json.dumps(str(own.train)), json.dumps(str(own.held_out))
    number = min(len(open_folder(own.held_out)), _MOST_JUDGED_CLIPS)
    return [
        f"DATA.SEARCH.CENTER_JITTER={fitting_jitter(open_folder(own.train), jitter):.2f}",
        f"DATA.TRAIN.DATASETS_NAME=[{train}, SYNTHETIC]",
        f"DATA.TRAIN.DATASETS_RATIO=[{1 - _GENERATED}, {_GENERATED}]",
        f"DATA.VAL.DATASETS_NAME=[{held_out}]",
        "DATA.VAL.DATASETS_RATIO=[1]",
        f"DATA.VAL.SEQUENCES_NAME={held_out}",
        f"DATA.VAL.SEQUENCES_NUMBER={number}",
        f"DATA.VAL.SEQUENCES_FRAMES={_JUDGED_FRAMES // number}",
    ]


def check_name(name: str) -> str:
    """A name for new weights: a folder of its own, below those of the checkpoints and the cache.

    Raises:
        ConfigError: it is none, or that of weights that are to be kept.
    """
    if not re.fullmatch(r"[\w-][\w.-]*", name):
        raise ConfigError(f"--name {name!r} is no plain name of a folder, such as seqtrack_cells")
    if name in list_configs():
        raise ConfigError(
            f"--name {name} is a configuration with weights of its own; choose another"
        )
    return name


def _plain(path: Path) -> str:
    """What to call the data of a file or folder."""
    name = path.parents[1].name if path.parts[-2:] == ("gt", "gt.txt") else path.stem
    return re.sub(r"[^\w.-]+", "_", name or path.resolve().name)


def _track(
    label: str, checkpoint: Path, cfg: Config, dataset: Dataset, paths: Paths, device: str
) -> TrackerResults:
    """Track the sequences of a data set anew."""
    from lib.evaluation.plan import Job, RunOptions
    from lib.evaluation.run import evaluate
    from lib.utils.device import resolve_device

    name = f"{cfg.name}_{label}"
    spec = TrackerSpec("seqtrack", name, cfg, checkpoint, dataset.update_key)
    folder = paths.dataset_results_dir(spec.tracker, name, dataset.results_folder)
    record = RunRecord(
        tracker=spec.tracker,
        config_name=name,
        settings=spec.settings,
        checkpoint_sha256=sha256_of(checkpoint),
        dataset=dataset.name,
        source=dataset.source,
        float_results=True,
        data_sha256=hash_data(dataset, False),
        version=__version__,
    )
    options = RunOptions(as_float=True, overwrite=True, batch_size=min(_TOGETHER, len(dataset)))
    say(f"tracking what is held out with the weights of {label}")
    job = Job(dataset, list(dataset.sequence_names), spec, ResultsFolder(folder), record, options)
    summary = evaluate(job, [str(resolve_device(device))])
    for clip, reason in summary.failed.items():
        say(f"warning: {clip} is left out: {reason}", True)
    return TrackerResults(label, folder)


def _in_words(metric: str, scores: dict[str, float], test: Any, clips: int) -> str:
    interval = test.interval
    spread = f" [{interval.low:.1f}, {interval.high:.1f}]" if interval.known else ""
    certain = "" if interval.known else "; a single one says nothing of others"
    if interval.known and interval.low <= 0 <= interval.high:
        certain = "; that may be chance"
    return (
        f"held out: {metric} {scores['before']:.1f} before, {scores['after']:.1f} after "
        f"({test.difference:+.1f}{spread}, {counted(clips, 'clip')}{certain})"
    )


def _take_back(start: Path, final: Path) -> None:
    """Put the weights of before in the place of new ones."""
    from lib.utils.checkpoint import read_state_dict, save_checkpoint

    save_checkpoint(final, {"epoch": 0, "net_type": "SEQTRACK", "net": read_state_dict(start)})
