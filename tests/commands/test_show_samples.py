"""The contact sheet of training samples."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from lib.commands import show_samples
from lib.commands.show_samples import contact_sheet
from lib.models.tokens import BoxTokenizer
from lib.train.data.transforms import TrainingSample
from lib.utils.drawing import PREDICTION_COLOUR, TRUTH_COLOUR
from lib.utils.errors import ConfigError, DataError
from lib.utils.image_io import read_rgb, write_rgb
from tests.helpers.dataset_files import numbered, write_text

ROOT = Path(__file__).parents[2]
SIDE = 224


def bounds(picture, colour):
    """First and last row and column of a colour, or nothing."""
    rows, columns = np.nonzero((picture == colour).all(-1))
    return (rows.min(), rows.max(), columns.min(), columns.max()) if len(rows) else None


def sample_with(box, templates=2):
    return TrainingSample(
        templates=np.full((templates, 32, 32, 3), 20, np.uint8),
        search=np.full((64, 64, 3), 90, np.uint8),
        template_boxes=np.array([[0.25, 0.5, 0.5, 0.25]] * templates, np.float32),
        box=np.array(box, np.float32),
        number=3,
        source="SET video-1, frames 1, 2, 3",
    )


def search_of(sheet, templates=2):
    left = templates * (SIDE + 6)
    return sheet[:SIDE, left : left + SIDE]


@pytest.mark.parametrize("seq_format", ["xywh", "whxy", "corner"])
def test_boxes_lie_where_they_should(seq_format):
    sheet = contact_sheet([sample_with((0.5, 0.25, 0.25, 0.5))], BoxTokenizer(4000, seq_format))
    first = bounds(sheet[:SIDE, :SIDE], TRUTH_COLOUR)
    np.testing.assert_allclose(first, np.array([0.5, 0.75, 0.25, 0.75]) * 223, atol=2)
    want = np.array([0.25, 0.75, 0.5, 0.75]) * 223
    np.testing.assert_allclose(bounds(search_of(sheet), PREDICTION_COLOUR), want, atol=1)
    np.testing.assert_allclose(bounds(search_of(sheet), TRUTH_COLOUR), want, atol=2)


def test_tokens_are_of_the_box_that_was_cut():
    """A box that sticks out is cut before it is written as tokens: red ends where the crop does."""
    sheet = contact_sheet([sample_with((-0.25, 0.5, 0.5, 0.25), 1)], BoxTokenizer(100))
    rows = bounds(search_of(sheet, 1), PREDICTION_COLOUR)
    np.testing.assert_allclose(rows, np.array([0.5, 0.75, 0, 0.25]) * 223, atol=4)


def test_a_row_per_sample():
    rows = [sample_with((0.5, 0.25, 0.25, 0.5)) for _ in range(3)]
    one, three = (contact_sheet(rows[:n], BoxTokenizer(100)) for n in (1, 3))
    assert three.shape == (3 * one.shape[0], 3 * (SIDE + 6), 3) and three.dtype == np.uint8
    np.testing.assert_array_equal(three[-one.shape[0] :], one)
    assert (one[SIDE:] != one[-1, -1]).any()  # the text


@pytest.fixture
def folder(tmp_path):
    """A user's folder: noise with a box in the middle; frame 5 of the video is broken."""
    video = tmp_path / "mine" / "video"
    noise = np.random.default_rng(0).integers(0, 255, (60, 80, 3), np.uint8)
    for name in numbered(24):
        write_rgb(video / name, noise)
    write_text(video / "groundtruth.txt", "30,25,16,12\n" * 24)
    (video / numbered(24)[5]).write_bytes(b"no image")
    return tmp_path / "mine"


def command(folder, save, *words):
    sets = [f"DATA.TRAIN.DATASETS_NAME=[{folder}]", "DATA.TRAIN.DATASETS_RATIO=[1]"]
    crops = ["DATA.SEARCH.SIZE=64", "DATA.TEMPLATE.SIZE=32", "TEST.SEARCH_SIZE=64"]
    options = ["--config", "seqtrack_b256", "--save_dir", str(save), "--set", *sets, *crops]
    return [*options, "TEST.TEMPLATE_SIZE=32", *words]


def test_the_script(folder, tmp_path):
    words = command(folder, tmp_path / "save", "--number", "20", "--seed", "3")
    done = subprocess.run(
        [sys.executable, ROOT / "scripts" / "show_samples.py", *words],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    out = tmp_path / "save" / "logs" / "samples-seqtrack_b256.png"
    assert done.stdout.startswith("20 samples, ") and done.stdout.rstrip().endswith(str(out))
    assert f"broken: {folder / 'video' / numbered(24)[5]}" in done.stderr
    assert read_rgb(out).shape == (20 * (SIDE + 44), 3 * (SIDE + 6), 3)


def test_the_same_seed_is_the_same_picture(folder, tmp_path):
    pictures = []
    for i, seed in enumerate("112"):
        out = tmp_path / f"{i}.png"
        words = command(folder, tmp_path, "--number", "2", "--seed", seed, "--out", str(out))
        assert show_samples.main(words) == 0
        pictures.append(out.read_bytes())
    assert pictures[0] == pictures[1] != pictures[2]


def test_wrong_words(folder, tmp_path):
    with pytest.raises(DataError, match=r"--out a\.gif: .*\.png"):
        show_samples.main(command(folder, tmp_path, "--out", "a.gif"))
    with pytest.raises(ConfigError, match=r"DATA\.VAL\.DATASETS_NAME"):
        show_samples.main(command(folder, tmp_path, "--part", "val"))
    with pytest.raises(DataError, match=r"nowhere"):
        show_samples.main(command(tmp_path / "nowhere", tmp_path))
