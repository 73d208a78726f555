"""Weights of the mask network, as the original trainer wrote them but with few numbers in them."""

import json
from pathlib import Path

import torch

from tests.helpers.checkpoint_files import foreign_classes, write

KIT = Path(__file__).parents[1] / "kits" / "alpha_refine"
NAME = "ARnet_seg_mask_ep0040.pth.tar"
TREE = "external/AR/ltr/checkpoints/ltr/ARcm_seg/ARcm_coco_seg_only_mask_384"


def mask_state(value: float = 0.0) -> dict[str, torch.Tensor]:
    """All keys in their shapes, each tensor one number repeated."""
    keys = json.loads((KIT / "state_dict_keys.json").read_text(encoding="utf-8"))
    return {
        key: torch.tensor(value).to(getattr(torch, kind)).expand(shape)
        for key, (shape, kind) in keys.items()
    }


def write_mask_weights(
    path: Path, state: dict[str, torch.Tensor] | None = None, as_zip: bool = False
) -> Path:
    """A file with the fields of the released one, foreign classes and all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    names = ("ltr.admin.model_constructor.NetConstructor", "dlframework.admin.stats.AverageMeter")
    with foreign_classes(*names) as (constructor, meter):
        made = constructor()
        made.fun_name, made.fun_module = "ARnet_seg_mask_resnet50", "ltr.models.AR_seg_mask"
        made.args, made.kwds = (), {"used_layers": ["layer4"], "pool_size": 12}
        content = {
            "epoch": 40,
            "actor_type": "ARActor",
            "net_type": "ARnet_seg_mask",
            "net": mask_state() if state is None else state,
            "net_info": {},
            "constructor": made,
            "optimizer": {"state": {}, "param_groups": [{"lr": 1e-3}]},
            "stats": {"train": {"Loss/total": meter()}},
            "settings": None,
        }
        return write(path, content, as_zip)
