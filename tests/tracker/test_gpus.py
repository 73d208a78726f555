"""Which worker computes on which GPU, on a machine that says it has four."""

import pytest
import torch

from lib.commands import test
from lib.utils.errors import SeqTrackError


@pytest.fixture(autouse=True)
def four_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)


def arguments(*words: str):
    return test.build_parser().parse_args(["--dataset", "x", *words])


@pytest.mark.parametrize(
    ("words", "devices"),
    [
        pytest.param([], "0", id="one process"),
        pytest.param(["--threads", "6"], "0 1 2 3 0 1", id="all in turn"),
        pytest.param(["--threads", "3", "--num_gpus", "2"], "0 1 0", id="two of them"),
        pytest.param(["--threads", "2", "--device", "cuda:3"], "3 3", id="one by name"),
    ],
)
def test_workers_take_turns(words: list[str], devices: str) -> None:
    expected = [f"cuda:{number}" for number in devices.split()]
    assert test._which_devices(arguments(*words)) == expected


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--num_gpus", "5"], "there are only 4 GPUs"),
        (["--num_gpus", "2", "--device", "cuda:1"], "--device is cuda:1"),
        (["--num_gpus", "1", "--device", "cpu"], "--device is cpu"),
        (["--device", "cuda:4"], "only 4 CUDA devices"),
    ],
)
def test_gpus_that_are_not_there(words: list[str], said: str) -> None:
    with pytest.raises(SeqTrackError, match=said):
        test._which_devices(arguments(*words))


@pytest.mark.parametrize(
    ("words", "rank", "device"),
    [
        ([], 2, "cuda:2"),
        ([], 5, "cuda:1"),
        (["--num_gpus", "2"], 3, "cuda:1"),
        (["--device", "cuda:3"], 0, "cuda:3"),
        (["--device", "cpu"], 1, "cpu"),
    ],
)
def test_a_worker_of_torchrun_has_its_own(words: list[str], rank: int, device: str) -> None:
    assert test._rank_device(arguments(*words), rank) == device
