"""The sections MODEL and TEST: the network, and how it tracks.

Defaults are those of the reference implementation; `experiments/` holds what differs.
"""

import re
from collections.abc import Mapping
from typing import Annotated, Literal, NamedTuple

from pydantic import AfterValidator, Field, NonNegativeInt, PositiveFloat
from pydantic_core import PydanticCustomError

from lib.config.schema.fields import (
    Count,
    DatasetKey,
    Fraction,
    FrozenMapping,
    Plain,
    Section,
    Share,
    over,
)


class Geometry(NamedTuple):
    """The shape of a ViT encoder: channels, blocks, attention heads, patch side in pixels."""

    width: int
    depth: int
    heads: int
    patch_size: int


ENCODER_GEOMETRY = FrozenMapping(
    {
        "vit_base_patch16": Geometry(768, 12, 12, 16),
        "vit_large_patch16": Geometry(1024, 24, 16, 16),
        "vit_huge_patch14": Geometry(1280, 32, 16, 14),
    }
)
"""Width, depth, heads and patch size behind each named encoder type."""

ENCODER_FAMILIES = FrozenMapping({"timm": "lib.models.timm_encoder"})
"""What a TYPE `FAMILY/NAME` begins with, and the module whose `build_encoder(cfg)` makes it and
whose `pretrained_url(name)` says where its weights are published (see CONTRIBUTING.md)."""

# The eight configurations whose weights are published.
PUBLISHED_CONFIGS = tuple(
    f"seqtrack_{size}{suffix}"
    for size in ("b256", "b384", "l256", "l384")
    for suffix in ("", "_got")
)
DEFAULT_UPDATE_INTERVALS = FrozenMapping(
    {
        "DEFAULT": 9999,
        "LASOT": 450,
        "LASOT_EXTENSION_SUBSET": 9999,
        "GOT10K_TEST": 1,
        "TRACKINGNET": 25,
        "TNL2K": 25,
        "OTB": 9999,
        "NFS": 9999,
        "UAV": 9999,
        "VOT20": 10,
        "VOT21": 10,
        "VOT22": 10,
    }
)
DEFAULT_UPDATE_THRESHOLD = FrozenMapping(
    {"DEFAULT": 0.6, "VOT20": 0.475, "VOT21": 0.475, "VOT22": 0.475}
)


def _encoder_type(value: str) -> str:
    family, slash, name = value.partition("/")
    if (family in ENCODER_FAMILIES and name) if slash else value in (*ENCODER_GEOMETRY, "custom"):
        return value
    known = (*ENCODER_GEOMETRY, "custom", *(f"{family}/NAME" for family in ENCODER_FAMILIES))
    raise PydanticCustomError("literal_error", "{expected}", {"expected": f"{known}"})


