"""lib/train/bench_data.py: all stores hold the same samples, and each gets its row."""

import numpy as np
import pytest

from lib.train import bench_data
from lib.train.bench_data import loader_record, make_stores
from tests.tiny import tiny_config


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
    assert {"folder", "pack", "cropped pack", "shrunk pack"} <= set(rows)
    assert all(row["samples_per_s"] > 0 and row["calls"] == 2 for row in rows.values())
    assert rows["pack"]["kb_per_frame"] == pytest.approx(rows["folder"]["kb_per_frame"], rel=0.05)
