"""lib/tracker/engine/onnx.py: the exported network says what the network says.

An export is a trace and takes many seconds, so the quick tests share one.
"""

import builtins
import os
import shutil

import numpy as np
import pytest

from lib.tracker.build import build_tracker
from lib.tracker.engine import onnx as engine_onnx
from lib.tracker.engine.build import build_engine
from lib.tracker.engine.onnx import OnnxEngine, build_onnx_engine, export, fingerprint
from lib.tracker.spec import TrackerSpec
from lib.utils.errors import ConfigError, MissingExtraError, SeqTrackError
from tests.helpers.tiny import draw_sequence, tiny_config
from tests.tracker.test_engines import (
    ALL_EXTRAS,
    answer,
    check_same,
    check_together,
    crops,
    network_of,
)

pytest.importorskip("onnx")
runtime = pytest.importorskip("onnxruntime")


@pytest.fixture(autouse=True)
def cache(onnx_folder, monkeypatch):
    """Where exported networks are kept; the same weights are exported once."""
    monkeypatch.setenv("SEQTRACK_ONNX", str(onnx_folder))
    return onnx_folder


@pytest.fixture
def own_cache(onnx_folder, tmp_path, monkeypatch):
    """A copy that a test may damage."""
    cfg = tiny_config(MODEL=ALL_EXTRAS)
    export(network_of(cfg), cfg)
    monkeypatch.setenv("SEQTRACK_ONNX", str(shutil.copytree(onnx_folder, tmp_path / "onnx")))


def slow(*values, id):
    return pytest.param(*values, id=id, marks=pytest.mark.slow)


def templates(count, feature_type):
    return {
        "MODEL": {"FEATURE_TYPE": feature_type},
        "DATA": {"TEMPLATE": {"NUMBER": count}},
        "TEST": {"NUM_TEMPLATES": count},
    }


@pytest.mark.parametrize(
    ("changes", "patterns"),
    [
        slow(templates(1, "x"), [(0,)], id="one template"),
        slow(templates(3, "x"), [(0, 0, 0), (0, 1, 0), (0, 1, 2)], id="three"),
        slow(templates(3, "xz"), [(0, 0, 0), (0, 1, 0), (0, 1, 2)], id="all tokens"),
        slow(templates(2, "token"), [(0, 0), (0, 1)], id="mean token"),
        pytest.param({"MODEL": ALL_EXTRAS}, [(0, 0), (0, 1)], id="all departures"),
        slow(
            {"MODEL": {"CORRELATION": True, "ENCODER": {"STEM": "conv"}}},
            [(0, 0), (0, 1)],
            id="correlation that hears no box",
        ),
        slow({"MODEL": {"TEMPLATE_BOX": True}}, [(0, 1)], id="box"),
        slow({"MODEL": {"DECODER": {"PRE_NORM": True}}}, [(0, 1)], id="pre-norm"),
        slow({"MODEL": {"HIDDEN_DIM": 48}}, [(0, 1)], id="no bottleneck"),
        slow({"TEST": {"DECODING": "expectation"}}, [(0, 0)], id="expectation"),
        slow({"TEST": {"WINDOW": False}}, [(0, 0)], id="no window"),
        slow({"DATA": {"SEQ_FORMAT": "corner"}}, [(0, 0)], id="corner"),
        slow({"DATA": {"SEQ_FORMAT": "whxy"}}, [(0, 0)], id="whxy"),
    ],
)
def test_every_variant_says_what_the_reference_says(changes, patterns):
    cfg = tiny_config(**changes)
    network = network_of(cfg)
    exported, slow = (build_engine(name, network, cfg) for name in ("onnx", "reference"))
    for pattern in patterns:
        # Three: one more than a thread takes at once.
        for batch in (1, 3):
            check_same(answer(exported, cfg, pattern, batch), answer(slow, cfg, pattern, batch))


@pytest.mark.slow
def test_targets_of_all_kinds_go_together():
    check_together("onnx")


def test_a_network_is_exported_once(cache, monkeypatch):
    cfg = tiny_config(MODEL=ALL_EXTRAS)
    network = network_of(cfg)
    place = export(network, cfg)
    assert place.parent == cache
    times = {file.name: file.stat().st_mtime_ns for file in place.glob("*.onnx")}
    assert sorted(times) == ["step.onnx", "template.onnx"]
    monkeypatch.setattr(engine_onnx, "_save", None)
    assert export(network, cfg) == place
    build_engine("onnx", network, cfg)
    assert {file.name: file.stat().st_mtime_ns for file in place.glob("*.onnx")} == times


def test_other_networks_and_other_ways_to_read_out_are_other_files():
    cfg, other = tiny_config(), tiny_config(TEST={"WINDOW": False})
    network = network_of(cfg)
    names = {fingerprint(network, cfg), fingerprint(network, other)}
    network.vocab_embed.layers[-1].bias[3] += 1e-3
    names.add(fingerprint(network, cfg))
    assert len(names) == 3
    # What the graphs do not hold is no reason to export again.
    assert fingerprint(network, tiny_config(TEST={"UPDATE_THRESHOLD": {"DEFAULT": 0.1}})) in names


