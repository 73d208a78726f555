"""What a run is, in the few lines that it starts with."""

import torch
from torch import nn

from lib.config.schema import PUBLISHED_CONFIGS, Config
from lib.train.loop import Run
from lib.utils.device import computes_bf16
from lib.utils.errors import counted

# 8 GPUs, with TRAIN.BATCH_SIZE samples each.
_PAPER_BATCH = {
    name: 128 if "b256" in name and "got" not in name else 64 for name in PUBLISHED_CONFIGS
}


def summary(run: Run, compiled: bool) -> list[str]:
    cfg, train, plan = run.cfg, run.cfg.train, run.checkpoints.plan
    device, processes = run.world.device, counted(run.world.size, "process")
    gpu = f" ({torch.cuda.get_device_name(device)})" if device.type == "cuda" else ""
    how = [f"{device.type}{gpu}", train.precision, *(["compiled"] if compiled else []), processes]
    effective = plan.batch * train.accumulate
    return [
        f"{cfg.name}: {parameters(run.state.model)}; {', '.join(how)}",
        *precision_advice(train.precision, device.type, computes_bf16(device)),
        f"effective batch {effective} = TRAIN.BATCH_SIZE {train.batch_size} x {processes} x "
        f"TRAIN.ACCUMULATE {train.accumulate}",
        learning_rate_rule(cfg, effective),
        f"{counted(train.epoch, 'epoch')} of {counted(plan.steps, 'step')} "
        f"({cfg.data.train.sample_per_epoch} samples); checkpoints: {run.checkpoints.folder}",
    ]


def parameters(module: nn.Module) -> str:
    total = sum(p.numel() for p in module.parameters())
    training = sum(p.numel() for p in module.parameters() if p.requires_grad)
    text = f"{total:,} parameters"
    return text if training == total else f"{text}, of which {training:,} train"


def precision_advice(precision: str, device: str, bf16: bool) -> list[str]:
    """A line where another precision may be meant; nothing is changed.

    Args:
        precision: TRAIN.PRECISION.
        device: its type.
        bf16: whether it can compute in bf16, see `computes_bf16`.
    """
    if precision == "fp32" and device == "cuda":
        return [
            "matrix products in full fp32, as the configuration says: --precision tf32 or bf16 is "
            "several times as fast on GPUs from Ampere on (advice, not applied)"
        ]
    if precision == "tf32" and device != "cuda":
        return [f"tf32 is for CUDA devices: {device} computes in fp32"]
    if precision == "bf16" and not bf16:
        return [
            "this CPU has no instructions for bf16 and emulates it: --precision fp32 is many times "
            "as fast here (advice, not applied)"
        ]
    return []


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
