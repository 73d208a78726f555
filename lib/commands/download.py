"""`seqtrack download`, `python scripts/download_checkpoints.py`: fetch the published files."""

import argparse
import os
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import NamedTuple
from urllib.parse import urlsplit

from tqdm import tqdm

from lib.commands._options import Parser, add_roots, parser
from lib.commands.entry import keeps
from lib.config.paths import ALPHA_REFINE_FOLDER, Paths, resolve_paths
from lib.config.schema import PUBLISHED_CONFIGS
from lib.utils.download import (
    DownloadError,
    DownloadSource,
    DriveFile,
    DriveFolder,
    HubRepository,
    Ledger,
    MirrorFolder,
    RemoteFile,
    UnreachableError,
    obtain,
)
from lib.utils.errors import (
    EXIT_OK,
    CheckpointError,
    ConfigError,
    PartialFailure,
    SeqTrackError,
    did_you_mean,
)
from lib.utils.file_format import FileFormat, file_format

SOURCE_VARIABLE = "SEQTRACK_DOWNLOAD_SOURCE"
# The hub's own library reads it as well.
HUB_VARIABLE = "HF_ENDPOINT"
_HUB_ADDRESS = re.compile(r"hf://([\w.-]+/[\w.-]+)(?:@(\S+))?")
# The mask network: weights without a configuration, so `all` does not mean it.
MASK_NETWORK = "alpha_refine"


class Item(NamedTuple):
    """One file to have: from where, to where."""

    remote: RemoteFile
    target: Path


@dataclass(frozen=True)
class Collection:
    """One kind of published files."""

    name: str
    drive: DownloadSource
    mirror_path: str
    root: Callable[[Paths], Path]
    # The files of one configuration among all, with their places
    choose: Callable[[str, Sequence[RemoteFile], Paths], list[Item]]
    # Raises CheckpointError for a file (second argument) that is not one of that configuration
    # (first argument)
    check: Callable[[str, Path], None]


def build_parser() -> Parser:
    p = parser(
        "download",
        "Fetch the published checkpoints, raw results or training logs into the documented tree.",
        "seqtrack_b256 seqtrack_b256_got",
        "seqtrack_b256 --raw-results --logs",
    )
    known = f"{', '.join(PUBLISHED_CONFIGS)}, or all (these eight)"
    text = f"{known}; {MASK_NETWORK} for VOT's masks"
    p.add_argument("configs", nargs="+", metavar="NAME", help=text)
    add = p.add_argument_group("what is fetched").add_argument
    add("--raw-results", action="store_true", help="fetch the raw results, not the checkpoints")
    add("--logs", action="store_true", help="fetch the training logs, not the checkpoints")
    add(
        "--overwrite",
        "--force",
        action="store_true",
        help="fetch again what is there or was recorded",
    )
    add(
        "--source",
        metavar="URL",
        default=os.environ.get(SOURCE_VARIABLE),
        help="instead of Google Drive: hf://OWNER/NAME[@REVISION], a repository of a Hugging Face "
        f"hub (the one of {HUB_VARIABLE}), or a folder of a web server that lists its folders, "
        f"such as `python -m http.server` in another checkout (also: {SOURCE_VARIABLE})",
    )
    add_roots(p, data=False)
    return p


def main(argv: Sequence[str] | None = None) -> int:
    args = build_parser().parse_args(argv)
    paths = resolve_paths(save_dir=args.save_dir)
    done, failures = 0, []
    with keeps("files that came whole are kept, and the same command goes on"):
        for collection, names in _wanted(args):
            source = _source(collection, args.source)
            succeeded, failed = download(collection, names, source, paths, args.overwrite)
            done += succeeded
            failures += failed
    if failures:
        raise (PartialFailure if done else DownloadError)("\n".join(failures))
    return EXIT_OK


