"""What runs the network for a tracker: the contract, and the engines that there are.

A tracker hands an engine the pixels of its crops and gets four tokens per target back. All that
lies between (upload, normalising, encoder, four decoder steps, window, box) is the engine's, so
that one engine may keep it in a CUDA graph and another in an exported model. All engines give
the same tokens in fp32; they differ in speed only.

    engine = build_engine("torch", network, cfg)
    template = engine.template(crop, box)                  # once per template, (S_z, S_z, 3) uint8
    said = engine.generate([(template, template)], [crop])  # a search crop, (S_x, S_x, 3) uint8
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from lib.config.schema import Config
from lib.models.seqtrack import SeqTrack
from lib.tracker.engine.names import check_engine


@dataclass(frozen=True, eq=False)
class Template:
    """One template of one target. Made by an engine, never changed.

    The same object at several places of a target's templates is the same template several
    times; engines compute it once.

    Attributes:
        crop: `(S_z, S_z, 3)` uint8 RGB.
        box: the target in it, xywh normalised to the crop (by S_z - 1).
        kept: whatever the engine wants to remember of it, such as its patch tokens.
    """

    crop: np.ndarray
    box: tuple[float, float, float, float]
    kept: Any = None

    def looks_like(self, other: "Template") -> bool:
        """Whether the network cannot tell the two apart."""
        return self.box == other.box and np.array_equal(self.crop, other.crop)


@dataclass(frozen=True)
class Readout:
    """What was read out for B targets; everything on the CPU.

    Attributes:
        tokens: `(B, 4)` int64 coordinate tokens.
        confidence: `(B, 4)` float64, the probability of each token after the window penalty.
        boxes: `(B, 4)` float32 cxcywh, normalised to the search crop.
        distributions: `(B, 4, bins)` the values that the tokens were chosen from, where the
            engine was asked to keep them, else None.
    """

    tokens: Tensor
    confidence: Tensor
    boxes: Tensor
    distributions: Tensor | None = None


class Engine(Protocol):
    """Runs one network with one configuration's way of reading boxes out.

    Window penalty and decoding (TEST.WINDOW, TEST.DECODING) are those of the configuration it
    was built with. Weights are read when it is built: after training on, build another. An
    engine holds nothing of a target, so targets may come and go between calls.

    Attributes:
        name: one of ENGINE_NAMES.
        keep_distributions: whether `Readout.distributions` is filled; off at first.
    """

    name: str
    keep_distributions: bool

    def templates(
        self, crops: Sequence[np.ndarray], boxes: Sequence[Sequence[float]]
    ) -> list[Template]:
        """Take in one or more new templates, of any targets, at once.

        Args:
            crops: N of them, `(S_z, S_z, 3)` uint8 RGB each.
            boxes: N boxes of the targets in them, xywh normalised to the crop.
        """
        ...

    def template(self, crop: np.ndarray, box: Sequence[float]) -> Template:
        """Take in one new template; see `templates`."""
        (template,) = self.templates([crop], [box])
        return template

    def generate(
        self, templates: Sequence[Sequence[Template]], search: Sequence[np.ndarray] | np.ndarray
    ) -> Readout:
        """Read out the boxes of B targets.

        Args:
            templates: the T templates of each of the B targets, oldest first; T is the same for
                all, the number of different ones need not be.
            search: B search crops, `(S_x, S_x, 3)` uint8 RGB each, or all in one array.
        """
        ...


@dataclass(frozen=True)
class Distinct:
    """The different templates of a target.

    Attributes:
        templates: each of them once, in order of appearance.
        places: for each of the T templates, which of these it is.
        copies: for each of these, how often it is there.
    """

    templates: tuple[Template, ...]
    places: tuple[int, ...]
    copies: tuple[int, ...]

    @classmethod
    def of(cls, templates: Sequence[Template]) -> "Distinct":
        """Find the different ones, by identity.

        Example:
            >>> a, b = (Template(np.zeros((1, 1, 3), np.uint8), (0, 0, 1, 1)) for _ in "ab")
            >>> Distinct.of([a, a, b]).copies
            (2, 1)
        """
        found = list({id(one): one for one in templates}.values())
        ids = [id(one) for one in found]
        places = tuple(ids.index(id(one)) for one in templates)
        return cls(tuple(found), places, tuple(places.count(i) for i in range(len(found))))

    @classmethod
    def apart(cls, templates: Sequence[Template]) -> "Distinct":
        """All T templates as different ones, whether they are or not; the answer is the same."""
        return cls(tuple(templates), tuple(range(len(templates))), (1,) * len(templates))


def in_groups(
    templates: Sequence[Sequence[Template]],
    answer: Callable[[list[int], list[Distinct]], Sequence[Tensor]],
    one_group: bool = False,
) -> list[Tensor]:
    """Answer for all targets that have as many different templates at once.

    Args:
        templates: the T templates of each of the B targets.
        answer: given the numbers of some targets and their templates; returns tensors `(N, …)`
            with a row for each of them.
        one_group: answer for all targets at once. Unless all templates of every target are
            equal, all T are computed as if they were different.

    Returns:
        the same tensors for all targets, `(B, …)`, in their order.
    """
    distinct = [Distinct.of(row) for row in templates]
    if one_group and any(len(one.templates) > 1 for one in distinct):
        distinct = [Distinct.apart(row) for row in templates]
    groups: dict[int, list[int]] = {}
    for index, one in enumerate(distinct):
        groups.setdefault(len(one.templates), []).append(index)
    parts = [answer(indices, [distinct[i] for i in indices]) for indices in groups.values()]
    order = torch.tensor([i for indices in groups.values() for i in indices]).argsort()
    return [torch.cat(column)[order] for column in zip(*parts, strict=True)]


def build_engine(name: str, network: SeqTrack, cfg: Config, precision: str = "fp32") -> Engine:
    """The engine of that name for a network, on the network's device.

    Args:
        name: one of ENGINE_NAMES.
        network: with its weights; it is put into evaluation mode and must not change any more.
        cfg: the configuration that it was built from.
        precision: one of `PRECISIONS[name]`.

    Raises:
        ConfigError: no such engine, or one that cannot run this network here.
        MissingExtraError: a package for it is missing.
    """
    check_engine(name, precision)
    network.eval()
    if name == "torch":
        from lib.tracker.engine.torch import TorchEngine

        return TorchEngine(network, cfg, precision)
    if name == "onnx":
        from lib.tracker.engine.onnx import build_onnx_engine

        return build_onnx_engine(network, cfg, precision)
    from lib.tracker.engine.reference import ReferenceEngine

    return ReferenceEngine(network, cfg)
