"""A rehearsal of the CUDA path on a machine without a GPU.

PyTorch's `FakeTensorMode` computes shapes, types and devices instead of numbers, and lets tensors
be on `cuda`. The engines' own code runs in it; only what records a CUDA graph is replaced. What a
recording must not do is refused here by `OnDevice`: read a tensor of the CPU, bring one there, or
multiply numbers of two types. PyTorch itself refuses what needs a number (`.item()`, a branch).
"""

import contextlib
from collections import Counter

import numpy as np
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode, unset_fake_temporarily
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from lib.config.loader import load_config
from lib.masks.alpha_refine.network import AlphaRefine
from lib.masks.alpha_refine.stage import AlphaRefiner
from lib.models.packed import DTYPES
from lib.models.pixels import Staging
from lib.models.seqtrack import build_seqtrack
from lib.tracker.engine.api import Engine, EngineOutput
from lib.tracker.engine.torch import TorchEngine
from lib.train.data.loader import Batch
from lib.train.losses.objective import Objective

CUDA = torch.device("cuda")
PRECISIONS = ["fp32", "bf16", "fp16"]
# As the published b256, but for the size of everything.
SMALL_B256 = (
    "MODEL.ENCODER.TYPE=custom",
    "MODEL.ENCODER.WIDTH=48",
    "MODEL.ENCODER.DEPTH=2",
    "MODEL.ENCODER.HEADS=4",
    "MODEL.ENCODER.PATCH_SIZE=16",
    "MODEL.ENCODER.PRETRAIN_TYPE=scratch",
)
CONFIGURATIONS = {
    "tiny": ("seqtrack_tiny", ()),
    "scratch": ("seqtrack_scratch", ()),
    "b256": ("seqtrack_b256", SMALL_B256),
}
PRODUCTS = ("mm", "linear", "convolution", "scaled_dot_product")


def config(name, *more):
    base, overrides = CONFIGURATIONS[name]
    return load_config(base, [*overrides, *more])


class MistakeError(Exception):
    """Something that a GPU would refuse, wait for, or do with other numbers."""


class OnDevice(TorchDispatchMode):
    """Within it all tensors stay on CUDA, and what is multiplied has one type.

    Attributes:
        products: how many products and attentions there were, by type of their numbers.
    """

    def __init__(self):
        super().__init__()
        self.products = Counter()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = str(function)
        given = [x for x in tree_leaves((args, kwargs or {})) if isinstance(x, Tensor)]
        for tensor in given:
            self._check(tensor, f"{name} reads")
        found = function(*args, **(kwargs or {}))
        for tensor in tree_leaves(found):
            if isinstance(tensor, Tensor):
                self._check(tensor, f"{name} makes")
        if any(product in name for product in PRODUCTS):
            kinds = {tensor.dtype for tensor in given if tensor.is_floating_point()}
            if len(kinds) > 1:
                raise MistakeError(f"{name} multiplies {sorted(map(str, kinds))}")
            self.products.update(kinds)
        return found

    def _check(self, tensor, what):
        if tensor.device.type != "cuda":
            raise MistakeError(f"{what} a tensor {tuple(tensor.shape)} on {tensor.device}")


class FakeRecorder:
    """Stands for `GraphRecorder`: a replay runs the function, which must stay on the device.

    Attributes:
        recorded: the batch size of every recording.
        products: of the last run, see `OnDevice`.
    """

    def __init__(self):
        self.recorded, self.products = [], Counter()

    def __call__(self, function, inputs):
        self.recorded.append(len(inputs[0]))

        def replay():
            with OnDevice() as guard:
                outputs = function(*inputs)
            self.products = guard.products
            return outputs

        return replay


class _FakeStaging(Staging):
    """Fills memory that is really there, and hands a fake of it out."""

    def __init__(self, mode):
        super().__init__(pinned=False)
        self.mode = mode

    def __call__(self, crops, rows):
        with unset_fake_temporarily():
            self.buffer = torch.empty(0, dtype=torch.uint8)
            filled = super().__call__(crops, rows)
        return self.mode.from_tensor(filled)


