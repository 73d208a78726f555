"""Choosing where to compute."""

import torch

from lib.utils.errors import SeqTrackError


def resolve_device(name: str = "auto") -> torch.device:
    """`auto`, `cpu`, `mps`, `cuda` or `cuda:N` as a device that exists here.

    `auto` takes CUDA, then Apple's MPS, then the CPU.

    Raises:
        SeqTrackError: the name is unknown, or this machine has no such device.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    kind, _, index = name.partition(":")
    if kind not in ("cpu", "mps", "cuda") or (index and not index.isdigit()):
        raise SeqTrackError(f"unknown device {name!r}; choose auto, cpu, mps, cuda or cuda:N")
    if kind == "cuda" and not torch.cuda.is_available():
        raise SeqTrackError(f"device {name!r} asked for, but PyTorch finds no CUDA device here")
    if kind == "cuda" and index and int(index) >= torch.cuda.device_count():
        count = torch.cuda.device_count()
        raise SeqTrackError(f"device {name!r} asked for, but there are only {count} CUDA devices")
    if kind == "mps" and not torch.backends.mps.is_available():
        raise SeqTrackError(f"device {name!r} asked for, but PyTorch finds no MPS device here")
    return torch.device(name)
