"""The loop: what a step depends on, that a run can be stopped anywhere and goes on exactly."""

import dataclasses
import math
import signal
import time

import pytest
import torch

from lib.train.loop import MEETING_STEPS, dropout_seed, fit
from lib.train.signals import StopRequest
from lib.utils.checkpoint import load_tensors, read_state_dict
from lib.utils.distributed import World
from lib.utils.errors import DataError
from tests.helpers.training_runs import (
    FINAL,
    INTERRUPT_NAME,
    STEPS,
    finished,
    folder_of,
    make_config,
    make_run,
    one_thread,
    start_process,
    trained,
    wait_for,
)


def equal_states(one, other) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """Two epochs without a pause, with dropout and a moving average."""
    folder = tmp_path_factory.mktemp("straight")
    return trained(folder, make_config(EMA_DECAY=0.9))


def test_trains_to_the_end(straight):
    log = straight.log
    assert [(s["epoch"], s["batch"]) for s in log.steps] == [
        (e, b) for e in (1, 2) for b in range(1, STEPS + 1)
    ]
    assert log.steps[0]["of"] == STEPS and log.steps[0]["samples"] == 2
    assert {"total", "ce", "iou", "grad_norm"} <= log.steps[0].keys()
    assert log.epochs == [1, 2] and not log.warned
    assert "finished after 2 epochs" in log.said[-1]
    names = {path.name for path in folder_of(straight).iterdir()}
    assert names == {"SEQTRACK_ep0001.pth.tar", "SEQTRACK_ep0002.pth.tar", FINAL}


def test_final_file_holds_the_averaged_weights_alone(straight):
    content = load_tensors(folder_of(straight) / FINAL)
    assert content.keys() == {"epoch", "net_type", "net"}
    assert (content["epoch"], content["net_type"]) == (2, "SEQTRACK")
    assert equal_states(content["net"], straight.state.ema.weights())
    assert not equal_states(content["net"], straight.state.model.network.state_dict())


def test_sigterm_in_the_middle_of_an_epoch_changes_nothing(straight, tmp_path):
    process = start_process(tmp_path, EMA_DECAY=0.9, hold=[2, 2])
    wait_for(process, "step 2 2")
    process.send_signal(signal.SIGTERM)
    time.sleep(0.2)
    (tmp_path / "go").touch()
    out, err = process.communicate(timeout=300)
    assert process.returncode == 143 and "terminated" in err, err
    assert "step" not in out and "finished" not in out
    assert f"after 1 epoch and 4 samples of the next; {tmp_path / INTERRUPT_NAME} is saved" in out
    interrupt = tmp_path / INTERRUPT_NAME
    assert load_tensors(interrupt)["epoch"] == 1

    again = trained(tmp_path, make_config(EMA_DECAY=0.9))
    assert [(s["epoch"], s["batch"]) for s in again.log.steps] == [(2, 3), (2, 4)]
    assert "1 epoch and 4 samples of the next" in again.log.said[0]
    assert not interrupt.exists() and not again.log.warned
    for name in (FINAL, "SEQTRACK_ep0002.pth.tar"):
        ours, theirs = (read_state_dict(folder_of(r) / name) for r in (again, straight))
        assert equal_states(ours, theirs), name
    networks = (r.state.model.network.state_dict() for r in (again, straight))
    assert equal_states(*networks)
    moments = (load_tensors(folder_of(r) / "SEQTRACK_ep0002.pth.tar") for r in (again, straight))
    one, other = (content["optimizer"]["state"] for content in moments)
    assert all(equal_states(one[key], other[key]) for key in other)
    assert [s["total"] for s in again.log.steps] == [s["total"] for s in straight.log.steps[6:]]


def test_killed_process_goes_on_from_the_last_epoch(straight, tmp_path):
    process = start_process(tmp_path, EMA_DECAY=0.9, hold=[2, 1])
    wait_for(process, "step 2 1")
    process.kill()
    process.communicate(timeout=300)
    assert [p.name for p in tmp_path.iterdir()] == ["SEQTRACK_ep0001.pth.tar"]
    again = trained(tmp_path, make_config(EMA_DECAY=0.9))
    assert again.log.steps[0]["epoch"] == 2 and again.log.steps[0]["batch"] == 1
    assert equal_states(
        read_state_dict(tmp_path / FINAL), read_state_dict(folder_of(straight) / FINAL)
    )


def stop_at(run, place, number, times=1):
    """Send this process a signal in a step; returns what left `fit`."""
    run.log.at[place] = lambda: [signal.raise_signal(number) for _ in range(times)]
    with one_thread(), pytest.raises(BaseException) as caught:
        fit(run)
    return caught.type


def test_ctrl_c_saves_first(tmp_path):
    run = make_run(tmp_path, make_config())
    assert stop_at(run, (1, 3), signal.SIGINT) is KeyboardInterrupt
    assert [p.name for p in tmp_path.iterdir()] == [INTERRUPT_NAME]
    assert load_tensors(tmp_path / INTERRUPT_NAME)["resume"]["step"] == 3
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_second_ctrl_c_leaves_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr("lib.train.signals._SAME_SECONDS", 0.0)
    run = make_run(tmp_path, make_config())
    assert stop_at(run, (1, 2), signal.SIGINT, times=2) is KeyboardInterrupt
    assert not list(tmp_path.iterdir())


