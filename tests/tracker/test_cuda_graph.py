"""lib/tracker/engine/graph.py: what a CUDA device needs, checked without one."""

import pytest
import torch

from lib.tracker.engine import graph as cuda_graph
from lib.tracker.engine.build import build_engine
from lib.tracker.engine.graph import MOST_RECORDINGS, GraphRecorder, Recorded, rounded_batch
from lib.tracker.engine.torch import TorchEngine
from tests.helpers.tiny import tiny_config
from tests.tracker.test_engines import ALL_EXTRAS, crops, network_of

CPU = torch.device("cpu")


class FakeRecorder:
    """Stands for `GraphRecorder` on the CPU; as there, a recording writes to the same outputs.

    Attributes:
        shapes: of the inputs of every recording, in order.
        starts: where the memory of these inputs begins.
        copied: how many numbers were copied to inputs.
    """

    def __init__(self):
        self.shapes, self.starts, self.replays = [], [], 0

    def __call__(self, function, inputs):
        self.shapes.append([None if one is None else tuple(one.shape) for one in inputs])
        self.starts.append([None if one is None else one.data_ptr() for one in inputs])
        outputs = function(*inputs)

        def replay():
            self.replays += 1
            for kept, new in zip(outputs, function(*inputs), strict=True):
                kept.copy_(new)
            return outputs

        return replay


def doubled(pixels, added):
    return (2 * pixels + (0 if added is None else added),)


def rows(*values):
    return torch.tensor(values, dtype=torch.float32)[:, None]


def test_a_shape_is_recorded_once_and_run_on_what_comes():
    recorder = FakeRecorder()
    double = Recorded(doubled, recorder, CPU)
    assert double(rows(1, 2), None)[0].tolist() == [[2], [4]]
    assert double(rows(5, 6), None)[0].tolist() == [[10], [12]]
    assert double(rows(1, 2), rows(7, 8))[0].tolist() == [[9], [12]]
    assert recorder.shapes == [[(2, 1), None], [(2, 1), (2, 1)]]
    assert recorder.replays == 3


def test_outputs_are_overwritten_by_the_next_call():
    double = Recorded(doubled, FakeRecorder(), CPU)
    first = double(rows(1), None)[0]
    assert double(rows(5), None)[0] is first


def test_other_types_are_other_recordings():
    recorder = FakeRecorder()
    double = Recorded(doubled, recorder, CPU)
    assert double(rows(1), None)[0].dtype == torch.float32
    assert double(rows(1).double(), None)[0].dtype == torch.float64
    assert len(recorder.shapes) == 2


def test_what_did_not_change_is_not_copied_again():
    """Templates stay the same tensor for many steps; the pixels' memory is filled anew."""
    double = Recorded(doubled, FakeRecorder(), CPU)
    pixels, added = rows(1, 2), rows(10, 20)
    double(pixels, added)
    pixels.fill_(3)
    added.fill_(99)  # nobody may do this; here it shows who reads it
    assert double(pixels, added)[0].tolist() == [[16], [26]]
    other = rows(30, 40)
    assert double(pixels, other)[0].tolist() == [[36], [46]]
    assert double(pixels, added)[0].tolist() == [[105], [105]], "another one was there meanwhile"


def test_smaller_batches_use_the_memory_of_larger_ones():
    recorder = FakeRecorder()
    double = Recorded(doubled, recorder, CPU)
    added = rows(1, 2, 3, 4)
    double(rows(1, 1, 1, 1), added)
    assert double(rows(1, 1), rows(5, 6))[0].tolist() == [[7], [8]]
    assert recorder.starts[0] == recorder.starts[1]
    assert double(rows(1, 1, 1, 1), added)[0].tolist() == [[3], [4], [5], [6]]
    double(rows(*range(5)), rows(*range(5)))
    assert set(recorder.starts[2]).isdisjoint(recorder.starts[0])
    assert double(rows(1, 1, 1, 1), added)[0].tolist() == [[3], [4], [5], [6]], "still its own"


def test_the_recording_that_was_idle_longest_makes_room(monkeypatch):
    monkeypatch.setattr(cuda_graph, "MOST_RECORDINGS", 2)
    recorder = FakeRecorder()
    double = Recorded(doubled, recorder, CPU)
    for count in (3, 2, 3, 1, 3):
        double(rows(*range(count)), None)
    assert [shape[0][0] for shape in recorder.shapes] == [3, 2, 1]
    assert len(double.recordings) == 2
    double(rows(1, 2), None)
    assert [shape[0][0] for shape in recorder.shapes] == [3, 2, 1, 2]


def targets(engine, cfg, pattern):
    """One row of templates per target: each of these letters is a template of its own."""
    names = sorted({name for row in pattern for name in row})
    pictures = crops(len(names), cfg.test.template_size, 3)
    boxes = [(0.2, 0.3, 0.3 + 0.1 * i, 0.4) for i in range(len(names))]
    made = dict(zip(names, engine.templates(list(pictures), boxes), strict=True))
    return [[made[name] for name in row] for row in pattern]


