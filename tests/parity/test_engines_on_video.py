"""Every frame of real video, by the small model: the engines say what the reference says."""

import numpy as np
import pytest

from lib.config.loader import load_config
from lib.config.paths import repository_root, resolve_paths
from lib.datasets.catalog import open_dataset
from lib.models.engine import build_engine
from lib.test.benchmark.equal import Agreement
from lib.test.tracker.build import load_network
from lib.test.tracker.seqtrack import TrackerSettings, start_target, track_step

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

    def template(self, crop, box):
        made = self.reference.template(crop, box)
        # The template is kept with its twin, so that its identity stays its own.
        self.twins[id(made)] = (made, self.other.template(crop, box))
        return made

    def generate(self, templates, search):
        said = self.reference.generate(templates, search)
        twins = [[self.twins[id(one)][1] for one in row] for row in templates]
        self.calls += 1
        self.agreement.add(f"frame {self.calls}", said, self.other.generate(twins, search))
        return said


def follow(engine, settings, frames, box):
    """Closed loop: the boxes of all frames, the given one first."""
    state = start_target(frames[0], box, settings, engine)
    boxes = [state.box]
    for frame in frames[1:]:
        (found,) = track_step(engine, settings, [state], [frame])
        state = found.state
        boxes.append(state.box)
    return np.array(boxes)


@pytest.mark.parametrize("overrides", [(), UPDATED], ids=["one template", "two, updated"])
def test_tokens_and_rows_are_the_references(overrides):
    if not all((SEQUENCES / name).is_dir() for name in CLIPS):
        pytest.skip(f"no real video: {SEQUENCES} (set SEQTRACK_SEQUENCES)")
    cfg = load_config("seqtrack_tiny", list(overrides))
    settings = TrackerSettings.from_config(cfg)
    network = load_network(cfg, WEIGHTS)
    fast = build_engine("torch", network, cfg)
    both = Beside(build_engine("reference", network, cfg), fast)
    dataset = open_dataset(str(SEQUENCES), resolve_paths())
    compared = 0
    for name in CLIPS:
        sequence = dataset.load(name)
        frames = [sequence.frames.read(i) for i in range(len(sequence))]
        ties = len(both.agreement.ties)
        slow_rows = follow(both, settings, frames, sequence.init_box)
        assert not both.agreement.wrong, both.agreement.wrong[:3]
        if len(both.agreement.ties) == ties:
            fast_rows = follow(fast, settings, frames, sequence.init_box)
            # Means of bins are no tokens: their last digits depend on the order of sums.
            np.testing.assert_allclose(fast_rows, slow_rows, atol=0.01, err_msg=name)
            compared += 1
    print(f"{both.agreement.tokens} tokens, ties: {both.agreement.ties}")
    assert both.agreement.equal and both.agreement.tokens > 2000 and compared >= 3
