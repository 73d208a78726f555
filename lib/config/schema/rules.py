"""Rules that involve more than one configuration key.

Each rule yields the keys it looked at, so that the loader can name the line of the one a
person should change and can stay silent about a key that is already reported as wrong.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

from lib.config.schema.fields import Section
from lib.config.schema.model import Model, Tracking
from lib.config.schema.training import Data, Training


class Sections(Section):
    """All sections, before the rules below hold."""

    model: Model = Model()
    """The network."""
    train: Training = Training()
    """Optimisation."""
    data: Data = Data()
    """Training samples."""
    test: Tracking = Tracking()
    """Tracking."""


_GEOMETRY_KEYS = tuple(
    f"MODEL.ENCODER.{key}" for key in ("WIDTH", "DEPTH", "HEADS", "PATCH_SIZE", "TYPE")
)


class Problem(NamedTuple):
    """A broken rule: the dotted `keys` it involves, the one to change first, and what is wrong."""

    keys: tuple[str, ...]
    message: str


def find_problems(cfg: Sections) -> list[Problem]:
    """All rules that `cfg` breaks, in the order of the sections; empty if it is sound."""
    return [problem for rule in _RULES for problem in rule(cfg)]


def training_problems(cfg: Sections) -> list[Problem]:
    """What must not be trained, because no tracker could use it: crops of two sizes."""
    return [
        Problem(
            keys,
            f"must be {trained}, the {keys[1]} that the network is trained with; leave it out "
            "to follow that, or give both the same value",
        )
        for keys, tracked, trained in _crops(cfg)
        if keys[0].endswith("_SIZE") and tracked != trained
    ]


def factor_warnings(cfg: Sections) -> list[Problem]:
    """Crops that the tracker cuts larger or smaller than those the network is trained with."""
    return [
        Problem(keys, f"is not {keys[1]} ({trained:g}), which the network is trained with")
        for keys, tracked, trained in _crops(cfg)
        if keys[0].endswith("_FACTOR") and tracked != trained
    ]


def _crops(cfg: Sections) -> Iterator[tuple[tuple[str, str], float, float]]:
    """TEST's four keys about crops, each with that of DATA, and both values."""
    for part, trained in (("SEARCH", cfg.data.search), ("TEMPLATE", cfg.data.template)):
        for what in ("SIZE", "FACTOR"):
            keys = (f"TEST.{part}_{what}", f"DATA.{part}.{what}")
            tracked = getattr(cfg.test, f"{part}_{what}".lower())
            yield keys, tracked, getattr(trained, what.lower())


def _encoder(cfg: Sections) -> Iterator[Problem]:
    encoder = cfg.model.encoder
    missing = [
        key for key in ("width", "depth", "heads", "patch_size") if not getattr(encoder, key)
    ]
    if encoder.type == "custom" and missing:
        keys = ("MODEL.ENCODER.TYPE", *(f"MODEL.ENCODER.{key.upper()}" for key in missing))
        names = ", ".join(key.upper() for key in missing)
        yield Problem(keys, f"needs {names} of MODEL.ENCODER as well")
        return
    width, heads = encoder.width, encoder.heads
    if not encoder.family:
        width, _, heads, _ = encoder.geometry
    if width and heads and width % heads:
        message = f"the width {width} cannot be shared equally by {heads} heads"
        yield Problem(_GEOMETRY_KEYS, message)
    if encoder.family:
        return
    if encoder.pretrain_type == "default" and encoder.type != "vit_base_patch16":
        keys = ("MODEL.ENCODER.PRETRAIN_TYPE", "MODEL.ENCODER.TYPE")
        yield Problem(keys, "exists for TYPE vit_base_patch16 only; use mae or scratch")


def _encoder_family(cfg: Sections) -> Iterator[Problem]:
    encoder, kind = cfg.model.encoder, "MODEL.ENCODER.TYPE"
    if not encoder.family:
        return
    if encoder.patch is None:
        yield Problem(("MODEL.ENCODER.PATCH_SIZE", kind), "must be given: TYPE does not tell it")
    if encoder.pretrain_type == "mae":
        message = f"has nothing for {encoder.type}; use default ({encoder.family}'s) or scratch"
        yield Problem(("MODEL.ENCODER.PRETRAIN_TYPE", kind), message)
    for key in (key for key, on in _encoder_changes(cfg).items() if on):
        # Where the target is can be told to any encoder.
        if key != "MODEL.TEMPLATE_BOX":
            yield Problem((key, kind), f"cannot be had with {encoder.type}; leave it out")


def _causal_templates(cfg: Sections) -> Iterator[Problem]:
    if cfg.model.encoder.causal_templates and cfg.model.feature_type != "x":
        keys = ("MODEL.FEATURE_TYPE", "MODEL.ENCODER.CAUSAL_TEMPLATES")
        yield Problem(keys, "must be x with CAUSAL_TEMPLATES: nothing else leaves the encoder")


def _encoder_changes(cfg: Sections) -> dict[str, bool]:
    """Which keys change the encoder of this repository from what was pre-trained."""
    return {
        "MODEL.ENCODER.STEM": cfg.model.encoder.stem != "patch",
        "MODEL.ENCODER.TIED_QUERY_KEY": cfg.model.encoder.tied_query_key,
        "MODEL.ENCODER.GRID_POSITIONS": cfg.model.encoder.grid_positions,
        "MODEL.TEMPLATE_BOX": cfg.model.template_box,
    }