@pytest.mark.parametrize("count", [1, 2, 3, 5, 33])
@pytest.mark.parametrize("feature_type", ["x", "xz"])
def test_a_recorded_engine_says_what_the_usual_one_says(count, feature_type):
    """All that stands around a CUDA graph, with a recorder that computes on the CPU."""
    cfg = tiny_config(MODEL={**ALL_EXTRAS, "FEATURE_TYPE": feature_type})
    network, recorder = network_of(cfg), FakeRecorder()
    recorded = TorchEngine(network, cfg, record=recorder)
    plain = build_engine("torch", network, cfg)
    search = crops(count, cfg.test.search_size, 5)
    patterns = ["aa", "bb", "ab", "ba", "cb"]
    mixed = [patterns[i % 5] for i in range(count)]
    for pattern in (["aa"] * count, mixed, mixed[::-1], ["bb"] * count, ["ab"] * count):
        for order in (search, search[::-1].copy()):
            own = recorded.generate(targets(recorded, cfg, pattern), list(order))
            theirs = plain.generate(targets(plain, cfg, pattern), order)
            assert torch.equal(own.tokens, theirs.tokens)
            torch.testing.assert_close(own.confidence, theirs.confidence, rtol=1e-4, atol=1e-7)
            torch.testing.assert_close(own.boxes, theirs.boxes, rtol=1e-4, atol=1e-6)
            assert len(own.tokens) == count
    sizes = [shape[0][0] for shape in recorder.shapes]
    assert set(sizes) == {rounded_batch(count)}
    assert len(sizes) <= 2, "equal templates, and different ones"


def test_templates_that_stay_are_not_put_together_again():
    cfg = tiny_config()
    engine = TorchEngine(network_of(cfg), cfg, record=FakeRecorder())
    rows_of_targets = targets(engine, cfg, ["ab", "bb", "aa"])
    search = crops(3, cfg.test.search_size, 5)
    engine.generate(rows_of_targets, search)
    (recording,) = engine.step.recordings.values()
    held = [buffer.holds for buffer in recording.buffers[1:] if buffer is not None]
    engine.generate(rows_of_targets, search[::-1])
    again = [buffer.holds for buffer in recording.buffers[1:] if buffer is not None]
    assert len(held) == 1 and all(a is b for a, b in zip(held, again, strict=True))


def test_all_sizes_up_to_128_fit():
    assert 2 * len({rounded_batch(targets) for targets in range(1, 129)}) <= MOST_RECORDINGS


def test_the_answer_to_a_step_is_no_memory_that_the_next_one_writes_to():
    cfg = tiny_config()
    engine = TorchEngine(network_of(cfg), cfg, record=FakeRecorder())
    search = crops(2, cfg.test.search_size, 5)
    row = targets(engine, cfg, ["ab"])
    first = engine.generate(row, search[:1])
    before = [part.clone() for part in (first.tokens, first.confidence, first.boxes)]
    engine.generate(row, search[1:])
    for kept, part in zip(before, (first.tokens, first.confidence, first.boxes), strict=True):
        assert torch.equal(kept, part)


def test_batches_are_rounded_up_by_a_quarter_at_most():
    for targets in range(1, 1001):
        size = rounded_batch(targets)
        assert targets <= size <= 1.25 * targets, targets
        assert rounded_batch(size) == size, "a recorded size is not rounded again"


def test_few_sizes_are_recorded():
    assert {rounded_batch(targets) for targets in range(1, 9)} == set(range(1, 9))
    assert len({rounded_batch(targets) for targets in range(1, 129)}) == 24


class FakeCuda:
    """What `GraphRecorder` asks of `torch.cuda`, written down."""

    def __init__(self, monkeypatch):
        self.pools, self.captures, self.replays = 0, [], 0
        fake = self

        class Context:
            def __init__(self, *arguments):
                pass

            def __enter__(self):
                return self

            def __exit__(self, *error):
                return None

        class Stream(Context):
            def wait_stream(self, other):
                pass

        class Graph:
            def replay(self):
                fake.replays += 1

        class Capture(Context):
            def __init__(self, graph, **options):
                fake.captures.append(options)

        def handle():
            self.pools += 1
            return (0, self.pools)

        stand_ins = {"Stream": Stream, "current_stream": Stream, "stream": Context,
                     "device": Context, "graph": Capture, "CUDAGraph": Graph,
                     "graph_pool_handle": handle}  # fmt: skip
        for name, stand_in in stand_ins.items():
            monkeypatch.setattr(torch.cuda, name, stand_in)


def test_captures_share_a_pool_and_a_stream_and_ignore_other_threads(monkeypatch):
    """A loader pins memory while a validation captures; mode "global" ends the run then."""
    cuda = FakeCuda(monkeypatch)
    recorder = GraphRecorder(CPU)
    double = Recorded(doubled, recorder, CPU)
    for count in (3, 2, 3):
        double(rows(*range(count)), None)
    assert (len(cuda.captures), cuda.replays, cuda.pools) == (2, 3, 1)
    for options in cuda.captures:
        assert options["capture_error_mode"] == "thread_local"
        assert options["pool"] == recorder.pool and options["stream"] is recorder.stream
