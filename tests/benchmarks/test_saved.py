"""The count of what a training step holds."""

import pytest
import torch

from benchmarks.saved import kept_by_forward, main, needed
from lib.models.seqtrack import build_seqtrack
from lib.train.losses.objective import Objective
from tests.helpers.tiny import tiny_config

MIB = 2**20


def test_what_is_kept_grows_with_the_samples_and_no_parameter_is_among_it():
    cfg = tiny_config()
    torch.manual_seed(0)
    objective = Objective(build_seqtrack(cfg), cfg).train()
    one, two, four = (kept_by_forward(objective, cfg, samples) for samples in (1, 2, 4))
    assert one < two
    assert four - two == pytest.approx(2 * (two - one), rel=0.02)
    fixed, each = needed(cfg)
    assert each == pytest.approx((two - one) / MIB)
    trained = sum(p.nbytes for p in objective.parameters() if p.requires_grad)
    held = sum(p.nbytes for p in objective.parameters()) + 3 * trained
    assert fixed == pytest.approx((held + 2 * one - two) / MIB)


def test_the_table_adds_up(capsys):
    assert main(["seqtrack_scratch", "--batch", "1024"]) == 0
    row = capsys.readouterr().out.splitlines()[-1].split()
    assert row[0] == "seqtrack_scratch"
    fixed, each, whole = map(float, row[1:])
    assert whole == pytest.approx(fixed / 1024 + each, abs=0.1)
