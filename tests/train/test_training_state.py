"""Training checkpoints: their content, which stay, and which one a run goes on from."""

import errno
import resource
from pathlib import Path

import pytest
import torch

from lib.models.seqtrack import build_seqtrack
from lib.models.weights import load_weights
from lib.train.checkpoint import Position
from lib.utils.checkpoint import load_tensors, save_checkpoint
from lib.utils.errors import CheckpointError, PartialFailure
from tests.helpers.training_runs import (
    FINAL,
    INTERRUPT_NAME,
    STEPS,
    finished,
    folder_of,
    make_config,
    make_run,
    trained,
)
from tests.parity.conftest import KIT, small_config

LOSSLESS = make_config(dropout=0.0)


def epoch_path(folder: Path, epoch: int) -> Path:
    return folder / f"SEQTRACK_ep{epoch:04d}.pth.tar"


def weights_of(run):
    return run.state.model.network.state_dict()


def equal_states(one, other) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)


@pytest.fixture(scope="module")
def two_epochs(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("two"), LOSSLESS)


def copy_of(run, folder: Path, *epochs: int) -> Path:
    folder.mkdir(exist_ok=True)
    for epoch in epochs:
        epoch_path(folder, epoch).write_bytes(epoch_path(folder_of(run), epoch).read_bytes())
    return folder


def test_fields_are_those_of_the_reference(two_epochs):
    path = epoch_path(folder_of(two_epochs), 2)
    content = torch.load(path, weights_only=True)
    reference = load_tensors(KIT / "checkpoint_small.pth.tar")
    assert list(content)[: len(reference)] == list(reference)
    for field in ("actor_type", "net_type", "net_info", "constructor"):
        assert content[field] == reference[field]
    assert content["epoch"] == 2 and content["resume"]["step"] == 2 * STEPS
    settings = content["settings"]
    assert (settings["config_name"], settings["seed"]) == ("tiny", 5)
    assert settings["config"]["TRAIN"]["EPOCH"] == 2 and "torch" in settings
    assert equal_states(content["net"], weights_of(two_epochs))


def test_tracker_reads_it(two_epochs):
    network = build_seqtrack(LOSSLESS)
    info = load_weights(network, epoch_path(folder_of(two_epochs), 2))
    assert (info.epoch, info.net_type) == (2, "SEQTRACK")
    assert equal_states(network.state_dict(), weights_of(two_epochs))


def test_last_ten_and_every_tenth_stay(tmp_path):
    run = make_run(tmp_path, LOSSLESS)
    (tmp_path / "SEQTRACK_ep0003.pth.tar.bak").touch()
    for epoch in range(1, 26):
        run.checkpoints.save_epoch(Position(epoch, 0, epoch))
    kept = {p.name for p in tmp_path.iterdir()} - {"SEQTRACK_ep0003.pth.tar.bak"}
    assert kept == {epoch_path(tmp_path, e).name for e in (10, *range(16, 26))}


@pytest.mark.parametrize(
    "share", [pytest.param(0.0, id="empty"), pytest.param(0.5, id="half of the file")]
)
def test_damaged_newest_falls_back(two_epochs, tmp_path, share):
    path = epoch_path(copy_of(two_epochs, tmp_path, 1, 2), 2)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    run = trained(tmp_path, LOSSLESS)
    assert str(path) in run.log.warned[0] and "before it" in run.log.warned[0]
    assert {s["epoch"] for s in run.log.steps} == {2}
    assert equal_states(weights_of(run), weights_of(two_epochs))
    assert equal_states(load_tensors(path)["net"], weights_of(run))


def test_nothing_readable_is_an_error(tmp_path):
    epoch_path(tmp_path, 1).write_bytes(b"nothing")
    with pytest.raises(CheckpointError, match="move them away"):
        make_run(tmp_path, LOSSLESS).checkpoints.restore()


