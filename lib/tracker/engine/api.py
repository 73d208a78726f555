"""What runs the network for a tracker: the contract, and what engines share.

A tracker hands an engine the pixels of its crops and gets four tokens per target back. All that
lies between is `SeqTrack.step`, which one engine keeps in a CUDA graph and another in an exported
model. All engines give the same tokens in fp32; they differ in speed only.

    engine = build_engine("torch", network, cfg)             # lib/tracker/engine/build.py
    template = engine.template(crop, box)                    # once each, (S_z, S_z, 3) uint8
    output = engine.generate([(template, template)], [crop])  # a search crop, (S_x, S_x, 3) uint8
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

if TYPE_CHECKING:
    # Nothing of the tracker needs it where an exported network runs.
    from torch import Tensor

    Array = np.ndarray | Tensor
    # With a row for each target of a group.
    Parts = Sequence[Array]


@dataclass(frozen=True, eq=False)
class Template:
    """One template of one target. Made by an engine, never changed.

    The same object at several places of a target's templates is the same template several
    times; engines compute it once.

    Attributes:
        crop: `(S_z, S_z, 3)` uint8 RGB.
        box: the target in it, xywh normalised to the crop (by S_z - 1).
        cached: whatever the engine wants to remember of it, such as its patch tokens.
    """

    crop: np.ndarray
    box: tuple[float, float, float, float]
    cached: Any = None

    def looks_like(self, other: "Template") -> bool:
        """Whether the network cannot tell the two apart."""
        return self.box == other.box and np.array_equal(self.crop, other.crop)


@dataclass(frozen=True)
class EngineOutput:
    """What was read out for B targets: arrays, or tensors of the CPU.

    Attributes:
        tokens: `(B, 4)` int64 coordinate tokens.
        confidence: `(B, 4)` float64, the probability of each token after the window penalty.
        boxes: `(B, 4)` float32 cxcywh, normalised to the search crop.
        distributions: `(B, 4, bins)` the values that the tokens were chosen from, where the
            engine was asked to keep them, else None.
    """

    tokens: "Array"
    confidence: "Array"
    boxes: "Array"
    distributions: "Array | None" = None


class Engine(Protocol):
    """Runs one network with one configuration's way of reading boxes out.

    Window penalty and decoding (TEST.WINDOW, TEST.DECODING) are those of the configuration it
    was built with. Weights are read when it is built: after training on, build another. An
    engine holds nothing of a target, so targets may come and go between calls.

    Attributes:
        name: one of ENGINE_NAMES.
        keep_distributions: whether `EngineOutput.distributions` is filled; off at first.
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
        self,
        templates: Sequence[Sequence[Template]],
        search: Sequence[np.ndarray] | np.ndarray,
        history: np.ndarray | None = None,
    ) -> EngineOutput:
        """Read out the boxes of B targets.

        Args:
            templates: the T templates of each of the B targets, oldest first; T is the same for
                all, the number of different ones need not be.
            search: B search crops, `(S_x, S_x, 3)` uint8 RGB each, or all in one array.
            history: `(B, N, 4)` float32 boxes of the frames before, oldest first, xywh normalised
                to the search crop, NaN where one is not known; None where MODEL.HISTORY is 0.
        """
        ...


@dataclass(frozen=True)
class UniqueTemplates:
    """The different templates of a target.

    Attributes:
        templates: each of them once, in order of appearance.
        index: for each of the T templates, which of these it is.
        counts: for each of these, how often it is there.
    """

    templates: tuple[Template, ...]
    index: tuple[int, ...]
    counts: tuple[int, ...]

    @classmethod
    def of(cls, templates: Sequence[Template]) -> "UniqueTemplates":
        """Find the different ones, by identity.

        Example:
            >>> a, b = (Template(np.zeros((1, 1, 3), np.uint8), (0, 0, 1, 1)) for _ in "ab")
            >>> UniqueTemplates.of([a, a, b]).counts
            (2, 1)
        """
        found = list({id(one): one for one in templates}.values())
        ids = [id(one) for one in found]
        index = tuple(ids.index(id(one)) for one in templates)
        return cls(tuple(found), index, tuple(index.count(i) for i in range(len(found))))

    @classmethod
    def apart(cls, templates: Sequence[Template]) -> "UniqueTemplates":
        """All T templates as different ones, whether they are or not; the answer is the same."""
        return cls(tuple(templates), tuple(range(len(templates))), (1,) * len(templates))

    def same_as(self, other: "UniqueTemplates") -> bool:
        """Whether these are the same templates, at the same places."""
        same = all(a is b for a, b in zip(self.templates, other.templates, strict=True))
        return self.index == other.index and same


class BatchedEngine(Engine, ABC):
    """What engines share that run `SeqTrack.step`: targets in groups, templates put together.

    Args:
        one_group: make one batch of all targets, at the price of computing all T templates of
            each unless all targets have T equal ones.
    """

    def __init__(self, one_group: bool) -> None:
        self.keep_distributions, self.one_group = False, one_group
        self._last: dict[int, tuple[Sequence[UniqueTemplates], Any]] = {}

    @abstractmethod
    def run(
        self,
        crops: Sequence[np.ndarray] | np.ndarray,
        unique: list[UniqueTemplates],
        history: np.ndarray | None,
    ) -> "Parts":
        """Tokens, confidences, boxes and, where they are kept, distributions of a group.

        They lie in memory that the next call leaves alone.

        Args:
            crops: the search crops of the group.
            unique: its templates, equally many different ones of each target.
            history: its boxes before; see `Engine.generate`.
        """

    @abstractmethod
    def assemble(self, unique: Sequence[UniqueTemplates]) -> Any:
        """What the step takes of the templates of B targets; see `inputs`."""

    @staticmethod
    @abstractmethod
    def concatenate(parts: "Parts") -> "Array":
        """The rows of all parts, copied."""

    def generate(
        self,
        templates: Sequence[Sequence[Template]],
        search: Sequence[np.ndarray] | np.ndarray,
        history: np.ndarray | None = None,
    ) -> EngineOutput:
        """See `Engine.generate`; targets with as many different templates go together."""
        unique = [UniqueTemplates.of(row) for row in templates]
        if self.one_group and any(len(one.templates) > 1 for one in unique):
            unique = [UniqueTemplates.apart(row) for row in templates]
        groups: dict[int, list[int]] = {}
        for index, one in enumerate(unique):
            groups.setdefault(len(one.templates), []).append(index)
        parts = []
        for indices in groups.values():
            whole = isinstance(search, np.ndarray) and len(indices) == len(search)
            crops = search if whole else [search[i] for i in indices]
            before = None if history is None else history[indices]
            parts.append(self.run(crops, [unique[i] for i in indices], before))
        if len(groups) == 1:
            return EngineOutput(*parts[0])
        columns = [self.concatenate(column) for column in zip(*parts, strict=True)]
        order = np.argsort([i for indices in groups.values() for i in indices])
        return EngineOutput(*(column[order] for column in columns))

    def inputs(self, unique: Sequence[UniqueTemplates]) -> Any:
        """Put the templates of B targets with equally many different ones together.

        The same templates get the same inputs, which never change.
        """
        count = len(unique[0].templates)
        known, inputs = self._last.get(count, ((), None))
        if (
            inputs is not None
            and len(known) == len(unique)
            and all(a.same_as(b) for a, b in zip(known, unique, strict=True))
        ):
            return inputs
        inputs = self.assemble(unique)
        self._last = {**self._last, count: (tuple(unique), inputs)}
        return inputs
