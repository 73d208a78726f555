"""Starting the encoder from weights that were pre-trained on images.

Only `fetch_pretrained` touches the network, and only training calls it; everything else finds a
file on disk, or its message says where to get it.
Source: MAE (CVPR 2022) for `mae`; timm's ViT-B/16 at 384 px, trained on ImageNet, for `default`;
timm's EfficientNet-Lite0 for `lite`.
"""

import hashlib
import os
import sys
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path

import torch
from torch import nn

from lib.config.schema.model import ENCODER_FAMILIES
from lib.models.positions import resample_positions
from lib.models.weights import state_differences
from lib.utils.checkpoint import read_state_dict
from lib.utils.download import DownloadError, discard, fetch
from lib.utils.errors import CheckpointError
from lib.utils.files import check_replaceable

CACHE_VARIABLE = "SEQTRACK_PRETRAINED"
_MAE = "https://dl.fbaipublicfiles.com/mae/pretrain/mae_pretrain_vit_{}.pth"
_TIMM = (
    "https://github.com/rwightman/pytorch-image-models/releases/download/v0.1-vitjx/"
    "jx_vit_base_p16_384-83fb41ba.pth"
)
_LITE = (
    "https://github.com/rwightman/pytorch-image-models/releases/download/v0.1-weights/"
    "tf_efficientnet_lite0-0aa007d2.pth"
)
# (MODEL.ENCODER.PRETRAIN_TYPE, MODEL.ENCODER.TYPE) -> where the file is published
URLS: Mapping[tuple[str, str], str] = {
    ("mae", "vit_base_patch16"): _MAE.format("base"),
    ("mae", "vit_large_patch16"): _MAE.format("large"),
    ("mae", "vit_huge_patch14"): _MAE.format("huge"),
    ("default", "vit_base_patch16"): _TIMM,
    ("lite", "custom"): _LITE,
}
# File name -> algorithm and first digits of the checksum that is published with the file: in
# MAE's README, in the name of timm's file.
CHECKSUMS: Mapping[str, tuple[str, str]] = {
    "mae_pretrain_vit_base.pth": ("md5", "8cad7c"),
    "mae_pretrain_vit_large.pth": ("md5", "b8b06e"),
    "mae_pretrain_vit_huge.pth": ("md5", "9bdbb0"),
    "jx_vit_base_p16_384-83fb41ba.pth": ("sha256", "83fb41ba"),
    "tf_efficientnet_lite0-0aa007d2.pth": ("sha256", "0aa007d2"),
}
_BLOCK = 1 << 20


def find_pretrained(
    pretrain_type: str,
    encoder_type: str,
    explicit: Path | str | None = None,
    cache_folder: Path | None = None,
) -> Path:
    """The file with the pre-trained encoder; never fetched.

    Args:
        pretrain_type: MODEL.ENCODER.PRETRAIN_TYPE, `mae` or `default`.
        encoder_type: MODEL.ENCODER.TYPE.
        explicit: the file, or the folder it is in, that the user named.
        cache_folder: where downloaded files are; by default the folder in the environment
            variable SEQTRACK_PRETRAINED, else torch.hub's.

    Raises:
        CheckpointError: there is no such file; the message says what to fetch and where to.
    """
    if explicit is not None and Path(explicit).is_file():
        return Path(explicit)
    url, name = _published(pretrain_type, encoder_type)
    folder = Path(explicit) if explicit is not None else cache_folder or default_cache_folder()
    path = folder / name
    if explicit is not None and not folder.is_dir():
        raise CheckpointError(f"pre-trained weights {explicit}: no such file; {url} is published")
    if not path.is_file():
        raise CheckpointError(
            f"pre-trained weights not found: fetch {url} to {path} (folder: {CACHE_VARIABLE}), "
            "or set MODEL.ENCODER.PRETRAIN_TYPE to scratch"
        )
    return path


