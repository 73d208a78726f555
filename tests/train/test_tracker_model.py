"""The loop trains any `TrackerModel`; a loss of SeqTrack is a field of the schema and a row."""

import signal

import pytest
import torch
from torch import nn

from lib.config.schema.training import Training
from lib.models.seqtrack import build_seqtrack
from lib.train.checkpoint import CheckpointFolder
from lib.train.logging.log import QuietLog
from lib.train.loop import fit
from lib.train.losses import auxiliary
from lib.train.losses.objective import Objective
from lib.train.model import TrackerModel
from lib.train.validation import Validator
from lib.utils.checkpoint import load_tensors
from lib.utils.errors import ConfigError
from tests.helpers.training_runs import STEPS, digest, make_config, make_run, one_thread


class Regressor(nn.Sequential):
    """A box from the search image alone."""

    def __init__(self):
        pixels = nn.Conv2d(3, 4, 7, stride=8), nn.ReLU(), nn.Dropout(0.1)
        super().__init__(*pixels, nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(64, 4))


class ToyModel(TrackerModel):
    """Nothing of SeqTrack: another network, another loss, a head that is not published."""

    name = "TOY"

    def __init__(self):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.regressor = Regressor()
            self.heads["area"] = nn.Linear(4, 1)

    def forward(self, batch, progress):
        boxes = self.regressor(batch.search.movedim(-1, 1) / 255.0)
        distance = (boxes - batch.boxes).abs().mean()
        areas = batch.boxes[:, 2:].prod(dim=1, keepdim=True)
        area = (self.heads["area"](boxes) - areas).abs().mean()
        return {"total": distance + area, "distance": distance.detach()}

    def inference(self):
        return self.regressor


def toy_run(folder):
    cfg = make_config(EMA_DECAY=0.9, ACCUMULATE=2, LR=1e-2, steps=2 * STEPS)
    return make_run(folder, cfg, model=ToyModel())


def test_another_model_is_trained_validated_and_resumed(tmp_path):
    straight = toy_run(tmp_path / "straight")
    warned, before = [], {k: v.clone() for k, v in straight.state.model.state_dict().items()}
    straight.validate = Validator(
        straight.cfg,
        straight.state,
        straight.world,
        QuietLog(lambda text, error: warned.append(text)),
        samples=straight.sampler,
        pictured=straight.sampler,
        closed_loop=lambda network, warn: {"AUC": float(isinstance(network, Regressor))},
    )
    stopped = toy_run(tmp_path / "stopped")
    stopped.log.at[2, 2] = lambda: signal.raise_signal(signal.SIGINT)
    again = toy_run(tmp_path / "stopped")
    with one_thread():
        fit(straight)
        with pytest.raises(KeyboardInterrupt):
            fit(stopped)
        assert (tmp_path / "stopped" / "TOY_interrupt.pth.tar").is_file()
        fit(again)
    assert [(s["epoch"], s["batch"]) for s in again.log.steps] == [(2, 3), (2, 4)]
    assert digest(again) == digest(straight)
    files = CheckpointFolder(tmp_path / "straight", "TOY")
    assert "finished" in files.finished(straight.cfg) and sorted(files.epochs()) == [1, 2]
    content = load_tensors(files.final)
    assert content["net_type"] == "TOY" and set(content["net"]) == set(Regressor().state_dict())
    after = straight.state.model.state_dict()
    assert not any(torch.equal(after[key], before[key]) for key in before)
    ((_, values),) = straight.log.validated
    assert values["AUC"] == 1 and 0 < values["distance"] < values["total"] and not warned


class TrainWithArea(Training):
    """The schema with one field more."""

    area_weight: float = 0.5


def area(network, cfg):
    """The row: a loss of the predicted area."""

    def loss(outputs):
        sizes = [x[:, 2:].prod(dim=1) for x in (outputs.expected(), outputs.coordinates)]
        return (sizes[0] - sizes[1]).abs().mean()

    return loss


def test_a_new_loss_is_a_field_and_a_row(tmp_path, monkeypatch):
    monkeypatch.setitem(auxiliary.LOSSES, "area", area)
    cfg = make_config(epochs=1, dropout=0.0)
    train = TrainWithArea.model_validate(cfg.train.model_dump(by_alias=True))
    cfg = cfg.model_copy(update={"train": train})
    run = make_run(tmp_path, cfg, model=Objective(build_seqtrack(cfg), cfg))
    fit(run)
    for step in run.log.steps:
        assert step["area"] > 0 and step["total"] == pytest.approx(step["ce"] + 0.5 * step["area"])


def test_a_network_without_an_encoder_says_how_to_train_it(tmp_path):
    with pytest.raises(ConfigError, match=r"TOY has no encoder .*PRETRAIN_TYPE=scratch"):
        ToyModel().load_encoder(tmp_path / "weights.pth")