def test_damaged_interrupt_falls_back_to_the_epoch(two_epochs, tmp_path):
    copy_of(two_epochs, tmp_path, 1)
    (tmp_path / INTERRUPT_NAME).write_bytes(b"half a file")
    run = make_run(tmp_path, LOSSLESS)
    assert run.checkpoints.restore() == Position(1, 0, STEPS)
    assert INTERRUPT_NAME in run.log.warned[0]


def test_left_over_interrupt_is_not_read_back(two_epochs, tmp_path):
    copy_of(two_epochs, tmp_path, 1)
    make_run(tmp_path, LOSSLESS).checkpoints.save_interrupt(Position(0, 4, 2))
    run = make_run(tmp_path, LOSSLESS)
    assert run.checkpoints.restore() == Position(1, 0, STEPS)
    assert not run.log.warned


def test_interrupt_of_the_first_epoch(tmp_path):
    make_run(tmp_path, LOSSLESS).checkpoints.save_interrupt(Position(0, 4, 2))
    assert make_run(tmp_path, LOSSLESS).checkpoints.restore() == Position(0, 4, 2)


def test_shorter_epochs_than_before(tmp_path):
    make_run(tmp_path, LOSSLESS).checkpoints.save_interrupt(Position(0, 6, 3))
    run = trained(tmp_path, make_config(dropout=0.0, steps=2))
    assert [(s["epoch"], s["batch"]) for s in run.log.steps] == [(2, 1), (2, 2)]


def test_checkpoint_of_another_network(two_epochs, tmp_path):
    copy_of(two_epochs, tmp_path, 2)
    other = make_config()
    content = other.model_dump(by_alias=True)
    content["MODEL"]["BINS"] = 128
    run = make_run(tmp_path, type(other).model_validate(content))
    with pytest.raises(CheckpointError, match=r"another configuration: .*word_embeddings") as error:
        run.checkpoints.restore()
    assert str(epoch_path(tmp_path, 2)) in str(error.value) and "\n" not in str(error.value)


def test_checkpoint_with_other_heads(two_epochs, tmp_path):
    copy_of(two_epochs, tmp_path, 1)
    with pytest.raises(CheckpointError, match="another configuration"):
        make_run(tmp_path, make_config(CENTRE_WEIGHT=1.0)).checkpoints.restore()


def test_heads_go_on(tmp_path):
    cfg = make_config(dropout=0.0, CENTRE_WEIGHT=1.0)
    one = trained(tmp_path / "one", cfg)
    copy_of(one, tmp_path / "two", 1)
    other = trained(tmp_path / "two", cfg)
    assert equal_states(one.state.model.state_dict(), other.state.model.state_dict())
    assert one.log.steps[4:][0]["centre"] == other.log.steps[0]["centre"]


def test_other_checkpoint_without_place(two_epochs, tmp_path):
    content = load_tensors(epoch_path(folder_of(two_epochs), 2))
    content["resume"]["samples"] = "many"
    save_checkpoint(epoch_path(tmp_path, 2), content)
    with pytest.raises(CheckpointError, match="no training checkpoint of this version"):
        make_run(tmp_path, LOSSLESS).checkpoints.restore()


def test_changes_are_said(two_epochs, tmp_path):
    copy_of(two_epochs, tmp_path, 1)
    run = make_run(tmp_path, make_config(dropout=0.0, LR=5e-4, BATCH_SIZE=1), seed=6)
    assert run.checkpoints.restore().epoch == 1
    (warning,) = run.log.warned
    assert "TRAIN.LR (0.001 -> 0.0005)" in warning and "seed (5 -> 6)" in warning
    assert "TRAIN.BATCH_SIZE (2 -> 1)" in warning and "\n" not in warning
    assert [g["lr"] for g in run.state.optimizer.param_groups] == pytest.approx([5e-4, 5e-5])


