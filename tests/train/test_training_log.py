"""What a training tells: its lines, its file, its curves."""

import logging
import re

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lib.config.schema import Config
from lib.train.logging.log import QuietLog, TrainingLog, duration, warnings_in
from lib.train.optim import base_rates, set_learning_rate


class Place:
    """A log over a folder, and what it printed."""

    def __init__(self, folder, **options):
        self.said, self.warned = [], []
        self.file, self.curves = folder / "logs" / "seqtrack-tiny.log", folder / "curves"
        options = {"epochs": 3, "print_interval": 2, **options}
        self.log = TrainingLog(text_file=self.file, curves=self.curves, say=self._say, **options)

    def _say(self, text, error):
        (self.warned if error else self.said).append(text)

    def step(self, epoch, batch, of=5, loss=1.0, iou=0.5, events=None, **values):
        values = {"total": torch.tensor(loss), "ce": loss, "iou": torch.tensor(iou), **values}
        self.log.step(epoch, batch, of, values, 8, 0.1, 0.3, events or {})

    def lines(self):
        return self.file.read_text().splitlines()

    def scalars(self, part):
        events = EventAccumulator(str(self.curves / part), size_guidance={"images": 0})
        events.Reload()
        tags = events.Tags()
        found = {t: [(e.step, e.value) for e in events.Scalars(t)] for t in tags["scalars"]}
        return found, {t: events.Images(t) for t in tags["images"]}


@pytest.fixture
def place(tmp_path):
    made = Place(tmp_path)
    yield made
    made.log.close()


def test_line_has_the_known_form(place):
    for batch, loss, iou in ((1, 4.0, 0.1), (2, 2.0, 0.3)):
        place.step(1, batch, loss=loss, iou=iou)
    (line,) = place.said
    known = "[train: 1, 2 / 5] FPS: 20.0 (20.0)  ,  Loss/total: 3.00000  ,  IoU: 0.20000"
    assert line.startswith(known)
    assert "data: 25%" in line and "ETA: 00:00:05" in line  # 13 steps of 0.4 s
    assert place.lines()[-1] == line


def test_lines_come_every_interval_and_at_the_end_of_an_epoch(place):
    for epoch in (1, 2):
        for batch in range(1, 6):
            place.step(epoch, batch)
        place.log.epoch(epoch)
    heads = [re.match(r"\[train: (\d), (\d) / 5\]", line).groups() for line in place.said]
    assert heads == [(e, b) for e in "12" for b in "245"]


def test_means_start_anew_with_an_epoch(place):
    for batch in range(1, 6):
        place.step(1, batch, loss=9.0)
    place.log.epoch(1)
    for batch in (1, 2):
        place.step(2, batch, loss=1.0)
    assert "Loss/total: 1.00000" in place.said[-1]


def test_second_speed_is_of_the_steps_since_the_last_line(place):
    for batch, seconds in ((1, 0.4), (2, 0.4), (3, 0.1), (4, 0.1)):
        place.log.step(1, batch, 5, {"total": 1.0}, 8, 0.0, seconds, {})
    assert "FPS: 20.0 (20.0)" in place.said[0] and "FPS: 32.0 (80.0)" in place.said[1]


def test_several_losses_are_told_apart_and_one_is_told_once(place):
    place.step(1, 1)
    place.step(1, 2)
    place.step(1, 3, l1=0.25, grad_norm=7.0, a_new_loss=3.0)
    place.step(1, 4, l1=0.75, grad_norm=9.0)
    assert "Loss/ce" not in place.said[0]
    # Means over the steps that had them.
    for part in ("Loss/ce: 1.0", "Loss/l1: 0.50000", "Loss/a_new_loss: 3.0", " grad_norm: 8.00000"):
        assert part in place.said[1]


def test_rare_events_are_told_apart_and_only_where_there_are_some(place):
    none = {"redraws": 0, "broken": 0, "skipped": 0}
    place.step(1, 1, events=none)
    place.step(1, 2, events=none)
    place.step(1, 3, events=none | {"redraws": 2, "broken": 1})
    place.step(1, 4, events=none | {"redraws": 1})
    place.step(1, 5, events=none | {"skipped": 1})
    place.log.epoch(1)
    place.step(2, 1, events=none)
    place.step(2, 2, events=none)
    place.log.close()
    ends = [line.partition("ETA: ")[2].split("  ,  ")[1:] for line in place.said]
    seen = ["redraws: 3", "broken: 1"]
    assert ends == [[], seen, [*seen, "skipped: 1"], []]
    curves, _ = place.scalars("train")
    assert curves["Step/redraws"] == [(2, 0), (4, 3), (5, 3), (7, 0)]
    assert curves["Step/broken"][1] == (4, 1) and curves["Step/skipped"][2] == (5, 1)


def test_an_ending_is_kept_only_where_something_was_before(place):
    place.log.ending("nothing began")
    assert not place.file.exists()
    place.log.say("begins")
    place.log.ending("interrupted")
    assert place.lines()[-1] == "interrupted" and place.said == ["begins"]


