"""On what a measurement was made, and how quickly it multiplies matrices."""

import os
import platform
import re
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from lib.utils.cores import usable_cores

# Rows, inner and outer size of the product that gives the peak: an MLP of ViT-B over 768 tokens.
_PEAK_SHAPE = (768, 768, 3072)


def machine_record(device: torch.device) -> dict[str, Any]:
    """What a reader needs to judge the numbers: hardware, versions, threads, load, commit."""
    record: dict[str, Any] = {
        "cpu": _cpu(),
        "cores": usable_cores(),
        "threads": torch.get_num_threads(),
        "load_average": [round(value, 2) for value in os.getloadavg()],
        "torch": torch.__version__,
        "python": platform.python_version(),
        "system": platform.platform(),
        "device": str(device),
        "commit": _commit(),
    }
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        record["gpu"] = properties.name
        record["gpu_memory_gib"] = round(properties.total_memory / 2**30, 1)
        record["cuda"] = torch.version.cuda
        record["tf32_matmul"] = torch.backends.cuda.matmul.allow_tf32
    return record


def peak_memory_mib(device: torch.device) -> int:
    """The most memory that was in use: of the device where it has its own, else of the process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) >> 20
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak >> 20 if sys.platform == "darwin" else peak >> 10


def matrix_product(device: torch.device) -> tuple[Callable[[int], object], float]:
    """A product of fp32 matrices to measure the peak with, and how many GFLOP it has."""
    m, k, n = _PEAK_SHAPE
    if device.type == "cuda":
        m, k, n = 8192, 8192, 8192
    left, right = torch.randn(m, k, device=device), torch.randn(k, n, device=device)
    out = torch.empty(m, n, device=device)

    def multiply(_: int) -> object:
        return torch.mm(left, right, out=out)

    return multiply, 2e-9 * m * k * n


def _cpu() -> str:
    """The processor, and what it multiplies with."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    named = re.search(r"^model name\s*:\s*(.*)$", text, re.MULTILINE)
    name = named[1] if named else platform.processor() or platform.machine()
    flags = re.search(r"^flags\s*:\s*(.*)$", text, re.MULTILINE)
    known = set(flags[1].split()) if flags else set()
    wide = [flag for flag in ("avx2", "avx512f", "avx512_bf16", "amx_tile") if flag in known]
    return f"{name} ({' '.join(wide) or 'no avx2'})"


def _commit() -> str | None:
    """The commit of the checkout, with a `+` where files differ from it; None without git."""
    root = Path(__file__).resolve().parents[1]
    try:
        asked = [
            subprocess.run(
                ["git", *words], cwd=root, capture_output=True, text=True, check=True, timeout=20
            ).stdout.strip()
            for words in (("rev-parse", "HEAD"), ("status", "--porcelain", "-uno"))
        ]
    except (OSError, subprocess.SubprocessError):
        return None
    return asked[0] + ("+" if asked[1] else "")