def test_one_ctrl_c_that_arrives_twice_saves(tmp_path):
    run = make_run(tmp_path, make_config())
    assert stop_at(run, (1, 2), signal.SIGINT, times=2) is KeyboardInterrupt
    assert (tmp_path / INTERRUPT_NAME).exists()


def test_repeated_sigterm_does_not_disturb(monkeypatch):
    monkeypatch.setattr("lib.train.signals._SAME_SECONDS", 0.0)
    with StopRequest() as stop:
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
    assert stop.number == signal.SIGTERM


def test_signals_that_were_ignored_stay_ignored():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with StopRequest() as stop:
            signal.raise_signal(signal.SIGINT)
        assert stop.number == 0
    finally:
        signal.signal(signal.SIGINT, before)


def test_stop_at_the_end_of_an_epoch_needs_no_second_file(tmp_path):
    run = make_run(tmp_path, make_config())
    assert stop_at(run, (1, STEPS), signal.SIGINT) is KeyboardInterrupt
    assert [p.name for p in tmp_path.iterdir()] == ["SEQTRACK_ep0001.pth.tar"]
    assert f"after 1 epoch; {tmp_path / 'SEQTRACK_ep0001.pth.tar'} is saved" in run.log.said[-1]


def test_stop_in_the_last_step_still_finishes(tmp_path):
    run = make_run(tmp_path, make_config(epochs=1))
    assert stop_at(run, (1, STEPS), signal.SIGINT) is KeyboardInterrupt
    assert not any("finished" in text for text in run.log.said)
    again = trained(tmp_path, make_config(epochs=1))
    assert not again.log.steps and "finished" in again.log.said[-1]


def test_stop_during_validation_leaves_at_once(tmp_path):
    run = make_run(tmp_path, make_config(VAL_EPOCH_INTERVAL=1))
    run.validate = lambda epoch: signal.raise_signal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        fit(run)
    assert [p.name for p in tmp_path.iterdir()] == ["SEQTRACK_ep0001.pth.tar"]


@pytest.mark.parametrize("epochs", [1, 3])
@pytest.mark.parametrize("when", ["before", "during"])
def test_validation_that_was_cut_is_made_up_once(tmp_path, when, epochs):
    cfg = make_config(epochs=epochs, steps=1, VAL_EPOCH_INTERVAL=1)
    run = make_run(tmp_path, cfg)
    run.validate = lambda epoch: signal.raise_signal(signal.SIGINT)
    if when == "before":
        stop_at(run, (1, 1), signal.SIGINT)
    else:
        with pytest.raises(KeyboardInterrupt):
            fit(run)
    again = make_run(tmp_path, cfg)
    again.validate = lambda epoch: {"IoU": epoch / 10}
    fit(again)
    assert [epoch for epoch, _ in again.log.validated] == list(range(1, epochs + 1))
    more = make_run(tmp_path, make_config(epochs=epochs + 1, steps=1, VAL_EPOCH_INTERVAL=1))
    more.validate = again.validate
    fit(more)
    assert [epoch for epoch, _ in more.log.validated] == [epochs + 1]


def test_validation_without_a_score_is_done_once(tmp_path):
    """What the log shows does not decide it: there is no line of this one."""
    for epochs in (1, 2):
        run = make_run(tmp_path, make_config(epochs=epochs, steps=1, VAL_EPOCH_INTERVAL=1))
        calls = []
        run.validate = lambda epoch, calls=calls: calls.append(epoch) or {}
        fit(run)
        assert calls == [epochs]


def test_epoch_that_is_trained_again_is_validated_again(tmp_path):
    cfg = make_config(epochs=2, steps=1, VAL_EPOCH_INTERVAL=1)
    for stop in (False, True):
        run = make_run(tmp_path, cfg)
        run.validate = lambda epoch: {"IoU": 0.5}
        if stop:
            (tmp_path / "SEQTRACK_ep0002.pth.tar").unlink()
            stop_at(run, (2, 1), signal.SIGINT)
        else:
            fit(run)
    again = make_run(tmp_path, cfg)
    again.validate = lambda epoch: {"IoU": 0.5}
    fit(again)
    assert [epoch for epoch, _ in again.log.validated] == [2] and not again.log.steps


def test_validates_every_few_epochs_and_at_the_end(tmp_path):
    run = make_run(tmp_path, make_config(epochs=5, steps=1, VAL_EPOCH_INTERVAL=2))
    run.validate = lambda epoch: {"IoU": epoch / 10}
    fit(run)
    assert run.log.validated == [(2, {"IoU": 0.2}), (4, {"IoU": 0.4}), (5, {"IoU": 0.5})]