class EncoderConfig(Section):
    """MODEL.ENCODER: the ViT that reads templates and search region together."""

    type: Annotated[str, AfterValidator(_encoder_type)] = "vit_base_patch16"
    """Named geometry, `custom` with WIDTH, DEPTH, HEADS and PATCH_SIZE given, or `timm/NAME`: a
    plain ViT of timm by its name there, such as `timm/vit_small_patch14_reg4_dinov2`."""
    width: Count | None = None
    """Channels of a token; overrides TYPE's."""
    depth: Count | None = None
    """Number of transformer blocks; overrides TYPE's."""
    heads: Count | None = None
    """Attention heads of a block; overrides TYPE's."""
    patch_size: Count | None = None
    """Side of a patch in pixels; overrides TYPE's."""
    drop_path: Share = 0.0
    """Stochastic depth rate of the last block; it grows linearly from 0 at the first."""
    pretrain_type: Literal["mae", "default", "lite", "scratch"] = "mae"
    """Weights that training starts from: MAE's, timm's (`default`: its supervised ViT-B, or those
    of `timm/NAME`), those of EfficientNet-Lite0 for STEM lite, or none."""
    stride: Annotated[Count, Field(json_schema_extra={"unused": "the patch size decides"})] = 16
    """Without effect; old files hold it."""
    use_checkpoint: bool = False
    """Recompute activations in the backward pass: less memory, slower training."""
    stem: Literal["patch", "conv", "lite"] = "patch"
    """What makes tokens of pixels: one convolution over whole patches, a few small ones (Xiao et
    al., Early convolutions help transformers see better, 2021), or the first stages of
    EfficientNet-Lite0 (2019); the last two need PATCH_SIZE 16."""
    tied_query_key: bool = False
    """Start training with equal query and key weights in every block: from scratch, tokens that
    look alike then attend to each other at once (Trockman and Kolter, Mimetic initialization,
    2023). The weights are free to part afterwards."""
    grid_positions: bool = False
    """Start training with positions as large as the tokens, sinusoids of x and y, as MAE's weights
    have them (He et al., CVPR 2022), instead of small noise."""

    # See docs/modern.md.
    type_embedding: bool = False
    """Add a learnt vector to all tokens of the search region and another to those of templates
    (token type embedding of LoRAT, Lin et al., ECCV 2024)."""
    causal_templates: bool = False
    """Templates attend to themselves only, the search region to all: a template is computed once,
    when it is taken, and its keys and values are kept (frame-wise causal attention of LoRATv2,
    NeurIPS 2025; asymmetric attention of MixFormer, Cui et al., CVPR 2022)."""

    @property
    def family(self) -> str | None:
        """`timm` of `timm/NAME`; None for this repository's own encoder."""
        return self.type.partition("/")[0] if "/" in self.type else None

    @property
    def patch(self) -> int | None:
        """Side of a patch in pixels: PATCH_SIZE, else as TYPE's name says; None: nobody says."""
        named = re.search(r"patch(\d+)", self.type)
        return self.patch_size or (int(named[1]) if named else None)

    @property
    def geometry(self) -> Geometry:
        """Width, depth, heads and patch size of our own encoder after the overrides.

        Raises:
            ValueError: a custom encoder lacks one of them (a loaded configuration never does), or
                the encoder is of a family, which alone knows.
        """
        named = ENCODER_GEOMETRY.get(self.type)
        given = (self.width, self.depth, self.heads, self.patch_size)
        sizes = [own or (named[i] if named else 0) for i, own in enumerate(given)]
        if not all(sizes) or self.family:
            raise ValueError("a custom encoder needs WIDTH, DEPTH, HEADS and PATCH_SIZE")
        return Geometry(*sizes)


class DecoderConfig(Section):
    """MODEL.DECODER: the causal transformer that writes the box as tokens."""

    nheads: Count = 8
    """Attention heads; HIDDEN_DIM is divisible by it."""
    dropout: Share = 0.1
    """Dropout rate while training."""
    dim_feedforward: Count = 1024
    """Channels inside the feed-forward part of a layer."""
    dec_layers: Count = 6
    """Number of layers (the released models have 2)."""
    pre_norm: bool = False
    """Normalise before attention and feed-forward instead of after."""
    ordered_words: bool = False
    """Start training with words that are alike for neighbouring coordinates instead of random
    ones. Off in SeqTrack; see docs/tiny.md."""


class Model(Section):
    """MODEL: the network."""

    hidden_dim: Count = 256
    """Channels of the decoder."""
    bins: Annotated[int, Field(ge=2)] = 4000
    """Coordinate tokens; the vocabulary has two more, END and START."""
    feature_type: Literal["x", "xz", "token"] = "x"
    """What the decoder reads: search tokens, all tokens, or their mean."""
    template_box: bool = False
    """Tell the network where in the template the target is: its shape cannot be seen in a
    square crop. Off in SeqTrack; see docs/tiny.md. With `timm/NAME` it starts at 0 (the embedding
    of the target's tokens of LoRAT, 2024, and SUTrack, Chen et al., AAAI 2025)."""
    correlation: bool = False
    """Add to every search token how it correlates with the template (SiamFC, 2016; needs STEM
    conv). Off in SeqTrack; see docs/tiny.md."""
    centre_hint: bool = False
    """Tell the decoder with START where the encoder thinks the centre is (soft arg-max, Sun et
    al., 2018). Off in SeqTrack; see docs/tiny.md."""
    history: NonNegativeInt = 0
    """Boxes of the last N frames whose tokens, in the search crop of this frame, the decoder reads
    before START (Autoregressive visual tracking, Wei et al., CVPR 2023). Off in SeqTrack."""
    encoder: EncoderConfig = EncoderConfig()
    """The image encoder."""
    decoder: DecoderConfig = DecoderConfig()
    """The token decoder."""


