"""What a training log adds up between two lines, and how its numbers are spelled."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from torch import Tensor

_LOSSES = ("total", "ce", "l1", "size", "centre", "dense")


@dataclass
class Meter:
    """Sums since the start of the epoch, and since the last line."""

    sums: dict[str, Tensor | float] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    steps: int = 0
    samples: int = 0
    data_seconds: float = 0.0
    compute_seconds: float = 0.0
    events: Counter[str] = field(default_factory=Counter)
    before: tuple[int, float] = (0, 0.0)

    @property
    def seconds(self) -> float:
        """Time that all steps took."""
        return self.data_seconds + self.compute_seconds

    def add(self, values: Mapping[str, Tensor | float], samples: int) -> None:
        """Note the means over the samples of a step; tensors stay on their device, unread."""
        for name, value in values.items():
            now = value.detach().float() if isinstance(value, Tensor) else value
            self.sums[name] = self.sums.get(name, 0.0) + now * samples
            self.counts[name] = self.counts.get(name, 0) + samples

    def means(self) -> dict[str, float]:
        """Mean of every value over the steps that had it; this waits for the device."""
        return {name: float(total) / self.counts[name] for name, total in self.sums.items()}

    def speeds(self) -> tuple[float, float]:
        """Samples per second since the start of the epoch and since the last call."""
        samples, seconds = self.before
        self.before = (self.samples, self.seconds)
        recent = (self.samples - samples) / max(self.seconds - seconds, 1e-9)
        return self.samples / max(self.seconds, 1e-9), recent


def labelled(values: Mapping[str, float]) -> dict[str, float]:
    """The names that people see: `Loss/total` and `IoU` first, a lone loss only once."""
    losses = [name for name in _LOSSES if name in values]
    if losses[:1] == ["total"] and len(losses) == 2:
        losses = ["total"]
    named = {f"Loss/{name}": values[name] for name in losses[:1]}
    named |= {"IoU": values["iou"]} if "iou" in values else {}
    named |= {f"Loss/{name}": values[name] for name in losses[1:]}
    others = (name for name in values if name not in (*_LOSSES, "iou"))
    return named | {name: values[name] for name in others}


def by_group(name: str, rates: Sequence[float]) -> dict[str, float]:
    """The rates of the optimizer's groups, named by their numbers."""
    return {f"{name}{i}": rate for i, rate in enumerate(rates)}


def duration(seconds: float) -> str:
    """Example: `1 d 02:03:04`."""
    days, rest = divmod(round(seconds), 86400)
    clock = f"{rest // 3600:02d}:{rest // 60 % 60:02d}:{rest % 60:02d}"
    return f"{days} d {clock}" if days else clock