def test_accumulation_takes_several_batches_per_step(tmp_path):
    cfg = make_config(epochs=1, steps=5, ACCUMULATE=2)
    run = trained(tmp_path, cfg)
    assert [s["batch"] for s in run.log.steps] == [1, 2, 3]
    assert [s["samples"] for s in run.log.steps] == [4, 4, 2]
    assert load_tensors(tmp_path / "SEQTRACK_ep0001.pth.tar")["resume"]["step"] == 3


def test_accumulation_resumes_between_steps(tmp_path):
    cfg = make_config(epochs=1, steps=5, ACCUMULATE=2)
    straight = trained(tmp_path / "straight", cfg)
    stop_at(make_run(tmp_path / "stopped", cfg), (1, 2), signal.SIGINT)
    again = trained(tmp_path / "stopped", cfg)
    assert [s["batch"] for s in again.log.steps] == [3]
    networks = (r.state.model.network.state_dict() for r in (again, straight))
    assert equal_states(*networks)


def test_learning_rate_follows_the_schedule(tmp_path):
    cfg = make_config(epochs=3, steps=1, LR_DROP_EPOCH=2)
    run = make_run(tmp_path, cfg)
    rates = []
    for epoch in (1, 2, 3):
        run.log.at[epoch, 1] = lambda: rates.append(
            [g["lr"] for g in run.state.optimizer.param_groups]
        )
    fit(run)
    assert rates[0] == rates[1] == pytest.approx([1e-3, 1e-4])
    assert rates[2] == pytest.approx([1e-4, 1e-5])


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"ACCUMULATE": 4}, id="larger steps"),
        pytest.param({"steps": 12}, id="longer epochs"),
        pytest.param({"steps": 2}, id="shorter epochs"),
    ],
)
def test_cosine_goes_on_where_it_was(tmp_path, change):
    """Half of the epochs are half of the training, however many steps they have from now on."""
    cosine = {"epochs": 2, "SCHEDULER": {"TYPE": "cosine", "WARMUP_STEPS": 2}}
    run = make_run(tmp_path, make_config(**cosine))
    stop_at(run, (1, STEPS), signal.SIGINT)
    again = make_run(tmp_path, make_config(**{**cosine, **change}))
    rates = []
    again.log.at[2, 1] = lambda: rates.append(again.state.optimizer.param_groups[0]["lr"])
    fit(again)
    assert rates == [pytest.approx(0.5e-3)]


def test_processes_meet_every_few_steps(tmp_path, one_process, monkeypatch):
    """Each exchange of plain numbers waits for the slowest process."""
    meetings, original = [], torch.distributed.all_reduce

    def counting(tensor, *args, **options):
        if not tensor.is_floating_point():
            meetings.append(len(run.log.steps))
        return original(tensor, *args, **options)

    monkeypatch.setattr(torch.distributed, "all_reduce", counting)
    steps = 2 * MEETING_STEPS + 1
    run = make_run(tmp_path, make_config(epochs=1, samples=2 * 2 * steps), World(0, 2))
    fit(run)
    # Before the last line of the epoch, and whether to leave once it is saved.
    assert meetings == [MEETING_STEPS, 2 * MEETING_STEPS, steps - 1, steps]


class Faulty:
    """Half of the draws of a source hit a broken file."""

    def __init__(self, source):
        self.source, self.name = source, source.name

    def draw(self, rng, progress):
        if rng.random() < 0.5:
            raise DataError("x.jpg: broken")
        return self.source.draw(rng, progress)


def test_broken_files_are_counted(tmp_path):
    run = make_run(tmp_path, make_config(epochs=1))
    run.sampler = dataclasses.replace(run.sampler, sources=(Faulty(run.sampler.sources[0]),))
    fit(run)
    counts = [step["events"] for step in run.log.steps]
    assert sum(count["broken"] for count in counts) > 0
    assert all(count["broken"] == count["redraws"] for count in counts)


def test_steps_that_fp16_skips_are_counted(tmp_path):
    run = make_run(tmp_path, make_config(epochs=1, PRECISION="fp16"))
    overflows = iter([True])
    run.state.model.network.bottleneck.bias.register_hook(
        lambda grad: grad * math.inf if next(overflows, False) else grad
    )
    fit(run)
    assert [step["events"]["skipped"] for step in run.log.steps] == [1, 0, 0, 0]


def test_dropout_differs_between_steps_and_processes():
    places = [(s, e, b, r) for s in (0, 1) for e in (1, 2) for b in (0, 1) for r in (0, 1)]
    assert len({dropout_seed(*place) for place in places}) == len(places)


def test_finished_run_says_so(straight):
    assert "finished (2 epochs)" in finished(folder_of(straight), straight.cfg)
    assert finished(folder_of(straight), make_config(epochs=3)) is None


def test_more_epochs_go_on_from_a_finished_run(straight, tmp_path):
    trained(tmp_path, make_config(epochs=1))
    again = trained(tmp_path, make_config(epochs=2))
    assert {s["epoch"] for s in again.log.steps} == {2}
    assert "TRAIN.EPOCH (1 -> 2)" in again.log.warned[0]