@pytest.mark.parametrize("before", [0.0, 0.9], ids=["without before", "with before"])
def test_moving_average_can_be_switched(tmp_path, before):
    now = 0.9 - before
    one = trained(tmp_path, make_config(epochs=1, EMA_DECAY=before))
    other = make_run(tmp_path, make_config(epochs=2, EMA_DECAY=now), seed=7)
    other.checkpoints.restore()
    assert equal_states(weights_of(one), weights_of(other))
    if now:
        assert equal_states(other.state.ema.weights(), weights_of(one))


def test_checkpoint_of_the_reference_goes_on(tmp_path):
    kit = KIT / "checkpoint_small.pth.tar"
    epoch_path(tmp_path, 1).write_bytes(kit.read_bytes())
    cfg = small_config()
    content = cfg.model_dump(by_alias=True)
    content["TRAIN"] |= {"EPOCH": 2, "BATCH_SIZE": 1}
    content["DATA"]["TRAIN"]["SAMPLE_PER_EPOCH"] = 2
    cfg = type(cfg).model_validate(content)
    run = make_run(tmp_path, cfg)
    assert run.checkpoints.restore() == Position(1, 0, 2)
    assert equal_states(weights_of(run), dict(load_tensors(kit)["net"]))
    assert "no moments" in run.log.warned[0] and len(run.log.warned) == 1
    run = trained(tmp_path, cfg)
    assert [s["epoch"] for s in run.log.steps] == [2, 2]


def test_moments_of_the_reference_are_taken_over(two_epochs, tmp_path):
    content = load_tensors(epoch_path(folder_of(two_epochs), 1))
    del content["resume"], content["settings"]
    content["net"] = {f"module.{key}": value for key, value in content["net"].items()}
    save_checkpoint(epoch_path(tmp_path, 1), content)
    run = trained(tmp_path, LOSSLESS)
    assert not run.log.warned
    assert equal_states(weights_of(run), weights_of(two_epochs))


def test_names_and_averages_of_wrapped_networks(tmp_path):
    """`torch.compile` inside DistributedDataParallel, with an averaged network beside it."""
    cfg = make_config(dropout=0.0, EMA_DECAY=0.5)
    before = make_run(tmp_path / "before", cfg)
    folder_of(before).mkdir()
    before.checkpoints.save_epoch(Position(1, 0, STEPS))
    content = load_tensors(epoch_path(folder_of(before), 1))
    for fields in (content, content["resume"]):
        fields["net"] = {f"module._orig_mod.{k}": v for k, v in fields["net"].items()}
    save_checkpoint(epoch_path(tmp_path, 1), content)
    run = make_run(tmp_path, cfg)
    assert run.checkpoints.restore().epoch == 1
    assert equal_states(weights_of(run), weights_of(before))
    assert equal_states(run.state.ema.weights(), before.state.ema.weights())


@pytest.mark.parametrize("field", ["net", "resume"])
def test_weights_that_are_not_finite_are_not_gone_on_with(two_epochs, tmp_path, field):
    content = load_tensors(epoch_path(copy_of(two_epochs, tmp_path, 1, 2), 2))
    spoilt = {key: value.clone() for key, value in content["net"].items()}
    spoilt["pos_embed"].view(-1)[3] = float("inf")
    (content if field == "net" else content["resume"])["net"] = spoilt
    save_checkpoint(epoch_path(tmp_path, 2), content)
    run = make_run(tmp_path, LOSSLESS)
    assert run.checkpoints.restore().epoch == 1
    assert "pos_embed has 1 of" in run.log.warned[0] and "before it" in run.log.warned[0]


def test_stripped_optimizer_costs_a_warning(two_epochs, tmp_path):
    content = load_tensors(epoch_path(folder_of(two_epochs), 1))
    del content["optimizer"]
    save_checkpoint(epoch_path(tmp_path, 1), content)
    run = make_run(tmp_path, LOSSLESS)
    assert run.checkpoints.restore().epoch == 1 and "no moments" in run.log.warned[0]