def test_learning_rates_are_those_of_the_epoch_that_ran(tmp_path):
    """The reference logs a tenth of it for epoch 401."""
    cfg = Config.model_validate({"TRAIN": {"EPOCH": 402, "LR_DROP_EPOCH": 400}})
    groups = [
        {"params": [torch.nn.Parameter(torch.zeros(1))], "initial_lr": rate}
        for rate in base_rates(cfg)
    ]
    optimizer = torch.optim.AdamW(groups)
    place = Place(tmp_path, epochs=402)
    place.log.watch(optimizer)
    optimizer.load_state_dict(optimizer.state_dict())  # as a training that goes on does
    for epoch in (400, 401):
        set_learning_rate(optimizer, cfg, epoch, epoch - 1, (epoch - 1) / 402)
        place.step(epoch, 1, of=1)
        place.log.epoch(epoch)
    place.log.close()
    assert "LR: 1.00e-04 1.00e-05" in place.said[0] and "LR: 1.00e-05 1.00e-06" in place.said[1]
    scalars, _ = place.scalars("train")
    rates = {(e, i): v for i in (0, 1) for e, v in scalars[f"LearningRate/group{i}"]}
    expected = {(400, 0): 1e-4, (400, 1): 1e-5, (401, 0): 1e-5, (401, 1): 1e-6}
    assert rates == pytest.approx(expected)


def test_curves_and_pictures(place):
    for batch in range(1, 6):
        place.step(2, batch, loss=float(batch))
    place.log.epoch(2)
    place.log.validation(2, {"total": 2.5, "iou": 0.25, "AUC": 0.6})
    place.log.picture("samples", np.full((4, 6, 3), 9, np.uint8), 2)
    place.log.close()
    train, _ = place.scalars("train")
    assert train["Loss/total"] == [(2, pytest.approx(3.0))]
    assert train["Step/Loss/total"] == [(7, 1.5), (9, 2.5), (10, 3.0)]
    assert train["Step/data share"][0] == (7, pytest.approx(0.25))
    val, pictures = place.scalars("val")
    assert val["AUC"] == [(2, pytest.approx(0.6))] and val["IoU"] == [(2, 0.25)]
    assert (pictures["samples"][0].width, pictures["samples"][0].height) == (6, 4)
    assert place.said[-1] == "[val: 2] Loss/total: 2.50000  ,  IoU: 0.25000  ,  AUC: 0.60000"


def test_validation_without_values_says_nothing(place):
    place.log.validation(1, {})
    assert not place.said and not place.curves.exists()


def test_file_goes_on_and_holds_everything(tmp_path):
    for text in ("first", "second"):
        place = Place(tmp_path)
        place.log.say(text)
        place.log.warn("odd")
        place.log.note("kept only")
        place.log.close()
    assert place.said == ["second"] and place.warned == ["warning: odd"]
    lines = [line for line in place.lines() if not line.startswith("#")]
    assert lines == ["first", "warning: odd", "kept only", "second", "warning: odd", "kept only"]


def test_full_disk_costs_the_lines_not_the_training(tmp_path, monkeypatch):
    place = Place(tmp_path)
    stream = open("/dev/full", "w")
    monkeypatch.setattr(place.log, "_stream", stream)
    place.log.say("one")
    place.log.say("two")
    assert place.said == ["one", "two"]
    (warning,) = place.warned
    assert "no more lines are kept" in warning and "No space left" in warning
    place.log.close()


def test_curves_that_cannot_be_written_are_left_out(tmp_path):
    (tmp_path / "curves").write_text("a file where the folder should be")
    place = Place(tmp_path)
    for batch in (1, 2, 3, 4):
        place.step(1, batch)
    place.log.epoch(1)
    place.log.close()
    assert len(place.said) == 2
    (warning,) = place.warned
    assert "no more curves are kept" in warning


def test_warnings_of_our_modules_reach_the_file(place):
    with warnings_in(place.log):
        logging.getLogger("lib.train.data.loader").warning("%s: damaged", "a.jpg")
        logging.getLogger("lib.train.data.loader").info("nothing to know")
    logging.getLogger("lib.train.data.loader").warning("later")
    assert place.warned == ["warning: a.jpg: damaged"]
    assert place.lines()[-1] == "warning: a.jpg: damaged"


def test_warnings_can_be_left_to_another_process(caplog):
    with warnings_in(None):
        logging.getLogger("lib.datasets.training.listing").warning("two sequences lack frames")
    assert not caplog.records


def test_first_step_is_told_once(place):
    told = []
    place.log.at_first_step(lambda: told.append(len(place.said)))
    place.log.say("going on")
    assert told == []
    place.step(1, 1)
    place.step(1, 2)
    assert told == [1]


def test_other_processes_are_quiet_but_warn():
    said = []
    log = QuietLog(lambda text, error: said.append((text, error)))
    log.step(1, 1, 1, {"total": torch.tensor(1.0)}, 8, 0.1, 0.1, {})
    log.epoch(1)
    log.validation(1, {"total": 1.0})
    log.picture("samples", np.zeros((2, 2, 3), np.uint8), 1)
    log.say("x")
    log.note("x")
    log.ending("x")
    log.at_first_step(lambda: said.append("never"))
    log.warn("odd")
    log.close()
    assert said == [("warning: odd", True)]


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "00:00:00"), (3725, "01:02:05"), (90061, "1 d 01:01:01")]
)
def test_duration(seconds, text):
    assert duration(seconds) == text


class Terminal:
    """A text stream that says it is a terminal."""

    def __init__(self):
        self.text = ""

    def write(self, text):
        self.text += text
        return len(text)

    def flush(self):
        pass

    def isatty(self):
        return True


def test_on_a_terminal_a_bar_takes_the_place_of_the_lines(tmp_path, monkeypatch):
    screen = Terminal()
    monkeypatch.setattr("sys.stderr", screen)
    monkeypatch.setattr("sys.stdout", screen)
    place = Place(tmp_path)
    for batch in range(1, 6):
        place.step(2, batch)
    place.log.close()
    assert "epoch 2/3" in screen.text and "10/15" in screen.text
    (line,) = place.said
    assert line.startswith("[train: 2, 5 / 5]")
    assert sum("[train" in line for line in place.lines()) == 3