def test_the_files_need_no_network():
    """What is exported runs from the files alone, with any number of threads."""
    cfg = tiny_config(MODEL=ALL_EXTRAS)
    network = network_of(cfg)
    alone = OnnxEngine(export(network, cfg), threads=2)
    check_same(
        answer(alone, cfg, (0, 1)), answer(build_engine("reference", network, cfg), cfg, (0, 1))
    )


@pytest.mark.slow
def test_eight_bits_give_nearly_the_same_and_less_to_store():
    cfg = tiny_config(MODEL={"ENCODER": {"WIDTH": 128}})
    network = network_of(cfg)
    for parameter in network.encoder.parameters():
        # Sums of many wide weights are not what eight bits are for.
        parameter *= 0.2
    sizes, said = [], []
    for precision in ("fp32", "int8"):
        said.append(answer(build_engine("onnx", network, cfg, precision), cfg, (0, 1)))
        sizes.append((export(network, cfg, precision) / "step.onnx").stat().st_size)
    gap = np.abs(said[0].distributions - said[1].distributions).max()
    assert 0 < gap < 0.05
    assert sizes[1] < 0.7 * sizes[0]


@pytest.mark.slow
@pytest.mark.usefixtures("own_cache")
def test_eight_bits_of_a_decoder_as_wide_as_the_shipped_one():
    """The exporter does not fold the parts of its weights, and several products share one."""
    cfg = tiny_config(MODEL={"HIDDEN_DIM": 256})
    network = network_of(cfg)
    exact, coarse = (
        answer(build_engine("onnx", network, cfg, precision), cfg, (0, 1))
        for precision in ("fp32", "int8")
    )
    assert 0 < np.abs(exact.distributions - coarse.distributions).max() < 0.2


@pytest.mark.usefixtures("own_cache")
def test_damaged_files_are_named():
    cfg = tiny_config(MODEL=ALL_EXTRAS)
    network = network_of(cfg)
    step = export(network, cfg) / "step.onnx"
    step.write_bytes(step.read_bytes()[:1000])
    with pytest.raises(SeqTrackError, match=r"step\.onnx: cannot be used .*remove it"):
        build_engine("onnx", network, cfg)


def test_a_network_elsewhere_is_refused():
    cfg = tiny_config()
    with pytest.raises(ConfigError, match=r"runs on the CPU, and the device is meta; add --device"):
        build_onnx_engine(network_of(cfg).to("meta"), cfg)


@pytest.mark.parametrize("missing", ["onnx", "onnxscript", "onnxruntime"])
def test_a_missing_package_is_named(missing, tmp_path, monkeypatch):
    monkeypatch.setenv("SEQTRACK_ONNX", str(tmp_path))
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name == missing:
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    cfg = tiny_config()
    with pytest.raises(MissingExtraError, match="pip install onnx onnxscript onnxruntime"):
        build_engine("onnx", network_of(cfg), cfg)


@pytest.mark.slow
def test_trackers_run_on_it():
    cfg = tiny_config(MODEL=ALL_EXTRAS)
    frames, boxes = draw_sequence(4)
    found = []
    for name in ("onnx", "reference"):
        tracker = build_tracker(TrackerSpec("seqtrack", "x", cfg, engine=name))
        tracker.initialize(frames[0], {"init_bbox": boxes[0]})
        found.append([tracker.track(frame)["best_tokens"] for frame in frames[1:]])
    assert found[0] == found[1]


@pytest.mark.slow
@pytest.mark.usefixtures("own_cache")
def test_what_a_crashed_export_left_is_no_obstacle():
    cfg = tiny_config(MODEL=ALL_EXTRAS)
    network = network_of(cfg)
    place = export(network, cfg)
    os.remove(place / "template.onnx")
    (place / ".template.onnx.abc.tmp").write_bytes(b"half")
    build_engine("onnx", network, cfg)
    assert (place / "template.onnx").is_file()


def test_templates_are_what_the_network_makes_of_them():
    cfg = tiny_config(MODEL=ALL_EXTRAS)
    network = network_of(cfg)
    crop = crops(1, 32, 9)[0]
    box = (0.3, 0.2, 0.45, 0.5)
    names = ("onnx", "torch")
    made, own = (build_engine(name, network, cfg).template(crop, box).cached for name in names)
    names = {"tokens": "tokens", "box": "boxes", "keys": "keys", "covered": "covered"}
    assert made.keys() == names.keys()
    for name, other in names.items():
        np.testing.assert_allclose(made[name], getattr(own, other), rtol=1e-4, atol=1e-5)


def test_files_tell_nothing_of_the_machine_that_wrote_them(cache):
    cfg = tiny_config(MODEL=ALL_EXTRAS)
    for file in export(network_of(cfg), cfg).glob("*.onnx"):
        assert os.fsencode(os.path.dirname(engine_onnx.__file__)) not in file.read_bytes()
