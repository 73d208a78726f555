"""`seqtrack data pack`: a training set in a few large files instead of millions."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from lib.commands._options import (
    Parser,
    add_config,
    add_overrides,
    add_roots,
    count,
    parser,
    positive,
)
from lib.commands.entry import keeps, say
from lib.config.loader import load_config
from lib.config.paths import Paths, resolve_paths
from lib.datasets.benchmarks.open import TRAINING_CATALOG, looks_like_path
from lib.datasets.storage.pack import PackedSet, check_pack, is_begun, open_pack
from lib.datasets.storage.pack_crop import CropRule, reach_of
from lib.datasets.storage.pack_write import Packing
from lib.datasets.training.open import open_training_set
from lib.datasets.training.set import IndexedSet
from lib.utils.errors import EXIT_OK, EXIT_PARTIAL, ConfigError, DataError, counted
from lib.utils.files import check_writable, user_path

_SHOWN = 10
_SIGMAS = 3.0


def build_parser() -> Parser:
    p = parser(
        "data pack",
        "Pack a training set into uncompressed zip files with an index. Stopped, it goes on where "
        "it was. A pack is trained on by its path, or under its set's name when that set's path "
        "points to the pack.",
        "LASOT",
        "LASOT --crop --shrink 128 --workers 8",
        "LASOT --verify",
    )
    names = ", ".join(row.name for row in TRAINING_CATALOG if row.format != "generated")
    text = f"{names}, or a folder of sequences; with --verify a pack, too"
    p.add_argument("name", help=text)
    add = p.add_argument_group("the pack").add_argument
    add("--out", metavar="DIR", help="folder of the pack (default: <data>/packed/NAME)")
    add("--verify", action="store_true", help="only compare each frame of a pack with its checksum")
    add(
        "--shard-frames",
        "--frames",
        type=positive,
        default=10_000,
        metavar="N",
        help="put about N frames into each shard (default: 10000)",
    )
    add(
        "--workers",
        "--threads",
        type=positive,
        default=2,
        metavar="N",
        help="processes that each make one shard at a time (default: 2)",
    )
    _add_crop(p)
    add_roots(p)
    return p


def _add_crop(p: Parser) -> None:
    group = p.add_argument_group("crops instead of whole frames")
    add = group.add_argument
    add("--crop", action="store_true", help="keep only what samples can ask for around the target")
    add(
        "--sigmas",
        type=float,
        metavar="X",
        help="with --crop: how far the random scale of a crop is followed, in standard deviations "
        f"(default: {_SIGMAS:g}); what samples ask for beyond is black",
    )
    add(
        "--shrink",
        type=count,
        metavar="PX",
        help="with --crop: store frames smaller whose target is larger than PX pixels, "
        "sqrt(w * h) (default: 0, never)",
    )
    add(
        "--quality",
        type=positive,
        metavar="Q",
        help="with --crop: quality of the JPEG files (default: 95)",
    )
    text = "with --crop: configuration whose samples are asked for (default: seqtrack_b256)"
    add_config(group, required=False, default="seqtrack_b256", help=text)
    add_overrides(group)


def main(argv: Sequence[str] | None = None) -> int:
    args = build_parser().parse_args(argv)
    paths = resolve_paths(args.data_dir, args.save_dir)
    rule = _crop_rule(args)
    if args.verify:
        return _verify(_pack_folder(args, paths))
    opened = open_training_set(args.name, paths)
    if isinstance(opened, PackedSet) or not isinstance(opened, IndexedSet):
        raise DataError(f"{args.name} is a pack already; --verify compares its checksums")
    folder = _pack_folder(args, paths)
    check_writable(folder)
    with keeps("finished shards are kept, and the same command goes on with the others"):
        return _pack(Packing(opened, folder, args.shard_frames, rule), args.workers)


def _crop_rule(args: argparse.Namespace) -> CropRule | None:
    """How frames are cut, or None."""
    given = [name for name in ("sigmas", "shrink", "quality") if getattr(args, name) is not None]
    if not args.crop:
        if given:
            raise ConfigError(f"--{given[0]} does nothing without --crop")
        return None
    sigmas = _SIGMAS if args.sigmas is None else args.sigmas
    quality = 95 if args.quality is None else args.quality
    if not 0 <= sigmas <= 10:
        raise ConfigError(f"--sigmas {sigmas:g}: give a number from 0 to 10")
    if quality > 100:
        raise ConfigError(f"--quality {quality}: JPEG knows 1 to 100")
    data = load_config(args.config, args.overrides).data
    reach = max(
        reach_of(one.factor, one.center_jitter, one.scale_jitter, sigmas)
        for one in (data.search, data.template)
    )
    return CropRule(round(reach, 3), args.shrink or 0, quality)


def _pack_folder(args: argparse.Namespace, paths: Paths) -> Path:
    if args.out:
        return user_path(args.out, "--out").absolute()
    here = user_path(args.name, "name")
    usual = paths.data_dir / "packed" / here.resolve().name
    # What was given may also be the folder that the pack was made of.
    if args.verify and (is_begun(here) or (looks_like_path(args.name) and not usual.exists())):
        return here
    return usual


def _pack(packing: Packing, workers: int) -> int:
    frames = int(packing.source.lengths.sum())
    packing.begin()
    if packing.finished:
        say(f"{packing.folder}: is finished already; --verify compares its checksums")
        return EXIT_OK
    plan = packing.plan()
    say(f"{packing.source.name}: {counted(len(packing.source), 'sequence')}, {frames} frames, "
        f"{counted(len(plan), 'shard')} in {packing.folder}")  # fmt: skip
    with tqdm(total=len(plan), unit="shard", file=sys.stderr, disable=None, leave=False) as bar:
        kept = packing.run(workers, lambda _: bar.update())
    packing.finish()
    size = sum(file.stat().st_size for file in packing.folder.glob("shard-*.zip"))
    again = f" ({kept} of them were there)" if kept else ""
    say(f"done: {counted(len(plan), 'shard')}{again}, {size / 1e6:.1f} MB")
    name = packing.source.name
    is_name = any(row.name == name for row in TRAINING_CATALOG)
    how = f"SEQTRACK_DATA_{name.upper()}={packing.folder}, or " if is_name else ""
    say(f"to train on it: {how}DATA.TRAIN.DATASETS_NAME: [{packing.folder}]")
    for text in packing.missing[:_SHOWN]:
        say(f"not packed: {text}", error=True)
    if more := packing.missing[_SHOWN:]:
        say(f"not packed: {len(more)} more", error=True)
    return EXIT_PARTIAL if packing.missing else EXIT_OK


def _verify(folder: Path) -> int:
    places = open_pack(folder, str(folder)).places
    total = len(places)
    with tqdm(total=total, unit="frame", file=sys.stderr, disable=None, leave=False) as bar:
        wrong = check_pack(folder, bar.update)
    left_out = int((places["size"] == 0).sum())
    say(f"{folder}: {total - left_out} frames read, {left_out} left out when it was made")
    for text in wrong:
        say(f"wrong: {text}", error=True)
    if wrong:
        say("what to do: remove those shards and pack again: the others stay")
    return EXIT_PARTIAL if wrong else EXIT_OK