class LostTarget(Section):
    """TEST.LOST: the state tracked, uncertain or lost, and how a target in doubt is looked for. The
    certainties are those of the network's calibration; see docs/lost.md."""

    active: bool = False
    """Tell the state of a target, and look for one that is in doubt. Off in SeqTrack."""
    rate: Annotated[float, Field(gt=0, le=1)] = 0.3
    """How fast the level follows the certainty: its share of the newest frame."""
    unsure: Fraction = 0.35
    """Level below which a tracked target is uncertain, and from which a lost one is so again."""
    sure: Fraction = 0.5
    """Level from which an uncertain target is tracked again."""
    below: Fraction = 0.2
    """Level below which a target is lost."""
    looks: Count = 4
    """Further search regions of a frame in doubt: about the last sure box, then farther and farther
    around, until all of the picture was seen; then again."""
    watch: Count = 60
    """Frames after the last uncertain one that still count as in doubt."""
    confirm: Count = 3
    """Frames in a row that have to speak for the same place elsewhere."""
    margin: Annotated[float, Field(ge=0)] = 0.5
    """By how much more has to speak for it than for the box that is followed, in log odds."""
    slack: Annotated[float, Field(ge=0)] = 0.5
    """By how much less may speak for it than usually does for the target, in log odds."""


class Tracking(Section):
    """TEST: tracking."""

    template_factor: PositiveFloat = 4.0
    """Side of a template before resizing, in units of sqrt(box area). Left out: as in DATA."""
    template_size: Count = 256
    """Side of a template in pixels; the network has one for training and tracking. Left out: as
    in DATA."""
    search_factor: PositiveFloat = 4.0
    """Side of the search region before resizing, in units of sqrt(box area). Left out: as in
    DATA."""
    search_size: Count = 256
    """Side of the search region in pixels; the network has one for training and tracking. Left
    out: as in DATA."""
    epoch: Annotated[
        Count,
        Field(json_schema_extra={"unused": "the newest checkpoint is taken; see --checkpoint"}),
    ] = 500
    """Without effect; old files name the checkpoint's epoch with it."""
    window: bool = False
    """Multiply the centre tokens' probabilities by a Hann window."""
    decoding: Literal["argmax", "expectation"] = "argmax"
    """A coordinate is the likeliest bin, or the mean of the bins around it by probability."""
    size_prior: Fraction = 0.0
    """Share of the log size by which every answer is pulled toward the first box."""
    hold_below: Fraction = 0.0
    """A box stays where it was while the confidence is below this share of the usual one (a
    running mean over the frames that are not held); 0: never."""
    min_size: Count = 10
    """Pixels that a box keeps each way, and of it inside the picture; the published rule is 10. A
    target that is smaller needs a smaller number."""
    lost: LostTarget = LostTarget()
    """Targets that are gone."""
    update_rule: Literal["interval", "gated"] = "interval"
    """`interval`: as published. `gated`: a template is written at the interval only when the
    network is sure, the size is plausible, tracking back to the frame before returns to the old
    box, and the place is none that was rejected as a look-alike (after the memories gated by
    certainty of SAMURAI and DAM4SAM, 2024). With DATA.TEMPLATE.NUMBER 1 the newest template is
    asked only where the first one leaves doubt, and the surer answer counts."""
    num_templates: Count = 1
    """Templates in use; with more than 1, all but the first are replaced now and then."""
    update_intervals: Annotated[
        Mapping[DatasetKey, Count],
        over(DEFAULT_UPDATE_INTERVALS),
        AfterValidator(FrozenMapping),
        Plain,
    ] = DEFAULT_UPDATE_INTERVALS
    """Frames between two template updates, by data set in capitals, merged over the defaults.

    9999 means practically never.
    """
    update_threshold: Annotated[
        Mapping[DatasetKey, float],
        over(DEFAULT_UPDATE_THRESHOLD),
        AfterValidator(FrozenMapping),
        Plain,
    ] = DEFAULT_UPDATE_THRESHOLD
    """Score above which a template is replaced, by data set in capitals, over the defaults.

    The score is 0..40, ten times the sum of four probabilities, so the released 0.6 hardly ever
    holds an update back.
    """

    def update_interval_for(self, key: str) -> int:
        """Frames between two template updates for data set `key` (`LASOT`), else DEFAULT's."""
        return self.update_intervals.get(key, self.update_intervals["DEFAULT"])

    def update_threshold_for(self, key: str) -> float:
        """Score that a template update needs for data set `key`, else DEFAULT's."""
        return self.update_threshold.get(key, self.update_threshold["DEFAULT"])
