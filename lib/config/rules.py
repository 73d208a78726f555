"""Rules that involve more than one configuration key.

Each rule yields the keys it looked at, so that the loader can name the line of the one a
person should change and can stay silent about a key that is already reported as wrong.
"""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from lib.config.schema import Config

_GEOMETRY_KEYS = tuple(
    f"MODEL.ENCODER.{key}" for key in ("WIDTH", "DEPTH", "HEADS", "PATCH_SIZE", "TYPE")
)


class Problem(NamedTuple):
    """A broken rule: the dotted `keys` it involves, the one to change first, and what is wrong."""

    keys: tuple[str, ...]
    message: str


def find_problems(cfg: "Config") -> list[Problem]:
    """All rules that `cfg` breaks, in the order of the sections; empty if it is sound."""
    return [problem for rule in _RULES for problem in rule(cfg)]


def _encoder(cfg: "Config") -> Iterator[Problem]:
    encoder = cfg.model.encoder
    missing = [
        key for key in ("width", "depth", "heads", "patch_size") if not getattr(encoder, key)
    ]
    if encoder.type == "custom" and missing:
        keys = ("MODEL.ENCODER.TYPE", *(f"MODEL.ENCODER.{key.upper()}" for key in missing))
        names = ", ".join(key.upper() for key in missing)
        yield Problem(keys, f"needs {names} of MODEL.ENCODER as well")
        return
    width, _, heads, _ = encoder.geometry
    if width % heads:
        message = f"the width {width} cannot be shared equally by {heads} heads"
        yield Problem(_GEOMETRY_KEYS, message)
    if encoder.pretrain_type == "default" and encoder.type != "vit_base_patch16":
        keys = ("MODEL.ENCODER.PRETRAIN_TYPE", "MODEL.ENCODER.TYPE")
        yield Problem(keys, "exists for TYPE vit_base_patch16 only; use mae or scratch")


def _decoder(cfg: "Config") -> Iterator[Problem]:
    heads = cfg.model.decoder.nheads
    if cfg.model.hidden_dim % heads:
        keys = ("MODEL.HIDDEN_DIM", "MODEL.DECODER.NHEADS")
        yield Problem(keys, f"must be divisible by MODEL.DECODER.NHEADS ({heads})")


def _crop_sizes(cfg: "Config") -> Iterator[Problem]:
    encoder = cfg.model.encoder
    if encoder.type == "custom" and not encoder.patch_size:
        return
    patch = encoder.geometry.patch_size
    sizes = {
        "DATA.SEARCH.SIZE": cfg.data.search.size,
        "DATA.TEMPLATE.SIZE": cfg.data.template.size,
        "TEST.SEARCH_SIZE": cfg.test.search_size,
        "TEST.TEMPLATE_SIZE": cfg.test.template_size,
    }
    for key, size in sizes.items():
        if size % patch:
            keys = (key, "MODEL.ENCODER.PATCH_SIZE", "MODEL.ENCODER.TYPE")
            yield Problem(keys, f"must be a multiple of the encoder's patch size ({patch})")


def _departures(cfg: "Config") -> Iterator[Problem]:
    encoder = cfg.model.encoder
    if encoder.stem == "conv":
        patch_known = encoder.type != "custom" or encoder.patch_size
        if patch_known and encoder.geometry.patch_size != 16:
            patch = ("MODEL.ENCODER.STEM", "MODEL.ENCODER.PATCH_SIZE", "MODEL.ENCODER.TYPE")
            yield Problem(patch, "conv needs MODEL.ENCODER.PATCH_SIZE 16")
    elif cfg.model.correlation:
        stem = ("MODEL.CORRELATION", "MODEL.ENCODER.STEM")
        yield Problem(stem, "needs MODEL.ENCODER.STEM conv, whose features it correlates")
    departures = {
        "MODEL.ENCODER.STEM": encoder.stem == "conv",
        "MODEL.ENCODER.TIED_QUERY_KEY": encoder.tied_query_key,
        "MODEL.ENCODER.GRID_POSITIONS": encoder.grid_positions,
        "MODEL.TEMPLATE_BOX": cfg.model.template_box,
    }
    on = [key for key, value in departures.items() if value]
    if on and encoder.pretrain_type != "scratch":
        message = f"must be scratch with {on[0]}: no pre-trained encoder was made with it"
        yield Problem(("MODEL.ENCODER.PRETRAIN_TYPE", on[0]), message)


def _grids(cfg: "Config") -> Iterator[Problem]:
    encoder, model = cfg.model.encoder, cfg.model
    if model.centre_hint and model.feature_type == "token":
        keys = ("MODEL.CENTRE_HINT", "MODEL.FEATURE_TYPE")
        yield Problem(keys, "needs FEATURE_TYPE x or xz: a mean token is nowhere")
    widths = {
        "MODEL.ENCODER.WIDTH": (encoder.grid_positions, encoder.width, "GRID_POSITIONS"),
        "MODEL.HIDDEN_DIM": (model.centre_hint, model.hidden_dim, "CENTRE_HINT"),
    }
    for key, (used, width, reason) in widths.items():
        if used and width and width % 4:
            yield Problem((key,), f"must be a multiple of 4 with {reason}: waves of x and of y")


def _freezing(cfg: "Config") -> Iterator[Problem]:
    if cfg.train.encoder_open and cfg.train.encoder_multiplier == 0:
        keys = ("TRAIN.ENCODER_OPEN", "TRAIN.ENCODER_MULTIPLIER")
        message = (
            "would train at learning rate 0, since TRAIN.ENCODER_MULTIPLIER is 0; freeze the rest "
            "with TRAIN.FREEZE_ENCODER instead"
        )
        yield Problem(keys, message)


def _training_sets(cfg: "Config") -> Iterator[Problem]:
    for part, sets in (("TRAIN", cfg.data.train), ("VAL", cfg.data.val)):
        names, ratios = sets.datasets_name, sets.datasets_ratio
        keys = (f"DATA.{part}.DATASETS_RATIO", f"DATA.{part}.DATASETS_NAME")
        if len(names) != len(ratios):
            counts = f"{len(ratios)} ratio(s) for {len(names)} data set(s) in DATASETS_NAME"
            yield Problem(keys, f"{counts}; give one ratio for each")
        elif names and not any(ratios):
            yield Problem(keys[:1], "at least one ratio must be above 0")


_RULES: tuple[Callable[["Config"], Iterator[Problem]], ...] = (
    _encoder,
    _decoder,
    _crop_sizes,
    _departures,
    _grids,
    _freezing,
    _training_sets,
)