def fetch_pretrained(
    pretrain_type: str, encoder_type: str, cache_folder: Path | None = None
) -> Path:
    """The file with the pre-trained encoder in the cache folder; fetched if it is not there.

    What is fetched is compared with the published checksum, where there is one, before it gets
    its name.

    Raises:
        CheckpointError: nothing is published for this encoder, or it cannot be fetched or is
            another file; the message says where to put one that comes in another way.
    """
    url, name = _published(pretrain_type, encoder_type)
    path = (cache_folder or default_cache_folder()) / name
    if path.is_file():
        return path
    check_replaceable(path)
    incoming = path.with_name(path.name + ".incoming")
    try:
        fetch(url, incoming, quiet=not sys.stderr.isatty())
        if name in CHECKSUMS:
            _check_sum(incoming, url)
        os.replace(incoming, path)
    except (DownloadError, OSError) as error:
        raise CheckpointError(
            f"pre-trained weights: {error}; put {url} at {path}, name a copy with --pretrained "
            "FILE, or set MODEL.ENCODER.PRETRAIN_TYPE to scratch"
        ) from None
    return path


def _published(pretrain_type: str, encoder_type: str) -> tuple[str, str]:
    """The address, and the name of the file here."""
    family, slash, name = encoder_type.partition("/")
    if slash:
        url = import_module(ENCODER_FAMILIES[family]).pretrained_url(name)
        local = f"{name}.safetensors"
    else:
        url = URLS.get((pretrain_type, encoder_type))
        local = _name(url) if url else ""
    if url is None:
        known = ", ".join(f"{kind} for {encoder}" for kind, encoder in URLS)
        raise CheckpointError(
            f"no pre-trained weights {pretrain_type!r} are published for encoder {encoder_type} "
            f"(there are: {known}); set MODEL.ENCODER.PRETRAIN_TYPE to scratch, or name a file"
        )
    return url, local


def _name(url: str) -> str:
    return url.rsplit("/", 1)[1]


def _check_sum(path: Path, url: str) -> None:
    algorithm, published = CHECKSUMS[_name(url)]
    digest = hashlib.new(algorithm, usedforsecurity=False)
    with open(path, "rb") as stream:
        while block := stream.read(_BLOCK):
            digest.update(block)
    found = digest.hexdigest()
    if not found.startswith(published):
        discard(path)
        raise DownloadError(
            f"what {url} gave has the {algorithm} {found[:12]}…, not {published}… as published"
        )


def default_cache_folder() -> Path:
    """The folder in SEQTRACK_PRETRAINED, else where torch.hub keeps its files."""
    folder = os.environ.get(CACHE_VARIABLE)
    return Path(folder) if folder else Path(torch.hub.get_dir()) / "checkpoints"


def load_pretrained_encoder(
    encoder: nn.Module, path: Path | str, search_side: int, template_side: int
) -> None:
    """Start `encoder` from a plain ViT that was trained on single images.

    The class token and the classification head are left out; the position table is resampled
    to the search and the template side; a type embedding, which no such ViT has, stays as it is.
    Everything else must be there, and nothing more.

    Args:
        encoder: module with parameters `pos_embed (1, L_x + L_z, C)`, `patch_embed.proj`,
            `blocks.*` and `norm`.
        path: file with the weights, bare or in field `model`.
        search_side: patches along a side of the search crop.
        template_side: patches along a side of a template crop.

    Raises:
        CheckpointError: the file cannot be read or is of another encoder.
    """
    state = {
        key: value
        for key, value in read_state_dict(path).items()
        if key != "cls_token" and not key.startswith("head.")
    }
    if "pos_embed" not in state or "patch_embed.proj.weight" not in state:
        raise CheckpointError(f"{path} is not a plain ViT encoder, which pre-training publishes")
    try:
        state["pos_embed"] = resample_positions(state["pos_embed"], search_side, template_side)
    except ValueError as error:
        raise CheckpointError(f"{path}: {error}") from None
    own = {key: value for key, value in encoder.state_dict().items() if key != "type_embed"}
    if differences := state_differences(own, state):
        raise CheckpointError(
            f"{path} does not fit the encoder: {'; '.join(differences)}; check MODEL.ENCODER.TYPE"
        )
    encoder.load_state_dict(state, strict=False)