def download(
    collection: Collection,
    configs: Sequence[str],
    source: DownloadSource,
    paths: Paths,
    force: bool,
) -> tuple[int, list[str]]:
    """Have files of some configurations: how many are there, and a line for each that is not."""
    root = collection.root(paths)
    by_hand = f"by hand: {source.page} in a browser, then put the files below {root}"
    done = 0
    failures: list[str] = []
    ledger = Ledger(root)
    try:
        files = source.list_files()
        for config in configs:
            items = collection.choose(config, files, paths)
            if not items:
                failures.append(f"{config}: {source.page} has no {collection.name} of it")
            quiet = len(items) > 1
            for item in tqdm(items, config, disable=not quiet or not sys.stderr.isatty()):
                try:
                    check = partial(collection.check, config)
                    line = obtain(item.remote.url, item.target, check, ledger, force, quiet)
                except UnreachableError:
                    raise
                except (SeqTrackError, OSError) as error:
                    failures.append(f"{config}: {error}; by hand: {source.page} to {item.target}")
                else:
                    done += 1
                    if not quiet:
                        print(f"{config}: {line}", flush=True)
            if quiet:
                print(f"{config}: {len(items)} {collection.name} verified below {root}")
    except DownloadError as error:
        failures.append(f"{error}; {by_hand}")
    finally:
        ledger.save()
    return done, failures


def _wanted(args: argparse.Namespace) -> list[tuple[Collection, list[str]]]:
    """What to fetch, and of which configurations."""
    configs = _known_configs(args.configs)
    wanted = [RAW_RESULTS] * args.raw_results + [LOGS] * args.logs or [CHECKPOINTS]
    if MASK_NETWORK not in configs:
        return [(collection, configs) for collection in wanted]
    if CHECKPOINTS not in wanted:
        raise ConfigError(
            f"of {MASK_NETWORK} only the weights are published: leave out --raw-results and --logs"
        )
    configs.remove(MASK_NETWORK)
    trackers = [(CHECKPOINTS, configs)] if configs else []
    return [*trackers, (MASK_WEIGHTS, [MASK_NETWORK])]


def _known_configs(names: Sequence[str]) -> list[str]:
    configs: dict[str, None] = {}
    known = ("all", *PUBLISHED_CONFIGS, MASK_NETWORK)
    for name in names:
        if name not in known:
            hint = did_you_mean(name, known) or f"; there are {', '.join(known)}"
            raise ConfigError(f"nothing is published for configuration {name!r}{hint}")
        configs |= dict.fromkeys(PUBLISHED_CONFIGS if name == "all" else [name])
    return list(configs)


def _source(collection: Collection, mirror: str | None) -> DownloadSource:
    if not mirror:
        return collection.drive
    if hub := _HUB_ADDRESS.fullmatch(mirror):
        if collection is not CHECKPOINTS:
            raise ConfigError(
                f"--source {mirror}: only checkpoints come from a hub, not {collection.name}"
            )
        endpoint = os.environ.get(HUB_VARIABLE, HubRepository.endpoint).rstrip("/")
        return HubRepository(hub[1], hub[2] or HubRepository.revision, endpoint)
    if urlsplit(mirror).scheme not in ("http", "https"):
        raise ConfigError(
            f"--source {mirror!r} is neither an address that begins with http(s):// nor "
            "hf://OWNER/NAME or hf://OWNER/NAME@REVISION"
        )
    folder = MirrorFolder(f"{mirror.rstrip('/')}/{collection.mirror_path}")
    # Checkpoints are known by their names wherever they lie.
    return replace(folder, or_all_of=mirror) if collection is CHECKPOINTS else folder


def _belongs(config: str, path: PurePosixPath) -> bool:
    """Whether a path names this configuration, and not its `_got` twin or a longer name."""
    pattern = rf"(?<![a-z0-9]){re.escape(config)}(?!_got|[a-z0-9])"
    return re.search(pattern, str(path).lower().replace("-", "_")) is not None


def _below_config(config: str, path: PurePosixPath) -> tuple[str, ...]:
    """What follows the folder of this configuration in a path; only the name without one."""
    for i, part in enumerate(path.parts[:-1]):
        if _belongs(config, PurePosixPath(part)):
            return path.parts[i + 1 :]
    return (path.name,)


