"""Training annotation is read, and frames are named, as by the reference; its splits are ours."""

from pathlib import Path

import numpy as np
import pytest

from lib.config.paths import resolve_paths
from lib.datasets.sequence_files import packaged_names
from lib.datasets.training.open import open_training_set
from tests.helpers.dataset_files import write_text

from .conftest import kit_cases

# The name says more than the set where a case stands for a part of one.
SETS = {"GOT10K": "GOT10K_train_full"}


@pytest.mark.parametrize("case", kit_cases("dataset_readers*.json"))
def test_reader(case, tmp_path: Path) -> None:
    _, want = case
    for path, text in want["files"].items():
        write_text(tmp_path / path, text)
    frame = tmp_path / want["frame_path"]
    frame.parent.mkdir(parents=True, exist_ok=True)
    frame.touch()

    name = want["dataset"].split()[0]
    paths = resolve_paths(data_dir=tmp_path, env={})
    dataset = open_training_set(SETS.get(name, name), paths, tmp_path / "cache")
    sequences = {one.name: one for one in map(dataset.load, range(len(dataset)))}
    sequence = sequences[want["sequence"]]
    assert sequence.boxes.dtype == np.float32
    np.testing.assert_allclose(sequence.boxes, want["bbox"], rtol=1e-6)
    valid = (sequence.boxes[:, 2:] > 0).all(axis=1)
    assert valid.tolist() == [bool(flag) for flag in want["valid"]]
    assert sequence.visible.tolist() == [bool(flag) for flag in want["visible"]]
    assert sequence.frames.describe(want["frame_index"]) == str(frame)
    assert len(sequence.frames) == len(want["bbox"])


@pytest.mark.parametrize("case", kit_cases("splits*.json"))
def test_shipped_splits(case) -> None:
    content, _ = case
    for key, want in content.items():
        if key.startswith("_"):
            continue
        ours = packaged_names(f"{key}_split.txt")
        if key.startswith("got10k"):
            want = [str(at) for first, last in want for at in range(first, last + 1)]
        assert ours == want, key
