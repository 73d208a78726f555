"""One optimizer step, in the one order that is right.

zero the gradients
forward and backward for every part of the batch; gradients add up
unscale (fp16), measure and clip the norm of all gradients
stop if a number is not finite, else step; then the moving average
"""

import math
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from lib.config.schema import Config
from lib.train.ema import Ema
from lib.utils.errors import EXIT_NON_FINITE, SeqTrackError

_FORMATS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
# The scale of fp16 halves with every skipped step: so many halvings are no overflow any more.
_MOST_SKIPPED = 40


class NonFiniteLoss(SeqTrackError):
    """The loss or the gradients are infinite or not a number; nothing was changed."""

    exit_code = EXIT_NON_FINITE


class Pixels(Protocol):
    """What a step needs of a batch, on the device; see `Objective.forward`."""

    templates: Tensor
    search: Tensor
    template_boxes: Tensor
    boxes: Tensor


@dataclass(frozen=True)
class StepResult:
    """What one optimizer step did.

    Attributes:
        terms: scalars of `Objective.forward` without gradients, means over the parts.
        grad_norm: norm of all gradients before clipping, a scalar.
        applied: whether the weights moved; with fp16 some steps are skipped.
    """

    terms: dict[str, Tensor]
    grad_norm: Tensor
    applied: bool


class Stepper:
    """Makes optimizer steps.

    Args:
        module: an `Objective`, as it is, compiled or in DistributedDataParallel.
        optimizer: over its parameters; its learning rates are set by the caller.
        cfg: the configuration: precision and clipping.
        device: where the module is.
        ema: the moving average to keep up to date, or None.

    Attributes:
        skipped: steps that fp16 skipped so far because a gradient overflowed.
    """

    def __init__(
        self,
        module: nn.Module,
        optimizer: torch.optim.Optimizer,
        cfg: Config,
        device: torch.device,
        ema: Ema | None = None,
    ) -> None:
        self.module = module
        self.optimizer = optimizer
        self.device = device
        self.ema = ema
        self.precision = cfg.train.precision
        # An infinite limit clips nothing, but the norm is wanted all the same.
        self.clip_norm = cfg.train.grad_clip_norm or math.inf
        self.scaler = torch.amp.GradScaler(device.type, enabled=self.precision == "fp16")
        self.skipped = 0
        self._skipped_in_a_row = 0

    def autocast(self) -> torch.autocast:
        """The context in which the forward pass computes; validation uses it as well."""
        return torch.autocast(
            self.device.type,
            dtype=_FORMATS[self.precision],
            enabled=self.precision != "fp32",
        )

    def step(self, parts: Sequence[Pixels], progress: float) -> StepResult:
        """Train on a batch that comes in one or more parts of the same size.

        Args:
            parts: the batches of one step, TRAIN.ACCUMULATE of them, on the device.
            progress: share of the training that is done, 0 to 1.

        Raises:
            NonFiniteLoss: before anything was changed. With fp16, gradients that are not finite
                are an overflow, which a smaller scale can mend: the step is skipped.
        """
        self.optimizer.zero_grad(set_to_none=True)
        terms = self._gradients(parts, progress)
        self.scaler.unscale_(self.optimizer)
        parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        grad_norm = nn.utils.clip_grad_norm_(parameters, self.clip_norm)
        applied = self._check(terms, grad_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if applied and self.ema is not None:
            self.ema.update()
        return StepResult(terms, grad_norm, applied)

    def _gradients(self, parts: Sequence[Pixels], progress: float) -> dict[str, Tensor]:
        """Add up the gradients of all parts; returns the mean of the terms."""
        share = 1.0 / len(parts)
        # A tensor, so that a compiled objective is compiled once; filled on the device, because
        # copying one there would wait for all that it is doing.
        done = torch.full((), progress, device=self.device)
        sums: dict[str, Tensor] = {}
        for i, part in enumerate(parts):
            with self._exchange(i == len(parts) - 1):
                with self.autocast():
                    terms = self.module(
                        part.templates, part.search, part.template_boxes, part.boxes, done
                    )
                self.scaler.scale(terms["total"] * share).backward()
            for name, term in terms.items():
                sums[name] = sums.get(name, 0) + term.detach() * share
        return sums

    def _exchange(self, last: bool) -> Any:
        """Processes exchange gradients only in the last backward pass of a step."""
        return nullcontext() if last else getattr(self.module, "no_sync", nullcontext)()

    def _check(self, terms: dict[str, Tensor], grad_norm: Tensor) -> bool:
        """Whether the step is to be made; raises if it must not.

        This waits for the device in every step. That costs about the launch of one optimizer
        step, little beside a forward and backward pass, and nothing else stops a bad number
        from spoiling the weights (and from being saved) before anybody looks. Gradients are
        looked at too: those of a bad loss in another process arrive here as gradients only.
        """
        good = torch.stack([terms["total"], grad_norm.to(terms["total"])]).isfinite().tolist()
        if good[0] and good[1]:
            self._skipped_in_a_row = 0
            return True
        if good[0] and self.scaler.is_enabled() and self._skipped_in_a_row < _MOST_SKIPPED:
            self._skipped_in_a_row += 1
            self.skipped += 1
            return False
        values = ", ".join(f"{name} {value.item():g}" for name, value in terms.items())
        raise NonFiniteLoss(
            f"numbers are not finite: {values}, gradient norm {grad_norm.item():g} "
            f"(precision {self.precision})"
        )

    def state_dict(self) -> dict[str, Any]:
        """What an exact continuation needs besides weights, optimizer and average."""
        return {"scaler": self.scaler.state_dict(), "skipped": self.skipped}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over a saved state; one without a scaler (another precision) leaves it new."""
        self.skipped = int(state["skipped"])
        if state["scaler"] and self.scaler.is_enabled():
            self.scaler.load_state_dict(state["scaler"])
