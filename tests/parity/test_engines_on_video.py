"""Real video, by the small model: the engines say what the reference says.

Two engines' boxes differ in the last bits, and where a corner of the square around a box is
half-way between two pixels, they look at different pixels from there on: on which machine that
happens is up to its sums. Rows are compared as `benchmark.py evaluate` compares them.
"""

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.same_rows import RowAgreement
from lib.config.loader import load_config
from lib.config.paths import repository_root, resolve_paths
from lib.datasets.benchmarks.open import open_dataset
from lib.tracker.agreement import Agreement
from lib.tracker.build import load_network
from lib.tracker.engine.build import build_engine
from lib.tracker.seqtrack import start_target, track_step
from lib.tracker.settings import TrackerSettings
from lib.utils.crop import square_at

from .test_tracker import SEQUENCES

CLIPS = ("Crossing", "Human7", "Skiing", "bag", "uav_wakeboard7")
WEIGHTS = repository_root() / "checkpoints/train/seqtrack/seqtrack_tiny/SEQTRACK.pth.tar"
# Two templates, updated so often that equal and different ones take turns.
UPDATED = (
    "TEST.NUM_TEMPLATES=2",
    "TEST.UPDATE_INTERVALS.DEFAULT=25",
    "TEST.UPDATE_THRESHOLD.DEFAULT=0",
)


class Beside:
    """The reference, with another engine that is fed the same crops and templates."""

    name = "reference"

    def __init__(self, reference, other):
        self.reference, self.other, self.agreement, self.calls = reference, other, Agreement(), 0
        self.twins = {}
        reference.keep_distributions = True

    def templates(self, crops, boxes):
        made = self.reference.templates(crops, boxes)
        for one, other in zip(made, self.other.templates(crops, boxes), strict=True):
            # The template is kept with its twin, so that its identity stays its own.
            self.twins[id(one)] = (one, other)
        return made

    def generate(self, templates, search):
        said = self.reference.generate(templates, search)
        twins = [[self.twins[id(one)][1] for one in row] for row in templates]
        self.calls += 1
        self.agreement.add(f"frame {self.calls}", said, self.other.generate(twins, search))
        return said


def follow(engine, settings, frames, box, moved=None):
    """Closed loop: the boxes of all frames, the given one first; `moved`: boxes to go on from."""
    state = start_target(frames[0], box, settings, engine)
    boxes = [state.box]
    for number, frame in enumerate(frames[1:], 1):
        (found,) = track_step(engine, settings, [state], [frame])
        state = replace(found.state, box=(moved or {}).get(number, found.state.box))
        boxes.append(state.box)
    return np.array(boxes)


def factors_of(settings):
    """Of the squares that the tracker cuts."""
    return settings.search_factor, settings.template_factor


@pytest.mark.parametrize(
    ("overrides", "most"),
    [
        pytest.param((), 1000, id="one template, every frame", marks=pytest.mark.slow),
        pytest.param(UPDATED, 60, id="two, updated"),
    ],
)
def test_tokens_and_rows_are_the_references(overrides, most):
    if not all((SEQUENCES / name).is_dir() for name in CLIPS):
        pytest.skip(f"no real video: {SEQUENCES} (set SEQTRACK_SEQUENCES)")
    cfg = load_config("seqtrack_tiny", list(overrides))
    settings = TrackerSettings.from_config(cfg)
    network = load_network(cfg, WEIGHTS)
    fast = build_engine("torch", network, cfg)
    both = Beside(build_engine("reference", network, cfg), fast)
    dataset = open_dataset(str(SEQUENCES), resolve_paths())
    compared, rows = 0, RowAgreement()
    for name in CLIPS:
        sequence = dataset.load(name)
        frames = [sequence.frames.read(i) for i in range(min(len(sequence), most))]
        ties = len(both.agreement.ties)
        slow_rows = follow(both, settings, frames, sequence.init_box)
        assert not both.agreement.wrong, both.agreement.wrong[:3]
        if len(both.agreement.ties) == ties:
            fast_rows = follow(fast, settings, frames, sequence.init_box)
            rows.add(name, slow_rows, fast_rows, factors_of(settings))
            compared += 1
    print(f"{both.agreement.tokens} tokens, ties: {both.agreement.ties}; rows: {rows.row()}")
    read = sum(min(len(dataset.load(name)), most) - 1 for name in CLIPS)
    assert both.agreement.equal and both.agreement.tokens > 3.9 * read and compared >= 3
    assert rows.equal, rows.row()


@pytest.mark.parametrize("side", [-1, 1], ids=["rounds down", "rounds up"])
def test_a_corner_on_the_half_pixel_may_round_either_way(side):
    """One run is put on either side of the half pixel, by less than engines differ.

    The two runs then cut different pixels, and go apart: a tie. A run that goes apart on the same
    pixels is none.
    """
    cfg = load_config("seqtrack_tiny")
    settings = TrackerSettings.from_config(cfg)
    engine = build_engine("torch", load_network(cfg, WEIGHTS), cfg)
    sequence = open_dataset("synthetic", resolve_paths()).load("synthetic-003")
    frames = [sequence.frames.read(number) for number in range(9)]
    box = follow(engine, settings, frames[:5], sequence.init_box)[4]
    left, _, side_length = square_at(box, settings.search_factor)
    edge = left + 0.5 + 0.5 * side_length - 0.5 * box[2]

    def run(shift, late=0.0):
        moved = {4: (edge + shift, *box[1:])}
        rows = follow(engine, settings, frames, sequence.init_box, moved)
        rows[6] += late
        return rows

    def compared(one, other):
        rows = RowAgreement()
        rows.add("synthetic-003", one, other, factors_of(settings))
        return rows

    here = run(1e-4 * side)
    tie = compared(here, run(-1e-4 * side))
    assert tie.equal and [one["tie_at"] for one in tie.ties] == [4], tie.row()
    assert tie.ties[0]["apart_at"] == 5 and tie.rows == 5
    same = compared(here, run(2e-4 * side))
    assert same.equal and not same.ties and same.rows == len(frames), same.row()
    assert not compared(here, run(2e-4 * side, late=0.02)).equal
