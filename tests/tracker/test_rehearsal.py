"""The CUDA path without a GPU: what runs in it, and that each of its typical mistakes is caught."""

import pytest
import torch
from torch._subclasses.fake_tensor import DataDependentOutputException, DynamicOutputShapeException
from torch.nn import functional as F

from lib.config.paths import resolve_paths
from lib.datasets.benchmarks.open import open_dataset
from lib.evaluation.lockstep import Lockstep
from lib.evaluation.plan import RunOptions
from lib.evaluation.sequence import ListSource
from lib.masks.alpha_refine.network import AlphaRefine
from lib.models import packed
from lib.models.encoder import VisionTransformer
from lib.models.tokens import BoxTokenizer
from lib.tracker.engine import torch as engine_torch
from lib.tracker.seqtrack import SeqTrackTracker
from tests.helpers.rehearsal import (
    CONFIGURATIONS,
    PRECISIONS,
    MistakeError,
    Pretended,
    before,
    branch,
    config,
    rehearse_engine,
    rehearse_mask,
)
from tests.helpers.tiny import tiny_config, write_got10k_folder


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_rehearsal_of_templates_and_steps(name, precision):
    cfg = config(name)
    engine = rehearse_engine(cfg, precision, batches=(1, 9))
    # Equal and different templates; one template is always equal.
    several = [1, 1, 10, 10] if cfg.test.num_templates > 1 else [1, 10]
    assert engine.recorder.recorded == several


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"MODEL": {"FEATURE_TYPE": "xz"}}, id="all tokens"),
        pytest.param({"MODEL": {"FEATURE_TYPE": "token"}}, id="mean token"),
        pytest.param({"TEST": {"DECODING": "expectation"}}, id="expectation"),
        pytest.param({"DATA": {"SEQ_FORMAT": "corner"}}, id="corner"),
        pytest.param({"TEST": {"WINDOW": False}}, id="no window"),
    ],
)
def test_rehearsal_of_other_readings(changes):
    engine = rehearse_engine(tiny_config(**changes), "bf16", batches=(3,))
    assert engine.recorder.recorded, "no step was run as on CUDA"


@pytest.mark.parametrize("batch_size", [1, 3])
def test_rehearsal_of_lockstep(tmp_path, batch_size):
    """Targets join, leave and change templates; every step is one of the engine on CUDA."""
    updates = {"UPDATE_INTERVALS": {"DEFAULT": 2}, "UPDATE_THRESHOLD": {"DEFAULT": 0.0}}
    cfg = tiny_config(TEST=updates)
    for name, length in {"a": 5, "b": 3, "c": 2, "d": 6}.items():
        write_got10k_folder(tmp_path, [name], length)
    dataset = open_dataset(str(tmp_path), resolve_paths())
    engine, counted = Pretended(cfg), []
    tracker = SeqTrackTracker(engine, cfg)
    follow = Lockstep(dataset, RunOptions(batch_size=batch_size))
    outcomes = list(follow(tracker, ListSource("abcd"), lambda: counted.append(1)))
    assert [outcome.reason for outcome in outcomes] == [""] * 4
    assert len(counted) == 5 + 3 + 2 + 6
    assert set(engine.recorder.recorded) <= {1, 2, 3}


def test_rehearsal_of_masks():
    logits = rehearse_mask()
    assert logits.device.type == "cuda" and logits.dtype == torch.float32


def instead(place, name, wrong):
    """A mistake: `wrong` in the place of what is right."""
    return lambda monkeypatch: monkeypatch.setattr(place, name, wrong)


def old_rounding(targets):
    """F1: `--device cuda` failed on the first frame."""
    grain = max(1, 1 << (targets.bit_length() - 3))
    return -(-targets // grain) * grain


def window_on_the_cpu(self, device, right=BoxTokenizer.window):
    return right(self, "cpu")


def mask_in_float32(q, k, v, attn_mask=None, right=F.scaled_dot_product_attention, **options):
    return right(q, k, v, None if attn_mask is None else attn_mask.float(), **options)


def input_not_cast(self, x):
    return F.linear(x, self.weight, self.bias)


def select(tensor):
    return tensor[tensor > 0]


def constants_from_python(tensor):
    return tensor - torch.tensor([0.5] * tensor.shape[-1], device=tensor.device)


def index_by_a_list(tensor):
    return tensor[[0, 0]]


MISTAKES = {
    "F1": (instead(engine_torch, "rounded_batch", old_rounding), ValueError),
    "constant on the CPU": (
        instead(BoxTokenizer, "window", window_on_the_cpu),
        MistakeError,
    ),
    "item": (
        before(VisionTransformer, "forward", lambda x: x.sum().item()),
        DataDependentOutputException,
    ),
    "cpu": (before(BoxTokenizer, "decode", lambda x: x.cpu()), MistakeError),
    "branch": (
        before(VisionTransformer, "embed_search", branch),
        DataDependentOutputException,
    ),
    "shape by numbers": (
        before(VisionTransformer, "embed_search", select),
        DynamicOutputShapeException,
    ),
    "constant from Python": (
        before(VisionTransformer, "forward", constants_from_python),
        MistakeError,
    ),
    "index by a list": (
        before(VisionTransformer, "forward", index_by_a_list),
        MistakeError,
    ),
    "mask in another type": (
        instead(F, "scaled_dot_product_attention", mask_in_float32),
        MistakeError,
    ),
    "products of two types": (
        instead(packed.PackedLinear, "forward", input_not_cast),
        MistakeError,
    ),
    "precision not taken": (
        instead(packed, "DTYPES", dict.fromkeys(PRECISIONS, torch.float32)),
        MistakeError,
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_rehearsal_catches_a_mistake_in_a_step(monkeypatch, name):
    plant, error = MISTAKES[name]
    plant(monkeypatch)
    with pytest.raises(error):
        rehearse_engine(tiny_config(), "bf16", batches=(2,))


@pytest.mark.parametrize(
    ("act", "error"),
    [
        pytest.param(lambda x: x.sum().item(), DataDependentOutputException, id="item"),
        pytest.param(lambda x: x.cpu(), MistakeError, id="cpu"),
    ],
)
def test_rehearsal_catches_a_mistake_in_the_mask_stage(monkeypatch, act, error):
    before(AlphaRefine, "features", act)(monkeypatch)
    with pytest.raises(error):
        rehearse_mask()
