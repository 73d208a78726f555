"""How many training samples a core makes, by where the frames are stored.

Frames of 1280 x 720 are made before the clock starts; all stores hold the same ones, take turns,
and are read by one process with one thread, as a loader's process does. What is timed is all of
a sample: reading, decoding, crops, augmentation. With DATA.SCALED_DECODE the samples are not quite
the same; by how much is measured, too.
"""

import tempfile
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from lib.config.paths import Paths
from lib.config.schema import Config
from lib.datasets.storage.lmdb import LmdbSet
from lib.datasets.storage.pack import open_pack
from lib.datasets.storage.pack_crop import CropRule, reach_of
from lib.datasets.storage.pack_write import Packing
from lib.datasets.training.open import open_training_set
from lib.datasets.training.sample import UnusableSampleError
from lib.datasets.training.set import IndexedSet, TrainingSet
from lib.synthetic.video.dataset import load_synthetic
from lib.train.data.sampler import TrackingSampler, VideoSource
from lib.train.data.transforms import DecodedFrame, TrainingSample, TrainingTransform
from lib.utils.errors import SeqTrackError
from lib.utils.image_io import JPEG_SHRINKS

_SIZE = (1280, 720)
_VIDEOS, _FRAMES = 4, 24
_QUALITY = 90
_SAMPLES = 12  # per store and round
_SIGMAS, _SHRINK = 2.0, 128
_SCALED = "folder, scaled"
_COMPARED = 200  # samples


def loader_record(cfg: Config, paths: Paths, rounds: int | None = None) -> dict[str, Any]:
    """The record of `benchmark.py data`: a row for each store, and one for DATA.SCALED_DECODE.

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
            samplers = {what: _sampler(cfg, store) for what, store in stores.items()}
            samplers[_SCALED] = _sampler(cfg, stores["folder"], encoded=True)
            rows = _measure(samplers, rounds or 8)
            sizes = {what: _bytes_per_frame(Path(name) / what.split()[0]) for what in stores}
            sizes[_SCALED] = sizes["folder"]
            scaled = compare_scaled(samplers["folder"], samplers[_SCALED])
    finally:
        cv2.setNumThreads(before)
    for row in rows:
        row["kb_per_frame"] = round(sizes[row["what"]] / 1000, 1)
    frames = {"frame": list(_SIZE), "jpeg_quality": _QUALITY, "crop_sigmas": _SIGMAS}
    facts = {"crop_shrink": _SHRINK, "scaled": scaled}
    return {"config": cfg.name, **frames, **facts, "rows": rows}


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


def _sampler(cfg: Config, store: TrainingSet, encoded: bool = False) -> TrackingSampler:
    rules = (cfg.data.template.number, cfg.data.sampler_mode, cfg.data.max_sample_interval)
    transform = TrainingTransform(cfg.data)
    source = VideoSource(store, *rules, encoded=encoded)
    return TrackingSampler((source,), (1.0,), transform, 0, 1, 10**6)


def compare_scaled(whole: TrackingSampler, scaled: TrackingSampler) -> dict[str, Any]:
    """How samples differ whose frames are decoded smaller.

    Args:
        whole: decodes frames whole.
        scaled: draws the same, and decodes frames as small as their crops allow.

    Returns:
        `frames`: shares of the frames by how much they are shrunk. For the search crops that are:
        `crops`, their number; `mean_levels` and `p99_levels`, difference of the pixels;
        `shift_mean_px` and `shift_sd_px`, of the picture in the crop by phase correlation,
        beyond that of the box, along x and y.
    """
    shrinks: list[int] = []
    levels = np.zeros(256, np.int64)
    shifts = []
    for number in range(_COMPARED):
        try:
            usual, _ = _one_sample(whole, number)
            sample, frames = _one_sample(scaled, number)
        except UnusableSampleError:  # its crop misses the frame
            continue
        shrinks += [frame.shrink for frame in frames]
        if frames[-1].shrink > 1:
            gaps = cv2.absdiff(usual.search, sample.search)
            levels += np.bincount(gaps.ravel(), minlength=256)
            moved = (sample.box - usual.box) * (len(gaps) - 1)
            shifts.append(_shift(usual.search, sample.search) - moved[:2] - moved[2:] / 2)
    spread = np.array(shifts) if shifts else np.zeros((1, 2))
    return {
        "frames": {k: round(shrinks.count(k) / max(len(shrinks), 1), 3) for k in JPEG_SHRINKS},
        "crops": len(shifts),
        "mean_levels": round(float(levels @ np.arange(256) / max(levels.sum(), 1)), 2),
        "p99_levels": int(np.searchsorted(levels.cumsum(), 0.99 * levels.sum())),
        "shift_mean_px": spread.mean(0).round(3).tolist(),
        "shift_sd_px": spread.std(0).round(3).tolist(),
    }


def _one_sample(sampler: TrackingSampler, number: int) -> tuple[TrainingSample, list[DecodedFrame]]:
    """A sample of the only source, and the frames that it is cut from."""
    rng = np.random.default_rng(number)
    draw = sampler.sources[0].draw(rng, 0.0)
    variation = sampler.transform.vary(rng, len(draw.sightings))
    frames = sampler.transform.frames(draw, variation)
    return sampler.transform.apply(draw, variation), frames


def _shift(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """How far crop `other` `(S, S, 3)` is moved against `one`: `(2,)` in pixels, x and y."""
    grey = [cv2.cvtColor(each, cv2.COLOR_RGB2GRAY).astype(np.float32) for each in (one, other)]
    window = cv2.createHanningWindow(one.shape[1::-1], cv2.CV_32F)
    return np.array(cv2.phaseCorrelate(*grey, window)[0])


def _measure(samplers: dict[str, TrackingSampler], rounds: int) -> list[dict[str, Any]]:
    wall: dict[str, list[float]] = {what: [] for what in samplers}
    busy: dict[str, list[float]] = {what: [] for what in samplers}
    # The first round warms up.
    for turn in range(rounds + 1):
        for what, sampler in samplers.items():
            begun = time.perf_counter(), time.process_time()
            for number in range(turn * _SAMPLES, (turn + 1) * _SAMPLES):
                sampler.sample(1, number)
            if turn:
                wall[what].append((time.perf_counter() - begun[0]) / _SAMPLES)
                busy[what].append((time.process_time() - begun[1]) / _SAMPLES)
    return [_row(what, wall[what], busy[what]) for what in samplers]


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
