"""benchmarks/finetune.py: its clips, and that fine-tuning helps on them."""

import re

import numpy as np
import pytest

from benchmarks.finetune import main, write_thermal
from lib.datasets.benchmarks.folder import open_folder


def test_the_clips_are_a_data_set_that_is_the_same_every_time(tmp_path):
    one, two = (open_folder(write_thermal(tmp_path / name, [3], 4)) for name in "ab")
    first, again = (dataset.load("thermal-0003") for dataset in (one, two))
    assert len(first) == 4 and one.protocol == "lasot"
    assert np.array_equal(first.ground_truth, again.ground_truth)
    image = first.frames.read(2)
    assert np.array_equal(image, again.frames.read(2))
    # Grey but for what JPEG makes of it, and dim.
    assert np.ptp(image.astype(int), axis=2).max() <= 4 and image.std() < 40


@pytest.mark.slow
def test_fine_tuning_improves_clips_that_it_has_not_seen(tmp_path, capsys):
    words = ["--presets", "full", "--train", "24", "--test", "12", "--length", "40"]
    settings = ["TRAIN.EPOCH=8", "DATA.TRAIN.SAMPLE_PER_EPOCH=256", "DATA.VAL.SAMPLE_PER_EPOCH=64"]
    code = main([*words, "--forgotten", "", "--out", str(tmp_path), "--set", *settings])
    out = capsys.readouterr().out
    assert code == 0, out
    row = next(line for line in out.splitlines() if line.startswith("full"))
    difference, low, high = map(
        float, re.search(r"\(([^ ]+) \[([^,]+), ([^\]]+)\]\)", row).groups()
    )
    assert 0 < low < difference < high
