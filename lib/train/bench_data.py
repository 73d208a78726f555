"""How many training samples a core makes, by where the frames are stored.

Frames of 1280 x 720 are made before the clock starts; all stores hold the same ones, take turns,
and are read by one process with one thread, as a loader's process does. What is timed is all of
a sample: reading, decoding, crops, augmentation.
"""

import tempfile
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from lib.config.paths import Paths
from lib.config.schema import Config
from lib.datasets.lmdb_files import LmdbSet
from lib.datasets.pack import open_pack
from lib.datasets.pack_crop import CropRule, reach_of
from lib.datasets.pack_write import Packing
from lib.datasets.synthetic import load_synthetic
from lib.datasets.training import open_training_set
from lib.datasets.training_set import IndexedSet, TrainingSet
from lib.train.sampler import TrackingSampler, VideoSource
from lib.train.transforms import TrainingTransform
from lib.utils.errors import SeqTrackError

_SIZE = (1280, 720)
_VIDEOS, _FRAMES = 4, 24
_QUALITY = 90
_SAMPLES = 12  # per store and round
_SIGMAS, _SHRINK = 2.0, 128


def loader_record(cfg: Config, paths: Paths, rounds: int | None = None) -> dict[str, Any]:
    """The record of `benchmark.py data`: a row for each store.

    Args:
        cfg: whose samples are made.
        paths: is not used for data, which is generated.
        rounds: turns of each store, 8 by default.

    Raises:
        OSError: the temporary folder is full.
    """
    before = cv2.getNumThreads()
    cv2.setNumThreads(0)
    try:
        with tempfile.TemporaryDirectory() as name:
            stores = make_stores(cfg, Path(name))
            rows = _measure(cfg, stores, rounds or 8)
            sizes = {what: _bytes_per_frame(Path(name) / what.split()[0]) for what in stores}
    finally:
        cv2.setNumThreads(before)
    for row in rows:
        row["kb_per_frame"] = round(sizes[row["what"]] / 1000, 1)
    frames = {"frame": list(_SIZE), "jpeg_quality": _QUALITY, "crop_sigmas": _SIGMAS}
    return {"config": cfg.name, **frames, "crop_shrink": _SHRINK, "rows": rows}


def make_stores(cfg: Config, folder: Path) -> dict[str, TrainingSet]:
    """The same videos as a folder, as packs, and as an LMDB where the package for it is there."""
    _render(folder / "folder")
    cache = folder / "cache"
    paths = Paths((), folder)
    opened = open_training_set(str(folder / "folder"), paths, cache)
    if not isinstance(opened, IndexedSet):
        raise SeqTrackError(f"{folder}: the temporary folder is not what was written there")
    search = cfg.data.search
    reach = reach_of(search.factor, search.center_jitter, search.scale_jitter, _SIGMAS)
    stores: dict[str, TrainingSet] = {"folder": opened}
    for what, rule in (
        ("pack", None),
        ("cropped pack", CropRule(reach)),
        ("shrunk pack", CropRule(reach, _SHRINK)),
    ):
        place = folder / what.split()[0]
        packing = Packing(opened, place, 1000, rule)
        packing.begin()
        packing.run(1, lambda _: None)
        packing.finish()
        stores[what] = open_pack(place, what)
    if _write_lmdb(folder / "folder", folder / "lmdb"):
        stores["lmdb"] = LmdbSet(
            "lmdb", True, opened.base, opened.index, {"": folder / "lmdb"}, opened.base
        )
    return stores


def _render(folder: Path) -> None:
    """Videos in GOT-10k layout, with the grain of a camera: it is what JPEG files are made of."""
    grain = np.random.default_rng(0).normal(0, 6, (*_SIZE[::-1], 3))
    for number in range(1, _VIDEOS + 1):
        sequence = load_synthetic(f"synthetic-{number:03d}")
        place = folder / sequence.name
        place.mkdir(parents=True)
        for index in range(_FRAMES):
            image = sequence.frames.read(index)
            large = cv2.resize(image, _SIZE, interpolation=cv2.INTER_CUBIC) + grain
            pixels = large.clip(0, 255).astype(np.uint8)[..., ::-1]
            settings = [cv2.IMWRITE_JPEG_QUALITY, _QUALITY]
            _, data = cv2.imencode(".jpg", pixels, settings)
            (place / f"{index + 1:08d}.jpg").write_bytes(data.tobytes())
        height, width = image.shape[:2]
        scale = np.array([_SIZE[0] / width, _SIZE[1] / height] * 2)
        truth = sequence.ground_truth[:_FRAMES] * scale
        np.savetxt(place / "groundtruth.txt", truth, delimiter=",", fmt="%.4f")


def _write_lmdb(folder: Path, target: Path) -> bool:
    """The files of a folder under their paths; False without the package."""
    try:
        import lmdb
    except ImportError:
        return False
    target.mkdir()
    with lmdb.open(str(target), map_size=1 << 30) as env, env.begin(write=True) as transaction:
        for file in sorted(folder.rglob("*.jpg")):
            transaction.put(file.relative_to(folder).as_posix().encode(), file.read_bytes())
    return True


def _sampler(cfg: Config, store: TrainingSet) -> TrackingSampler:
    rules = (cfg.data.template.number, cfg.data.sampler_mode, cfg.data.max_sample_interval)
    transform = TrainingTransform(cfg.data)
    return TrackingSampler((VideoSource(store, *rules),), (1.0,), transform, 0, 1, 10**6)


def _measure(cfg: Config, stores: dict[str, TrainingSet], rounds: int) -> list[dict[str, Any]]:
    samplers = {what: _sampler(cfg, store) for what, store in stores.items()}
    wall: dict[str, list[float]] = {what: [] for what in stores}
    busy: dict[str, list[float]] = {what: [] for what in stores}
    # The first round warms up.
    for turn in range(rounds + 1):
        for what, sampler in samplers.items():
            begun = time.perf_counter(), time.process_time()
            for number in range(turn * _SAMPLES, (turn + 1) * _SAMPLES):
                sampler.sample(1, number)
            if turn:
                wall[what].append((time.perf_counter() - begun[0]) / _SAMPLES)
                busy[what].append((time.process_time() - begun[1]) / _SAMPLES)
    return [_row(what, wall[what], busy[what]) for what in stores]


def _row(what: str, wall: list[float], busy: list[float]) -> dict[str, Any]:
    """Milliseconds per sample, and samples of a core by the time that it was busy."""
    low, middle, high = np.percentile(1e3 * np.array(wall), (10, 50, 90))
    return {
        "what": what,
        "median_ms": round(float(middle), 3),
        "p10_ms": round(float(low), 3),
        "p90_ms": round(float(high), 3),
        "calls": len(wall) * _SAMPLES,
        "samples_per_s": round(1e3 / float(middle), 2),
        "samples_per_core_s": round(1 / float(np.median(busy)), 2),
    }


def _bytes_per_frame(folder: Path) -> float:
    files = [file for file in folder.rglob("*") if file.suffix in (".jpg", ".zip", ".mdb")]
    # LMDB keeps room to grow; what it holds is what the folder holds.
    return sum(file.stat().st_size for file in files) / (_VIDEOS * _FRAMES)
