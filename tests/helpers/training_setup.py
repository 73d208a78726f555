"""What tests of training need: a tiny objective and batches for it."""

from types import SimpleNamespace

import torch

from lib.config.schema import Config
from lib.models.seqtrack import build_seqtrack
from lib.train.losses.objective import Objective
from tests.helpers.tiny import tiny_config


def make_objective(cfg: Config, seed: int = 0) -> Objective:
    """A new objective; equal seeds give equal weights. Dropout is as the configuration says."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Objective(build_seqtrack(cfg), cfg)


def training_config(train: dict | None = None, **model: object) -> Config:
    """`tiny_config` with keys of TRAIN and MODEL, and without dropout unless told otherwise."""
    decoder = {"DROPOUT": 0.0, **model.pop("DECODER", {})}
    content = tiny_config(MODEL={**model, "DECODER": decoder}).model_dump(by_alias=True)
    content["TRAIN"] |= train or {}
    return Config.model_validate(content)


def make_batch(cfg: Config, size: int = 4, seed: int = 0) -> SimpleNamespace:
    """Noise with a bright square where the box is, as tensors on the CPU."""
    generator = torch.Generator().manual_seed(seed)
    side, small = cfg.data.search.size, cfg.data.template.size
    shape = (size, cfg.data.template.number, small, small, 3)
    templates = torch.randint(0, 80, shape, dtype=torch.uint8, generator=generator)
    templates[:, :, small // 4 : -small // 4, small // 4 : -small // 4] = 220
    search = torch.randint(0, 80, (size, side, side, 3), dtype=torch.uint8, generator=generator)
    boxes = torch.rand(size, 4, generator=generator) * 0.4 + 0.15
    for image, (x, y, w, h) in zip(search, (boxes * side).int().tolist(), strict=True):
        image[y : y + h, x : x + w] = 220
    template_boxes = torch.tensor([0.25, 0.25, 0.5, 0.5]).expand(*shape[:2], 4).contiguous()
    history = boxes[:, None].repeat(1, cfg.model.history, 1)
    return SimpleNamespace(
        templates=templates,
        search=search,
        template_boxes=template_boxes,
        boxes=boxes,
        history=history,
    )


def losses(objective: Objective, batch: SimpleNamespace, progress: float = 0.0) -> dict:
    """`Objective.forward` of a batch."""
    return objective(batch, progress)