def test_downloaded_weights_are_not_overwritten(two_epochs, tmp_path):
    save_checkpoint(tmp_path / FINAL, {"net": dict(weights_of(two_epochs)), "epoch": 1})
    with pytest.raises(CheckpointError, match="--init-from"):
        finished(tmp_path, LOSSLESS)


def test_finished_weights_without_epochs(two_epochs, tmp_path):
    """The record tells that they were trained here, though somebody made room."""
    (tmp_path / FINAL).write_bytes((folder_of(two_epochs) / FINAL).read_bytes())
    (tmp_path / "run.json").write_text("{}")
    assert "finished (2 epochs)" in finished(tmp_path, LOSSLESS)
    with pytest.raises(CheckpointError, match="nothing to go on from"):
        finished(tmp_path, make_config(epochs=3))


@pytest.mark.parametrize("epoch", [1, 2, 500])
def test_weights_of_another_place_are_no_finished_training(two_epochs, tmp_path, epoch):
    save_checkpoint(tmp_path / FINAL, {"net": dict(weights_of(two_epochs)), "epoch": epoch})
    with pytest.raises(CheckpointError, match="holds weights but no training") as error:
        finished(tmp_path, LOSSLESS)
    text = str(error.value)
    assert "--save-dir" in text and "--init-from" in text and "\n" not in text


def test_weights_that_came_to_a_training_that_was_stopped(two_epochs, tmp_path):
    copy_of(two_epochs, tmp_path, 1)
    save_checkpoint(tmp_path / FINAL, {"net": dict(weights_of(two_epochs)), "epoch": 500})
    with pytest.raises(CheckpointError, match=r"epoch 500, the newest .* of epoch 1"):
        finished(tmp_path, LOSSLESS)


def test_what_a_killed_process_left_half_written_is_removed(two_epochs, tmp_path):
    copy_of(two_epochs, tmp_path, 1)
    names = (".SEQTRACK_ep0002.pth.tar.k3x.tmp", ".SEQTRACK_interrupt.pth.tar.ab.tmp")
    others = (".mine.tmp", "SEQTRACK_ep0002.pth.tar.tmp")
    for name in (*names, *others):
        (tmp_path / name).touch()
    run = make_run(tmp_path, LOSSLESS)
    assert run.checkpoints.restore().epoch == 1 and not run.log.warned
    assert {p.name for p in tmp_path.iterdir()} == {"SEQTRACK_ep0001.pth.tar", *others}


def test_nothing_there_is_not_finished(tmp_path):
    assert finished(tmp_path / "none", LOSSLESS) is None


def test_damaged_final_file_is_written_again(two_epochs, tmp_path):
    copy_of(two_epochs, tmp_path, 1, 2)
    (tmp_path / FINAL).write_bytes(b"half")
    assert finished(tmp_path, LOSSLESS) is None
    run = trained(tmp_path, LOSSLESS)
    assert not run.log.steps and load_tensors(tmp_path / FINAL)["epoch"] == 2


def test_full_disk_ends_the_run_and_harms_nothing(two_epochs, tmp_path, monkeypatch):
    copy_of(two_epochs, tmp_path, 1)
    before = epoch_path(tmp_path, 1).read_bytes()

    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(PartialFailure, match="No space left") as error:
        trained(tmp_path, LOSSLESS)
    text = str(error.value)
    assert "SEQTRACK_ep0002" in text and "SEQTRACK_ep0001.pth.tar and before" in text
    assert error.value.exit_code == 1 and "\n" not in text
    assert [p.name for p in tmp_path.iterdir()] == ["SEQTRACK_ep0001.pth.tar"]
    assert epoch_path(tmp_path, 1).read_bytes() == before


def test_disk_that_refuses_in_the_middle_of_a_file(tmp_path):
    """As a full disk does: some bytes are written, then an error comes from the system."""
    run = make_run(tmp_path, LOSSLESS)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(PartialFailure, match="cannot be saved"):
            run.checkpoints.save_epoch(Position(1, 0, 1))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not list(tmp_path.iterdir())
