"""Choosing where to compute."""

import re

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
    if not re.fullmatch(r"cpu|mps|cuda(:[0-9]{1,4})?", name):
        raise SeqTrackError(f"unknown device {name!r}; choose auto, cpu, mps, cuda or cuda:N")
    device = torch.device(name)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise SeqTrackError(f"device {name!r} asked for, but PyTorch finds no CUDA device here")
    if device.index is not None and device.index >= torch.cuda.device_count():
        count = torch.cuda.device_count()
        raise SeqTrackError(f"device {name!r} asked for, but there are only {count} CUDA devices")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise SeqTrackError(f"device {name!r} asked for, but PyTorch finds no MPS device here")
    return device


def computes_bf16(device: torch.device) -> bool:
    """Whether bf16 is quicker there than fp32: a CPU without instructions for it is far slower."""
    return device.type != "cpu" or torch.ops.mkldnn._is_mkldnn_bf16_supported()
