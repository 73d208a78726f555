"""What goes wrong in a training ends it with one clear line, and leaves what is needed."""

import json
import math
import signal

import numpy as np
import pytest
import torch

from lib.train.loop import fit
from lib.train.precision import NonFiniteLoss
from lib.utils.errors import EXIT_NON_FINITE, EXIT_PARTIAL, SeqTrackError
from lib.utils.image_io import read_rgb
from tests.helpers.training_runs import BATCH, STEPS, make_config, make_run, trained


def spoil(run, calls: int, value: float = math.nan):
    """Make the loss `value` from forward pass number `calls` (from 1) on."""
    count = 0

    def hook(module, inputs, outputs):
        nonlocal count
        count += 1
        return {**outputs, "total": outputs["total"] * value} if count >= calls else outputs

    run.state.model.register_forward_hook(hook)


# On a GPU the numbers of a step are read in the next one.
LATE = pytest.mark.parametrize("late", [False, True], ids=["in the step", "in the next step"])


@LATE
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_loss_that_is_no_number_is_dumped(tmp_path, value, late):
    run = make_run(tmp_path, make_config())
    run.state.precision.late = late
    spoil(run, 7, value)  # step 3 of epoch 2
    before = {}
    run.log.at[2, 2] = lambda: before.update(
        {k: v.clone() for k, v in run.state.model.state_dict().items()}
    )
    with pytest.raises(NonFiniteLoss) as error:
        fit(run)
    text = str(error.value)
    folder = tmp_path / "logs" / "nonfinite-tiny-ep0002-step6"
    assert error.value.exit_code == EXIT_NON_FINITE and str(folder) in text and "\n" not in text
    after = run.state.model.state_dict()
    assert all(torch.equal(after[key], before[key]) for key in before)
    assert [p.name for p in tmp_path.glob("*.tar")] == ["SEQTRACK_ep0001.pth.tar"]
    assert not any("finished" in line for line in run.log.said)

    facts = json.loads((folder / "batch.json").read_text(encoding="utf-8"))
    assert (facts["epoch"], facts["batch"], facts["step"]) == (2, 2, 6)
    assert facts["non_finite_weights"] == [] and facts["seed"] == 5
    numbers = [sample["number"] for sample in facts["samples"]]
    assert numbers == [2 * BATCH, 2 * BATCH + 1]
    for sample in facts["samples"]:
        again = run.sampler.sample(2, sample["number"])
        assert sample["source"] == "square" and sample["box"] == pytest.approx(again.box.tolist())
        name = f"sample{sample['number']:06d}"
        assert np.array_equal(read_rgb(folder / f"{name}-search.png"), again.search)
        for t, template in enumerate(again.templates):
            assert np.array_equal(read_rgb(folder / f"{name}-template{t}.png"), template)


@LATE
@pytest.mark.parametrize("batch", [STEPS, STEPS - 1], ids=["end of the epoch", "before a stop"])
def test_nothing_of_a_bad_step_is_saved(tmp_path, late, batch):
    run = make_run(tmp_path, make_config(EMA_DECAY=0.9))
    run.state.precision.late = late
    spoil(run, STEPS + batch)
    run.log.at[2, batch] = lambda: signal.raise_signal(signal.SIGINT)
    with pytest.raises(NonFiniteLoss, match=f"ep0002-step{STEPS + batch - 1}"):
        fit(run)
    assert [p.name for p in tmp_path.glob("*.tar")] == ["SEQTRACK_ep0001.pth.tar"]


def test_broken_weights_are_named(tmp_path):
    run = make_run(tmp_path, make_config(epochs=1))
    run.state.model.network.pos_embed.data[0, 0, 0] = math.inf
    with pytest.raises(NonFiniteLoss):
        fit(run)
    (folder,) = (tmp_path / "logs").iterdir()
    facts = json.loads((folder / "batch.json").read_text(encoding="utf-8"))
    assert facts["non_finite_weights"] == ["pos_embed"]


def test_dump_holds_all_parts_of_a_step(tmp_path):
    run = make_run(tmp_path, make_config(epochs=1, ACCUMULATE=2))
    spoil(run, 4)
    with pytest.raises(NonFiniteLoss):
        fit(run)
    (folder,) = (tmp_path / "logs").iterdir()
    facts = json.loads((folder / "batch.json").read_text(encoding="utf-8"))
    assert [s["number"] for s in facts["samples"]] == [4, 5, 6, 7]


def test_dump_that_cannot_be_written_hides_nothing(tmp_path):
    run = make_run(tmp_path, make_config(epochs=1))
    (tmp_path / "logs").write_text("a file is in the way")
    spoil(run, 1)
    with pytest.raises(NonFiniteLoss, match=r"not finite.*could not be written"):
        fit(run)


def test_same_fault_after_a_restart(tmp_path):
    """What failed fails again in the same place: nothing is skipped in silence."""
    first = make_run(tmp_path, make_config())
    spoil(first, 6)
    with pytest.raises(NonFiniteLoss) as one:
        fit(first)
    again = make_run(tmp_path, make_config())
    spoil(again, 2)
    with pytest.raises(NonFiniteLoss) as other:
        fit(again)
    assert str(one.value) == str(other.value)


def test_death_of_a_loader_process_ends_the_run(tmp_path):
    with pytest.raises(SeqTrackError, match="data-loading process died") as error:
        trained(tmp_path, make_config(epochs=3, NUM_WORKER=1), deadly=True)
    assert error.value.exit_code == EXIT_PARTIAL and "\n" not in str(error.value)


def test_samples_do_not_depend_on_the_loader_processes(tmp_path):
    runs = [
        trained(tmp_path / str(workers), make_config(epochs=1, NUM_WORKER=workers))
        for workers in (0, 1)
    ]
    one, other = (run.state.model.network.state_dict() for run in runs)
    assert all(torch.equal(one[key], other[key]) for key in one)