def move(module, mode):
    """Put a module on a CUDA device that is not there; what is no weight stays where it is."""
    for part in module.modules():
        for name, value in part.named_parameters(recurse=False):
            fake = mode.from_tensor(value.detach())
            with mode:
                setattr(part, name, nn.Parameter(fake.to(CUDA), value.requires_grad))
        for name, value in part.named_buffers(recurse=False):
            fake = mode.from_tensor(value)
            with mode:
                setattr(part, name, fake.to(CUDA))
    return module


@contextlib.contextmanager
def pretended_cuda(mode):
    """Within it new tensors are fake, and memory is pinned without a driver."""
    # One without numbers: what is made of a small array has them, and goes to the GPU with them.
    pin_memory = Tensor.pin_memory
    Tensor.pin_memory = lambda tensor: torch.empty(tensor.shape, dtype=tensor.dtype)
    try:
        with mode:
            yield
    finally:
        Tensor.pin_memory = pin_memory


class Pretended(Engine):
    """The usual engine on a CUDA device that is not there; made-up answers stand for its own.

    Args:
        cfg: the configuration.
        precision: of the blocks.
        score: probability of every token.
    """

    name = "torch"

    def __init__(self, cfg, precision="fp32", score=0.9):
        self.mode, self.recorder, self.cfg = FakeTensorMode(), FakeRecorder(), cfg
        self.score, self.keep_distributions = score, False
        network = build_seqtrack(cfg).eval().requires_grad_(False)
        self.network = move(network, self.mode)
        with pretended_cuda(self.mode):
            self.engine = TorchEngine(self.network, cfg, precision, self.recorder)
            self.engine.staging = _FakeStaging(self.mode)
        self.expected = DTYPES[precision]

    def templates(self, crops, boxes):
        with pretended_cuda(self.mode):
            made = self.engine.templates(crops, boxes)
        for one in made:
            for part in (part for part in one.cached if part is not None):
                # Keys and values of blocks are kept as the blocks compute them.
                if part.device.type != "cuda" or part.dtype not in (torch.float32, self.expected):
                    raise MistakeError(f"a template is kept as {part.dtype} on {part.device}")
        return made

    def generate(self, templates, search, history=None):
        with pretended_cuda(self.mode):
            self.engine.keep_distributions = self.keep_distributions
            said = self.engine.generate(templates, search, history)
        self._check(said, len(templates))
        count = len(templates)
        bins = self.cfg.model.bins
        return EngineOutput(
            torch.full((count, 4), bins // 2),
            torch.full((count, 4), self.score, dtype=torch.float64),
            torch.tensor([[0.5, 0.5, 0.25, 0.25]]).repeat(count, 1),
            torch.zeros(count, 4, bins) if self.keep_distributions else None,
        )

    def _check(self, said, count):
        expected = {"tokens": torch.int64, "confidence": torch.float64, "boxes": torch.float32}
        for name, dtype in expected.items():
            part = getattr(said, name)
            found = (tuple(part.shape), part.dtype, part.device.type)
            if found != ((count, 4), dtype, "cpu"):
                raise MistakeError(f"{name} are {found}")
        if (said.distributions is not None) != self.keep_distributions:
            raise MistakeError("distributions are returned where nobody asked, or the reverse")
        products, blocks = self.recorder.products, self.network.encoder.body.blocks
        # Queries with keys and values, the attention, its projection and two layers after it.
        if self.expected != torch.float32 and products[self.expected] < 5 * len(blocks):
            raise MistakeError(f"the blocks are to compute in {self.expected}: {dict(products)}")
        if not set(products) <= {self.expected, torch.float32}:
            raise MistakeError(f"products in other types: {dict(products)}")


def crops_of(count, side):
    """`count` crops `(side, side, 3)`."""
    return list(np.zeros((count, side, side, 3), np.uint8))


def rehearse_engine(cfg, precision="fp32", batches=(1, 2, 3, 33)):
    """Templates and steps of every batch size, with equal and with different templates.

    Returns:
        the engine, for a look at what was recorded.

    Raises:
        MistakeError: see the module.
    """
    engine = Pretended(cfg, precision)
    count, most = cfg.test.num_templates, max(batches)
    boxes = [(0.25, 0.25, 0.5, 0.5)] * (most * count)
    made = engine.templates(crops_of(len(boxes), cfg.test.template_size), boxes)
    made.append(engine.template(crops_of(1, cfg.test.template_size)[0], boxes[0]))
    for batch in batches:
        search = crops_of(batch, cfg.test.search_size)
        equal = [[made[i]] * count for i in range(batch)]
        different = [made[i * count : (i + 1) * count] for i in range(batch)]
        for rows in (equal, different):
            engine.generate(rows, search)
    engine.generate([*different[:-1], equal[-1]], search)
    engine.keep_distributions = True
    engine.generate(different, search)
    return engine


def rehearse_mask():
    """The mask network: what it keeps of the first frame, and the logits of another one.

    Returns:
        the logits, `(1, 1, side, side)`.
    """
    mode = FakeTensorMode()
    refiner = AlphaRefiner(AlphaRefine(pool_size=4).eval().requires_grad_(False))
    network, refiner.device = move(refiner.network, mode), CUDA
    side = network.side
    with pretended_cuda(mode):
        frame = np.zeros((80, 96, 3), np.uint8)
        refiner.initialise(frame, np.array([20.0, 30.0, 24.0, 16.0]))
        pixels = refiner._input(np.zeros((side, side, 3), np.uint8))
        corners = torch.zeros(1, 4, device=CUDA)
        with torch.inference_mode(), OnDevice():
            network.reference(pixels, corners)
            logits = network(pixels, refiner.kernel)
    found = (tuple(logits.shape), logits.dtype)
    if found != ((1, 1, side, side), torch.float32):
        raise MistakeError(f"the logits are {found}")
    return logits


def rehearse_training(cfg, size=2):
    """The forward pass of a training step, in the precision of the configuration.

    Returns:
        its terms.
    """
    mode = FakeTensorMode()
    objective = move(Objective(build_seqtrack(cfg), cfg).train(), mode)
    search, small = cfg.data.search.size, cfg.data.template.size
    count, pixels = cfg.data.template.number, {"dtype": torch.uint8, "device": CUDA}
    precision = cfg.train.precision
    with pretended_cuda(mode):
        batch = Batch(
            torch.zeros(size, count, small, small, 3, **pixels),
            torch.zeros(size, search, search, 3, **pixels),
            torch.zeros(size, count, 4, device=CUDA),
            torch.zeros(size, 4, device=CUDA),
            torch.arange(size),
            ["rehearsal"] * size,
            history=torch.zeros(size, cfg.model.history, 4, device=CUDA),
        )
        progress = torch.zeros((), device=CUDA)
        with autocast(precision), OnDevice() as guard:
            terms = objective(batch, progress)
    for name, term in terms.items():
        if term.dtype != torch.float32 or term.shape != ():
            raise MistakeError(f"{name} is {term.dtype} {tuple(term.shape)}")
    if precision != "fp32" and not guard.products[DTYPES[precision]]:
        raise MistakeError(f"nothing is computed in {precision}: {dict(guard.products)}")
    return terms


@contextlib.contextmanager
def autocast(precision):
    """`torch.autocast("cuda")`, which leaves itself out where there is no GPU."""
    enabled, dtype = torch.is_autocast_enabled("cuda"), torch.get_autocast_dtype("cuda")
    torch.set_autocast_enabled("cuda", precision != "fp32")
    torch.set_autocast_dtype("cuda", DTYPES["bf16" if precision == "fp32" else precision])
    torch.autocast_increment_nesting()
    try:
        yield
    finally:
        if torch.autocast_decrement_nesting() == 0:
            torch.clear_autocast_cache()
        torch.set_autocast_enabled("cuda", enabled)
        torch.set_autocast_dtype("cuda", dtype)


def before(place, name, act):
    """A mistake: `act` is done to the first argument that is a tensor, then all goes on."""

    def plant(monkeypatch):
        right = getattr(place, name)

        def wrong(*args, **kwargs):
            act(next(x for x in args if isinstance(x, torch.Tensor)))
            return right(*args, **kwargs)

        monkeypatch.setattr(place, name, wrong)

    return plant


def branch(tensor):
    """A mistake for `before`: which way to go depends on numbers."""
    if (tensor > 0).any():
        return
