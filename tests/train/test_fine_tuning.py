"""Fine-tuning in the loop: additions in checkpoints, the best weights, the end before the end."""

import json

import pytest
import torch

from lib.config.schema import Config
from lib.train import presets
from lib.train.loop import fit
from lib.train.memory import expected_memory
from lib.utils.checkpoint import load_tensors
from lib.utils.errors import ConfigError
from tests.helpers.training_runs import (
    FINAL,
    finished,
    folder_of,
    make_config,
    make_run,
    one_thread,
)
from tests.helpers.training_setup import make_objective, training_config

LORA = {"FREEZE_ENCODER": True, "FREEZE_DECODER": True, "LORA_RANK": 2, "ENCODER_MULTIPLIER": 1.0}
BEST = "SEQTRACK_best.pth.tar"


def lora_run(folder, cfg):
    objective = make_objective(cfg, seed=5)
    objective.add_low_rank(cfg.train.lora_rank, seed=5)
    return make_run(folder, cfg, model=objective)


def fitted(run):
    with one_thread():
        fit(run)
    return run


@pytest.mark.parametrize("ema", [0.0, 0.9], ids=["weights", "their average"])
def test_checkpoints_hold_plain_weights_and_go_on(tmp_path, ema):
    cfg = make_config(epochs=2, dropout=0.0, EMA_DECAY=ema, **LORA)
    whole = fitted(lora_run(tmp_path / "whole", cfg))
    names = make_objective(cfg).network.state_dict().keys()
    for file in ("SEQTRACK_ep0001.pth.tar", FINAL):
        assert load_tensors(folder_of(whole) / file)["net"].keys() == names
    parts = tmp_path / "parts"
    parts.mkdir()
    first = "SEQTRACK_ep0001.pth.tar"
    (parts / first).write_bytes((folder_of(whole) / first).read_bytes())
    again = fitted(lora_run(parts, cfg))
    one, other = (load_tensors(folder_of(run) / FINAL)["net"] for run in (whole, again))
    assert all(torch.equal(one[name], other[name]) for name in names)


def stopping(folder, losses, patience=2, epochs=9, name="total"):
    """A run whose validations give these values, from before the first epoch on."""
    cfg = make_config(epochs=epochs, steps=1, VAL_EPOCH_INTERVAL=1)
    # Unchecked: there is no data to validate on, and none is needed.
    train = cfg.train.model_copy(update={"early_stop": patience})
    run = make_run(folder, cfg.model_copy(update={"train": train}))
    run.validate = lambda epoch: {name: losses[epoch]}
    return run


def test_it_stops_and_publishes_the_best(tmp_path):
    run = fitted(stopping(tmp_path, [5.0, 4.0, 3.0, 3.5, 3.2, 1.0]))
    assert run.log.epochs == [1, 2, 3, 4]
    final, best = (load_tensors(tmp_path / name) for name in (FINAL, BEST))
    second = load_tensors(tmp_path / "SEQTRACK_ep0002.pth.tar")
    assert final["epoch"] == best["epoch"] == 2
    assert all(torch.equal(final["net"][k], second["net"][k]) for k in second["net"])
    assert "of epoch 2, whose validation was the best" in run.log.said[-1]


def test_a_higher_score_is_better_than_a_lower_loss(tmp_path):
    run = fitted(stopping(tmp_path, [0.1, 0.2, 0.3, 0.25, 0.2], name="AUC"))
    assert run.log.epochs == [1, 2, 3, 4]
    assert json.loads((tmp_path / "run.json").read_text())["best"] == {"epoch": 2, "score": 0.3}


def test_a_training_that_only_harms_keeps_the_start(tmp_path):
    run = stopping(tmp_path, [1.0, 2.0, 2.0, 2.0])
    start = {name: x.clone() for name, x in run.state.model.network.state_dict().items()}
    fitted(run)
    assert run.log.epochs == [1, 2]
    final = load_tensors(tmp_path / FINAL)
    assert final["epoch"] == 0 and all(torch.equal(final["net"][k], start[k]) for k in start)
    assert "those of the start, for no epoch was better" in run.log.said[-1]


def test_one_that_has_stopped_does_not_go_on(tmp_path):
    losses = [5.0, 4.0, 4.5, 4.6, 1.0]
    fitted(stopping(tmp_path, losses))
    again = fitted(stopping(tmp_path, losses))
    assert again.log.epochs == [] and load_tensors(tmp_path / FINAL)["epoch"] == 1
    assert finished(tmp_path, again.cfg) is None


def test_without_patience_the_start_is_not_validated(tmp_path):
    run = fitted(stopping(tmp_path, [0, 1.0, 2.0], patience=0, epochs=2))
    assert [epoch for epoch, _ in run.log.validated] == [1, 2]
    assert not (tmp_path / BEST).exists()


# presets ------------------------------------------------------------------------------------


def test_memory_is_counted_and_grows_with_the_batch():
    cfg = training_config({**LORA, "BATCH_SIZE": 2})
    one, objective = expected_memory(cfg), make_objective(cfg)
    objective.add_low_rank(2, seed=0)
    trains = sum(p.numel() for p in objective.parameters() if p.requires_grad)
    assert one.training == trains < 0.2 * one.parameters
    assert one.training_state == 12 * trains and one.weights == 4 * one.parameters
    content = cfg.model_dump(by_alias=True)
    content["TRAIN"]["BATCH_SIZE"] = 4
    other = expected_memory(Config.model_validate(content))
    assert 1.5 * one.activations < other.activations <= 2 * one.activations
    whole = expected_memory(training_config({"BATCH_SIZE": 2}))
    assert whole.training_state > 5 * one.training_state
    assert f"{trains:,} of {one.parameters:,} parameters train" in str(one)


def test_presets():
    assert presets.default_preset(2_000_000) == "full"
    assert presets.default_preset(90_000_000) == "lora"
    with pytest.raises(ConfigError, match="no preset 'lorra'; did you mean 'lora'"):
        presets.preset_settings("lorra", training_config())
