"""What a step computes in, and what becomes of a step whose numbers are not finite."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from lib.utils.errors import EXIT_NON_FINITE, SeqTrackError

# What autocast computes in; the others compute in float32.
_FORMATS = {"bf16": torch.bfloat16, "fp16": torch.float16}
# The scale of fp16 halves with every skipped step: so many halvings are no overflow any more.
_MOST_SKIPPED = 40


class NonFiniteLoss(SeqTrackError):
    """The loss or the gradients are not finite; the weights were not changed.

    `note` is that of the step, see `Precision.check`.
    """

    exit_code = EXIT_NON_FINITE

    def __init__(self, message: str, note: Any = None) -> None:
        super().__init__(message)
        self.note = note


class _Check:
    """Whether the numbers of a step are finite, on its way from the device."""

    def __init__(self, terms: Mapping[str, Tensor], grad_norm: Tensor, note: Any) -> None:
        self.terms, self.grad_norm, self.note = terms, grad_norm, note
        self.finite = torch.stack([terms["total"], grad_norm.to(terms["total"])]).isfinite()
        # Into page-locked memory where it comes from a GPU: this only orders the copy.
        self._copy = self.finite.to("cpu", non_blocking=True)
        self._done = torch.cuda.Event() if self.finite.is_cuda else None
        if self._done is not None:
            self._done.record()

    def read(self) -> tuple[bool, bool]:
        """Whether loss and gradient norm are finite; waits until the device has come so far."""
        if self._done is not None:
            self._done.synchronize()
        loss, grad_norm = self._copy.tolist()
        return loss, grad_norm


class Precision:
    """Number format of the forward pass, the scale of fp16's gradients, and the check of a step.

    Whether the numbers of a step are finite is known on the device first. A fused optimizer reads
    it there, and leaves the weights alone where they are not; this process reads it while the
    device works on the next step, so that the device never runs out of work. Elsewhere, and with
    fp16, it is read before the optimizer's step.

    Args:
        name: TRAIN.PRECISION.
        device: where the module is.

    Attributes:
        late: whether the numbers of a step are read in the next one: on CUDA devices. Never with
            fp16, where what comes after a step depends on whether it was skipped.
        skipped: steps that fp16 skipped so far because a gradient overflowed.
    """

    def __init__(self, name: str, device: torch.device) -> None:
        self.name, self.device = name, device
        self.scaler = torch.amp.GradScaler(device.type, enabled=name == "fp16")
        self.late = device.type == "cuda" and not self.scaler.is_enabled()
        self.skipped = 0
        self._skipped_in_a_row = 0
        self._unread: _Check | None = None

    def autocast(self) -> torch.autocast:
        dtype = _FORMATS.get(self.name)
        return torch.autocast(self.device.type, dtype=dtype, enabled=dtype is not None)

    @contextmanager
    def tf32(self) -> Iterator[None]:
        """Matrix products of CUDA devices round their inputs to TF32 here, if that is wanted."""
        before = torch.backends.cuda.matmul.allow_tf32
        torch.backends.cuda.matmul.allow_tf32 = before or self.name == "tf32"
        try:
            yield
        finally:
            torch.backends.cuda.matmul.allow_tf32 = before

    def check(
        self,
        optimizer: torch.optim.Optimizer,
        terms: Mapping[str, Tensor],
        grad_norm: Tensor,
        note: Any = None,
    ) -> bool:
        """Whether the optimizer is to make its step; where the check is late, it finds out itself.

        Args:
            optimizer: a fused one, if the check is late.
            terms: scalars of the step, `total` among them.
            grad_norm: is checked too: a bad loss in another process arrives as gradients only.
            note: comes back in the error.

        Raises:
            NonFiniteLoss: of this step or of the one before. With fp16, gradients that are not
                finite are an overflow, which a smaller scale can mend: the step is skipped.
        """
        # By now the device has work again: to wait for the step before costs nothing.
        self.settle()
        check = _Check(terms, grad_norm, note)
        if not self.late:
            return self._passes(check)
        optimizer.found_inf = (~check.finite.all()).float()  # type: ignore[attr-defined]
        self._unread = check
        return True

    def settle(self) -> None:
        """Check the last step, if that is still to be done, as before anything is saved.

        Raises:
            NonFiniteLoss: as `check`.
        """
        check, self._unread = self._unread, None
        if check is not None:
            self._passes(check)

    def _passes(self, check: _Check) -> bool:
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
            f"(precision {self.name})",
            check.note,
        )

    def state_dict(self) -> dict[str, Any]:
        """For an exact continuation. Settles first: what comes from a bad step is not saved."""
        self.settle()
        return {"scaler": self.scaler.state_dict(), "skipped": self.skipped}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over a saved state; one without a scaler (another precision) leaves it new."""
        self.skipped = int(state["skipped"])
        if state["scaler"] and self.scaler.is_enabled():
            self.scaler.load_state_dict(state["scaler"])
