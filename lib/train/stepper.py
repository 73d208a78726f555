"""One optimizer step, in the one order that is right.

zero the gradients
forward and backward for every part of the batch; gradients add up
unscale (fp16), measure and clip the norm of all gradients
step if all numbers are finite; then the moving average

Whether they are is known on the device first. A fused optimizer reads it there, and leaves the
weights alone where they are not; this process reads it while the device works on the next step,
so that the device never runs out of work. Elsewhere, and with fp16, it is read before the step.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from lib.config.schema import Config
from lib.train.ema import Ema
from lib.utils.errors import EXIT_NON_FINITE, SeqTrackError

# What autocast computes in; the others compute in float32.
_FORMATS = {"bf16": torch.bfloat16, "fp16": torch.float16}
# The scale of fp16 halves with every skipped step: so many halvings are no overflow any more.
_MOST_SKIPPED = 40


class NonFiniteLoss(SeqTrackError):
    """The loss or the gradients are infinite or not a number; the weights were not changed.

    Attributes:
        note: of the step that it happened in; see `Stepper.step`.
    """

    exit_code = EXIT_NON_FINITE

    def __init__(self, message: str, note: Any = None) -> None:
        super().__init__(message)
        self.note = note


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
        applied: whether the weights moved; with fp16 some steps are skipped. A step whose
            numbers are still to be checked counts as applied.
    """

    terms: dict[str, Tensor]
    grad_norm: Tensor
    applied: bool


class _Check:
    """Whether the numbers of a step are finite, on its way from the device.

    Args:
        terms: the scalars of the step.
        grad_norm: the norm of its gradients.
        note: comes back in the error.
    """

    def __init__(self, terms: dict[str, Tensor], grad_norm: Tensor, note: Any) -> None:
        self.terms, self.grad_norm, self.note = terms, grad_norm, note
        self.finite = torch.stack([terms["total"], grad_norm.to(terms["total"])]).isfinite()
        # Into page-locked memory where it comes from a GPU: this only orders the copy.
        self._copy = self.finite.to("cpu", non_blocking=True)
        self._done = torch.cuda.Event() if self.finite.is_cuda else None
        if self._done is not None:
            self._done.record()

    def read(self) -> tuple[bool, bool]:
        """Whether the loss and the norm are finite; waits until the device has come so far."""
        if self._done is not None:
            self._done.synchronize()
        loss, grad_norm = self._copy.tolist()
        return loss, grad_norm


@contextmanager
def _tf32(wanted: bool) -> Iterator[None]:
    """Matrix products of CUDA devices round their inputs to TF32 in this block, if `wanted`."""
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = before or wanted
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before


class Stepper:
    """Makes optimizer steps.

    Args:
        module: an `Objective`, as it is, compiled or in DistributedDataParallel.
        optimizer: over its parameters; its learning rates are set by the caller.
        cfg: the configuration: precision and clipping.
        device: where the module is.
        ema: the moving average to keep up to date, or None.
        late: read whether the numbers of a step are finite in the next one; by default on CUDA
            devices. The optimizer has to be a fused one, and fp16 never does so: what comes
            after a step depends on whether it was skipped.

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
        late: bool | None = None,
    ) -> None:
        self.module = module
        self.optimizer = optimizer
        self.device = device
        self.ema = ema
        self.precision = cfg.train.precision
        # An infinite limit clips nothing, but the norm is wanted all the same.
        self.clip_norm = cfg.train.grad_clip_norm or math.inf
        self.scaler = torch.amp.GradScaler(device.type, enabled=self.precision == "fp16")
        wanted = device.type == "cuda" if late is None else late
        self.late = wanted and not self.scaler.is_enabled()
        self._unread: _Check | None = None
        self.skipped = 0
        self._skipped_in_a_row = 0

    def autocast(self) -> torch.autocast:
        """The context in which the forward pass computes; validation uses it as well."""
        return torch.autocast(
            self.device.type,
            dtype=_FORMATS.get(self.precision),
            enabled=self.precision in _FORMATS,
        )

    def step(self, parts: Sequence[Pixels], progress: float, note: Any = None) -> StepResult:
        """Train on a batch that comes in one or more parts of the same size.

        Args:
            parts: the batches of one step, TRAIN.ACCUMULATE of them, on the device.
            progress: share of the training that is done, 0 to 1.
            note: what the caller wants to know about the step if its numbers are not finite.

        Raises:
            NonFiniteLoss: of this step or of the one before; the weights are as they were before
                that one. With fp16, gradients that are not finite are an overflow, which a
                smaller scale can mend: the step is skipped.
        """
        self.optimizer.zero_grad(set_to_none=True)
        with _tf32(self.precision == "tf32"):
            terms = self._gradients(parts, progress)
        self.scaler.unscale_(self.optimizer)
        parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        grad_norm = nn.utils.clip_grad_norm_(parameters, self.clip_norm)
        # By now the device has work again: to wait for the step before costs nothing.
        self.settle()
        check = _Check(terms, grad_norm, note)
        applied = True
        if self.late:
            self.optimizer.found_inf = (~check.finite.all()).float()  # type: ignore[attr-defined]
            self._unread = check
        else:
            applied = self._passes(check)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if applied and self.ema is not None:
            # After a late step with bad numbers the average is wrong; `settle` ends the training
            # before anybody sees it.
            self.ema.update()
        return StepResult(terms, grad_norm, applied)

    def settle(self) -> None:
        """Check the last step, if that is still to be done; to be called before anything is saved.

        Raises:
            NonFiniteLoss: as `step`.
        """
        check, self._unread = self._unread, None
        if check is not None:
            self._passes(check)

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

    def _passes(self, check: _Check) -> bool:
        """Whether the step is to be made; raises if it must not.

        Nothing else stops a bad number from spoiling the weights (and from being saved) before
        anybody looks. Gradients are looked at too: those of a bad loss in another process arrive
        here as gradients only.
        """
        good_loss, good_norm = check.read()
        if good_loss and good_norm:
            self._skipped_in_a_row = 0
            return True
        if good_loss and self.scaler.is_enabled() and self._skipped_in_a_row < _MOST_SKIPPED:
            self._skipped_in_a_row += 1
            self.skipped += 1
            return False
        values = ", ".join(f"{name} {value.item():g}" for name, value in check.terms.items())
        raise NonFiniteLoss(
            f"numbers are not finite: {values}, gradient norm {check.grad_norm.item():g} "
            f"(precision {self.precision})",
            check.note,
        )

    def state_dict(self) -> dict[str, Any]:
        """What an exact continuation needs besides weights, optimizer and average.

        Raises:
            NonFiniteLoss: as `settle`; what comes from a bad step is not saved.
        """
        self.settle()
        return {"scaler": self.scaler.state_dict(), "skipped": self.skipped}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over a saved state; one without a scaler (another precision) leaves it new."""
        self.skipped = int(state["skipped"])
        if state["scaler"] and self.scaler.is_enabled():
            self.scaler.load_state_dict(state["scaler"])
