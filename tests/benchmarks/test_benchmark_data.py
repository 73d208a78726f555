"""benchmarks/data.py: all stores hold the same samples, and each gets its row."""

import numpy as np
import pytest

from benchmarks import data as bench_data
from benchmarks.data import compare_scaled, loader_record, make_stores
from tests.helpers.tiny import tiny_config


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Fewer and smaller frames."""
    monkeypatch.setattr(bench_data, "_SIZE", (320, 180))
    monkeypatch.setattr(bench_data, "_VIDEOS", 1)
    monkeypatch.setattr(bench_data, "_SAMPLES", 2)


def test_stores_hold_the_same(tmp_path):
    pytest.importorskip("lmdb")
    cfg = tiny_config()
    stores = make_stores(cfg, tmp_path)
    assert list(stores) == ["folder", "pack", "cropped pack", "shrunk pack", "lmdb"]
    samples = {w: bench_data._sampler(cfg, s).sample(1, 3).search for w, s in stores.items()}
    for what in ("pack", "lmdb"):
        np.testing.assert_array_equal(samples["folder"], samples[what])
    # Some are stored again as JPEG: the same picture, not the same bytes.
    gap = np.abs(samples["folder"].astype(float) - samples["cropped pack"])
    assert gap.mean() < 3


def test_the_record():
    record = loader_record(tiny_config(), None, rounds=1)
    rows = {row["what"]: row for row in record["rows"]}
    assert {"folder", "pack", "cropped pack", "shrunk pack", "folder, scaled"} <= set(rows)
    assert all(row["samples_per_s"] > 0 and row["calls"] == 2 for row in rows.values())
    assert rows["pack"]["kb_per_frame"] == pytest.approx(rows["folder"]["kb_per_frame"], rel=0.05)


def test_how_scaled_samples_differ(tmp_path, monkeypatch):
    monkeypatch.setattr(bench_data, "_SIZE", (1280, 720))
    monkeypatch.setattr(bench_data, "_FRAMES", 20)
    monkeypatch.setattr(bench_data, "_COMPARED", 16)
    cfg = tiny_config()
    folder = make_stores(cfg, tmp_path)["folder"]
    whole, scaled = (bench_data._sampler(cfg, folder, encoded) for encoded in (False, True))
    facts = compare_scaled(whole, scaled)
    assert sum(facts["frames"].values()) == pytest.approx(1, abs=0.01)
    assert facts["crops"] > 8 and 0 < facts["mean_levels"] < 8
    assert facts["mean_levels"] < facts["p99_levels"]
    assert np.abs(facts["shift_mean_px"]).max() < 0.4
    nothing = compare_scaled(whole, whole)
    assert nothing["frames"][1] == 1 and nothing["crops"] == 0
