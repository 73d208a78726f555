"""benchmarks/finetune.py: its clips, and that fine-tuning helps on them."""

import json
import re

import numpy as np
import pytest

from benchmarks.finetune import main, write_cells
from lib.datasets.benchmarks.folder import open_folder


def test_the_clips_are_a_data_set_that_is_the_same_every_time(tmp_path):
    one, two = (open_folder(write_cells(tmp_path / name, [3], 4)) for name in "ab")
    first, again = (dataset.load("cells-0003") for dataset in (one, two))
    assert len(first) == 4
    assert np.array_equal(first.ground_truth, again.ground_truth)
    image = first.frames.read(2)
    assert np.array_equal(image, again.frames.read(2))
    # Grey but for what JPEG makes of it; the target, bright in its middle, is where its box is.
    x, y, w, h = first.ground_truth[2]
    assert np.ptp(image.astype(int), axis=2).max() <= 4
    assert image[int(y + h / 2), int(x + w / 2)].mean() > 2 * image.mean()


@pytest.mark.slow
def test_the_whole_of_it(tmp_path, capsys):
    """How much is gained depends on the clips and takes ten minutes: docs/finetune.md has that."""
    words = ["--presets", "full", "--train", "6", "--test", "3", "--length", "24"]
    settings = ["TRAIN.EPOCH=1", "DATA.TRAIN.SAMPLE_PER_EPOCH=64", "DATA.VAL.SAMPLE_PER_EPOCH=64"]
    code = main([*words, "--forgotten", "", "--out", str(tmp_path), "--set", *settings])
    out = capsys.readouterr().out
    assert code == 0, out
    row = next(line for line in out.splitlines() if line.startswith("full"))
    assert re.search(r"\([^ ]+ \[[^,]+, [^\]]+\]\)", row)
    record = json.loads(next(tmp_path.rglob("cells_full/run.json")).read_text())
    assert record["best"]["epoch"] in (0, 1)