def _choose_checkpoint(config: str, files: Sequence[RemoteFile], paths: Paths) -> list[Item]:
    def rank(file: RemoteFile) -> tuple[bool, bool, int]:
        name, epoch = file.path.name, re.search(r"_ep(\d+)", file.path.name)
        finals = (name == "SEQTRACK.pth.tar", name == "SEQTRACK.safetensors")
        return *finals, int(epoch[1]) if epoch else 0

    suffixes = (".pth.tar", ".safetensors")
    found = [f for f in files if _belongs(config, f.path) and f.path.name.endswith(suffixes)]
    if not found:
        return []
    best = max(found, key=rank)
    suffix = next(one for one in suffixes if best.path.name.endswith(one))
    return [Item(best, paths.checkpoint_dir(config) / f"SEQTRACK{suffix}")]


def _choose_results(config: str, files: Sequence[RemoteFile], paths: Paths) -> list[Item]:
    def target(path: PurePosixPath) -> Path:
        if "external" in path.parts:  # VOT's raw results have a tree of their own
            return paths.save_dir.joinpath(*path.parts[path.parts.index("external") :])
        return paths.results_dir("seqtrack", config).joinpath(*_below_config(config, path))

    return [Item(f, target(f.path)) for f in files if _belongs(config, f.path)]


def _choose_logs(config: str, files: Sequence[RemoteFile], paths: Paths) -> list[Item]:
    def target(path: PurePosixPath) -> Path:
        if _belongs(config, PurePosixPath(path.name)):
            return paths.log_dir / path.name
        return paths.log_dir.joinpath(config, *_below_config(config, path))

    return [Item(f, target(f.path)) for f in files if _belongs(config, f.path)]


def _choose_mask_weights(config: str, files: Sequence[RemoteFile], paths: Paths) -> list[Item]:
    # The last by name, as the tracker takes.
    found = sorted((f for f in files if f.path.name.endswith(".pth.tar")), key=lambda f: f.path)
    folder = paths.alpha_refine_dirs[0]
    return [Item(file, folder / file.path.name) for file in found[-1:]]


def _check_mask_weights(config: str, path: Path) -> None:
    # Only now: importing torch takes seconds, and a typo should be answered before that.
    from lib.masks.alpha_refine.weights import load_alpha_refine

    load_alpha_refine(path)


def _check_checkpoint(config: str, path: Path) -> None:
    from lib.models.signature import recognise
    from lib.utils.checkpoint import read_state_dict

    name = recognise(read_state_dict(path))
    if name != config.removesuffix("_got"):
        raise CheckpointError(
            f"{path} loads, but holds the network of {name or 'no published configuration'}, "
            f"not of {config}"
        )


def _check_text(config: str, path: Path) -> None:
    form = file_format(path)
    if form in (FileFormat.WEB_PAGE, FileFormat.EMPTY):
        raise CheckpointError(f"{path} is {form.value}, not a file of {config}")


CHECKPOINTS = Collection(
    name="checkpoint",
    drive=DriveFolder("10PKs6aqSbVtb6aloYmtaN4aKMnmPF58P"),
    mirror_path="checkpoints/train/seqtrack",
    root=lambda paths: paths.checkpoint_dir("any").parent,
    choose=_choose_checkpoint,
    check=_check_checkpoint,
)
RAW_RESULTS = Collection(
    name="raw results",
    drive=DriveFolder("15xrVifqG_idkXVxJOhUWq7nB5rzNxyO_"),
    mirror_path="test/tracking_results/seqtrack",
    root=lambda paths: paths.results_dir("seqtrack", "any").parent,
    choose=_choose_results,
    check=_check_text,
)
LOGS = Collection(
    name="training logs",
    drive=DriveFolder("1_kf2noaP3M9RHHCgG6XqBFejNkzBv2xB"),
    mirror_path="logs",
    root=lambda paths: paths.log_dir,
    choose=_choose_logs,
    check=_check_text,
)
MASK_WEIGHTS = Collection(
    name="weights",
    drive=DriveFile("1qOQRfaRMbQ2nmgX1NFjoQHfXOAn609QM", "ARnet_seg_mask_ep0040.pth.tar"),
    mirror_path=ALPHA_REFINE_FOLDER,
    root=lambda paths: paths.alpha_refine_dirs[0],
    choose=_choose_mask_weights,
    check=_check_mask_weights,
)
