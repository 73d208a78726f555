"""Every training set in its real layout trains seqtrack_b256's code path, by the real command."""

from pathlib import Path

import pytest
import torch

from lib.commands.entry import run
from lib.utils.checkpoint import read_checkpoint
from tests.helpers.tiny import write_got10k_folder
from tests.helpers.train_command import QUICK, SHRUNK, Workplace
from tests.helpers.training_files import write_training_sets


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("training-sets")
    write_training_sets(root)
    return root


@pytest.fixture
def place(tmp_path, capsys, data):
    return Workplace(tmp_path, capsys, data)


@pytest.mark.parametrize(
    "name", ["LASOT", "GOT10K_vottrain", "GOT10K_train_full", "COCO17", "TRACKINGNET", "VID"]
)
def test_one_set(place, name):
    only = [f"DATA.TRAIN.DATASETS_NAME=[{name}]", "DATA.TRAIN.DATASETS_RATIO=[1]"]
    code, out, err = place.train(sets=only)
    assert code == 0
    # Of the whole set only a few sequences are here, which is said.
    assert all(line.startswith(f"warning: training set {name}: ") for line in err)
    assert sum(line.startswith("[train: 1, ") for line in out) == 2
    assert out[-1].startswith("finished after 1 epoch")
    assert read_checkpoint(place.folder / "SEQTRACK.pth.tar").epoch == 1


def test_the_four_sets_of_the_paper_and_then_tracking(place, tmp_path):
    """As published but for the sizes; the tracker finds and takes the weights."""
    words = ["--config", "seqtrack_b256", "--save_dir", str(place.save), "--device", "cpu"]
    smaller = ["--set", *SHRUNK]
    train = [*words, "--data_dir", str(place.data), *smaller, *QUICK]
    assert run("lib.commands.train", [*train, "DATA.TRAIN.SAMPLE_PER_EPOCH=12"]) == 0
    videos = write_got10k_folder(tmp_path / "videos", ["a"])
    assert run("lib.commands.test", [*words, "--dataset", str(videos), *smaller]) == 0
    results = place.save / "test" / "tracking_results" / "seqtrack" / "seqtrack_b256" / "videos"
    assert len((results / "a.txt").read_text().splitlines()) == 4
    assert "1 sequence tracked" in place.capsys.readouterr().out
    # The weights that were trained, not the first ones.
    final = read_checkpoint(place.folder / "SEQTRACK.pth.tar").state
    newest = read_checkpoint(place.folder / "SEQTRACK_ep0001.pth.tar").state
    assert all(torch.equal(final[key], newest[key]) for key in newest)


def test_a_set_that_is_not_there(place):
    named = ["DATA.TRAIN.DATASETS_NAME=[LASOT]"]
    code, out, err = place.train("--data_dir", place.root / "elsewhere", sets=named)
    assert code == 2 and not out and len(err) == 1
    assert f"no folder {place.root / 'elsewhere' / 'lasot'}" in err[0]
    assert not list(place.save.rglob("*.tar"))


def test_a_typing_mistake_in_the_name_of_a_set(place):
    code, _, err = place.train(sets=["DATA.TRAIN.DATASETS_NAME=[LASOTT]"])
    assert code == 2 and len(err) == 1 and "did you mean 'LASOT'" in err[0]