def _decoder(cfg: Sections) -> Iterator[Problem]:
    heads = cfg.model.decoder.nheads
    if cfg.model.hidden_dim % heads:
        keys = ("MODEL.HIDDEN_DIM", "MODEL.DECODER.NHEADS")
        yield Problem(keys, f"must be divisible by MODEL.DECODER.NHEADS ({heads})")


def _crop_sizes(cfg: Sections) -> Iterator[Problem]:
    patch = cfg.model.encoder.patch
    if patch is None:
        return
    search, template, test = cfg.data.search.size, cfg.data.template.size, cfg.test
    sizes = {
        "DATA.SEARCH.SIZE": (search, True),
        "DATA.TEMPLATE.SIZE": (template, True),
        # One that is left out follows, and is as wrong.
        "TEST.SEARCH_SIZE": (test.search_size, test.search_size != search),
        "TEST.TEMPLATE_SIZE": (test.template_size, test.template_size != template),
    }
    for key, (size, counts) in sizes.items():
        if counts and size % patch:
            keys = (key, "MODEL.ENCODER.PATCH_SIZE", "MODEL.ENCODER.TYPE")
            yield Problem(keys, f"must be a multiple of the encoder's patch size ({patch})")


def _extensions(cfg: Sections) -> Iterator[Problem]:
    encoder = cfg.model.encoder
    if encoder.stem != "patch":
        if encoder.patch not in (None, 16):
            patch = ("MODEL.ENCODER.STEM", "MODEL.ENCODER.PATCH_SIZE", "MODEL.ENCODER.TYPE")
            yield Problem(patch, f"{encoder.stem} needs MODEL.ENCODER.PATCH_SIZE 16")
    elif cfg.model.correlation:
        stem = ("MODEL.CORRELATION", "MODEL.ENCODER.STEM")
        yield Problem(stem, "needs MODEL.ENCODER.STEM conv or lite, whose features it correlates")
    on = [key for key, value in _encoder_changes(cfg).items() if value]
    if encoder.pretrain_type == "lite":
        if encoder.stem != "lite":
            keys = ("MODEL.ENCODER.PRETRAIN_TYPE", "MODEL.ENCODER.STEM")
            yield Problem(keys, "lite needs MODEL.ENCODER.STEM lite: its weights are of that stem")
    elif on and encoder.pretrain_type != "scratch" and not encoder.family:
        message = f"must be scratch with {on[0]}: no pre-trained encoder was made with it"
        yield Problem(("MODEL.ENCODER.PRETRAIN_TYPE", on[0]), message)


def _grids(cfg: Sections) -> Iterator[Problem]:
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


def _freezing(cfg: Sections) -> Iterator[Problem]:
    if cfg.train.encoder_open and cfg.train.encoder_multiplier == 0:
        keys = ("TRAIN.ENCODER_OPEN", "TRAIN.ENCODER_MULTIPLIER")
        message = (
            "would train at learning rate 0, since TRAIN.ENCODER_MULTIPLIER is 0; freeze the rest "
            "with TRAIN.FREEZE_ENCODER instead"
        )
        yield Problem(keys, message)
    train = cfg.train
    if train.lora_rank and train.encoder_multiplier == 0:
        keys = ("TRAIN.LORA_RANK", "TRAIN.ENCODER_MULTIPLIER")
        message = "would train the encoder at learning rate 0; freeze it with TRAIN.FREEZE_ENCODER"
        yield Problem(keys, message)
    encoder_rests = train.freeze_encoder and not train.encoder_open
    if train.freeze_decoder and encoder_rests and not train.lora_rank:
        frozen = ("TRAIN.FREEZE_DECODER", "TRAIN.FREEZE_ENCODER", "TRAIN.LORA_RANK")
        yield Problem(frozen, "leaves nothing to train; set TRAIN.LORA_RANK, or free a part")
    if train.early_stop and not (cfg.data.val.datasets_name or cfg.data.val.sequences_name):
        keys = ("TRAIN.EARLY_STOP", "DATA.VAL.DATASETS_NAME")
        yield Problem(keys, "needs something to validate on: name it in DATA.VAL")


def _teacher(cfg: Sections) -> Iterator[Problem]:
    teacher = cfg.train.teacher
    if teacher.checkpoint and not teacher.config:
        keys = ("TRAIN.TEACHER.CONFIG", "TRAIN.TEACHER.CHECKPOINT")
        yield Problem(keys, "must name the configuration that TRAIN.TEACHER.CHECKPOINT belongs to")
    if teacher.config and not (teacher.token_weight or teacher.feature_weight):
        keys = ("TRAIN.TEACHER.TOKEN_WEIGHT", "TRAIN.TEACHER.FEATURE_WEIGHT")
        yield Problem(
            keys, "or TRAIN.TEACHER.FEATURE_WEIGHT must be above 0: else nothing is taught"
        )


def _training_sets(cfg: Sections) -> Iterator[Problem]:
    for part, sets in (("TRAIN", cfg.data.train), ("VAL", cfg.data.val)):
        names, ratios = sets.datasets_name, sets.datasets_ratio
        keys = (f"DATA.{part}.DATASETS_RATIO", f"DATA.{part}.DATASETS_NAME")
        if len(names) != len(ratios):
            counts = f"{len(ratios)} ratio(s) for {len(names)} data set(s) in DATASETS_NAME"
            yield Problem(keys, f"{counts}; give one ratio for each")
        elif names and not any(ratios):
            yield Problem(keys[:1], "at least one ratio must be above 0")


_RULES: tuple[Callable[[Sections], Iterator[Problem]], ...] = (
    _encoder,
    _encoder_family,
    _causal_templates,
    _decoder,
    _crop_sizes,
    _extensions,
    _grids,
    _freezing,
    _teacher,
    _training_sets,
)
