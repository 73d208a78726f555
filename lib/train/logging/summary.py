"""What a run is, in the few lines that it starts with."""

import torch
from torch import nn

from lib.config.schema import Config
from lib.models.weights import PUBLISHED_CONFIGS
from lib.train.run import Run
from lib.utils.errors import counted

# 8 GPUs, with TRAIN.BATCH_SIZE samples each.
_PAPER_BATCH = {
    name: 128 if "b256" in name and "got" not in name else 64 for name in PUBLISHED_CONFIGS
}


def summary(run: Run, compiled: bool) -> list[str]:
    """The lines, in order."""
    cfg, world = run.cfg, run.world
    train = cfg.train
    return [
        f"{cfg.name}: {parameters(run.objective)}; {where(run, compiled)}",
        *precision_advice(train.precision, world.device.type),
        f"effective batch {effective_batch(run)} = TRAIN.BATCH_SIZE {train.batch_size} x "
        f"{_processes(world.size)} x "
        f"TRAIN.ACCUMULATE {train.accumulate}",
        learning_rate_rule(cfg, effective_batch(run)),
        f"{counted(train.epoch, 'epoch')} of {counted(run.steps_per_epoch, 'step')} "
        f"({cfg.data.train.sample_per_epoch} samples); checkpoints: {run.folder}",
    ]


def effective_batch(run: Run) -> int:
    """Samples of one optimizer step."""
    return run.samples_per_batch * run.cfg.train.accumulate


def parameters(module: nn.Module) -> str:
    """Number of parameters, and how many of them train."""
    total = sum(p.numel() for p in module.parameters())
    training = sum(p.numel() for p in module.parameters() if p.requires_grad)
    text = f"{total:,} parameters"
    return text if training == total else f"{text}, of which {training:,} train"


def where(run: Run, compiled: bool) -> str:
    """Device, precision and number of processes."""
    device = run.world.device
    name = f" ({torch.cuda.get_device_name(device)})" if device.type == "cuda" else ""
    words = [f"{device.type}{name}", run.cfg.train.precision]
    words += ["compiled"] if compiled else []
    return ", ".join([*words, _processes(run.world.size)])


def precision_advice(precision: str, device: str) -> list[str]:
    """A line where another precision is what one may have meant; nothing is chosen by itself."""
    if precision == "fp32" and device == "cuda":
        return [
            "matrix products in full fp32, as the configuration says: --precision tf32 or bf16 is "
            "several times as fast on GPUs from Ampere on (advice, not applied)"
        ]
    if precision == "tf32" and device != "cuda":
        return [f"tf32 is for CUDA devices: {device} computes in fp32"]
    return []


def _processes(number: int) -> str:
    return "1 process" if number == 1 else f"{number} processes"


def learning_rate_rule(cfg: Config, effective: int) -> str:
    """The rate, and what the common rule would make of it; nothing is scaled by itself.

    Source of the rule: Goyal et al., 2017 (linear scaling).
    """
    rate = cfg.train.lr
    encoder = rate * cfg.train.encoder_multiplier
    text = f"learning rate {rate:g}, encoder {encoder:g}: used as the configuration says"
    paper = _PAPER_BATCH.get(cfg.name)
    if paper is None:
        return f"{text}, whatever the effective batch"
    if paper == effective:
        return f"{text}; the paper's effective batch is {paper} too"
    scaled = rate * effective / paper
    return (
        f"{text}, which is for the paper's effective batch of {paper}; linear scaling to "
        f"{effective} would give {scaled:g} (advice, not applied: --set TRAIN.LR={scaled:g})"
    )
