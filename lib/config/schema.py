"""Every configuration key: its type, its default, its range, and what it does.

In YAML the keys are upper case, as SeqTrack's files have always spelled them; in Python the
same names are lower case: `TRAIN.BATCH_SIZE` is `cfg.train.batch_size`. Models are frozen and
strict: an unknown key, a word where a number belongs, or a whole number where true/false
belongs is an error. To add a key, add a field with a default and a docstring here; a rule that
involves several keys goes to `lib/config/rules.py`.

Defaults are those of the reference implementation; `experiments/` holds what differs.
"""

from collections.abc import Mapping
from typing import Annotated, Literal, NamedTuple

from pydantic import AfterValidator, Field, PrivateAttr, model_validator
from pydantic_core import PydanticCustomError

from lib.config.fields import (
    ColourMean,
    ColourSpread,
    Count,
    DatasetKey,
    FrozenMapping,
    ListOf,
    NotNegative,
    Plain,
    Positive,
    Section,
    Share,
    Text,
    over,
)
from lib.config.rules import find_problems


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


def _only_one(value: int) -> int:
    if value != 1:
        raise ValueError("must be 1: a sample has exactly one search region")
    return value


class Encoder(Section):
    """MODEL.ENCODER: the ViT that reads templates and search region together."""

    type: Literal["vit_base_patch16", "vit_large_patch16", "vit_huge_patch14", "custom"] = (
        "vit_base_patch16"
    )
    """Named geometry, or `custom` with WIDTH, DEPTH, HEADS and PATCH_SIZE given."""
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
    pretrain_type: Literal["mae", "default", "scratch"] = "mae"
    """Weights that training starts from: MAE's, timm's supervised ViT-B (`default`), or none."""
    stride: Annotated[Count, Field(json_schema_extra={"unused": "the patch size decides"})] = 16
    """Without effect; old files hold it."""
    use_checkpoint: bool = False
    """Recompute activations in the backward pass: less memory, slower training."""

    @property
    def geometry(self) -> Geometry:
        """Width, depth, heads and patch size after the overrides.

        Raises:
            ValueError: a custom encoder lacks one of them (a loaded configuration never does).
        """
        named = ENCODER_GEOMETRY.get(self.type)
        given = (self.width, self.depth, self.heads, self.patch_size)
        sizes = [own or (named[i] if named else 0) for i, own in enumerate(given)]
        if not all(sizes):
            raise ValueError("a custom encoder needs WIDTH, DEPTH, HEADS and PATCH_SIZE")
        return Geometry(*sizes)


class Decoder(Section):
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


class Model(Section):
    """MODEL: the network."""

    hidden_dim: Count = 256
    """Channels of the decoder."""
    bins: Annotated[int, Field(ge=2)] = 4000
    """Coordinate tokens; the vocabulary has two more, END and START."""
    feature_type: Literal["x", "xz", "token"] = "x"
    """What the decoder reads: search tokens, all tokens, or their mean."""
    encoder: Encoder = Encoder()
    """The image encoder."""
    decoder: Decoder = Decoder()
    """The token decoder."""


class Scheduler(Section):
    """TRAIN.SCHEDULER: how the learning rate falls."""

    type: Literal["step"] = "step"
    """`step`: times DECAY_RATE after every LR_DROP_EPOCH epochs."""
    decay_rate: Annotated[float, Field(gt=0, le=1)] = 0.1
    """Factor of one drop."""


class Training(Section):
    """TRAIN: optimisation."""

    lr: Positive = 1e-4
    """Learning rate; the encoder's is times ENCODER_MULTIPLIER."""
    weight_decay: NotNegative = 1e-4
    """AdamW weight decay of all parameters."""
    epoch: Count = 500
    """Number of epochs."""
    lr_drop_epoch: Count = 400
    """Epochs until the learning rate drops."""
    batch_size: Count = 8
    """Samples per process (per GPU) and step."""
    num_worker: Annotated[int, Field(ge=0)] = 8
    """Data-loading processes per training process; 0 loads in the training process."""
    optimizer: Literal["ADAMW"] = "ADAMW"
    """The optimizer."""
    encoder_multiplier: NotNegative = 0.1
    """Share of LR that the encoder gets; 0 freezes it."""
    freeze_encoder: bool = False
    """Train the decoder only, but for what ENCODER_OPEN names."""
    encoder_open: Annotated[tuple[Text, ...], ListOf] = ()
    """Parameters of a frozen encoder that train: items 0 and 1 exact names, others substrings."""
    ce_weight: NotNegative = 1.0
    """Weight of the token cross-entropy."""
    print_interval: Count = 50
    """Steps between two lines of the log."""
    grad_clip_norm: NotNegative = 0.1
    """Largest norm of all gradients together; 0 leaves them alone."""
    scheduler: Scheduler = Scheduler()
    """The learning-rate schedule."""


class TrainingSets(Section):
    """DATA.TRAIN: what samples are drawn from."""

    datasets_name: Annotated[tuple[Text, ...], ListOf, Field(min_length=1)] = (
        "LASOT",
        "GOT10K_vottrain",
    )
    """Training data sets."""
    datasets_ratio: Annotated[tuple[NotNegative, ...], ListOf, Field(min_length=1)] = (1.0, 1.0)
    """How often each is drawn from, relative to the others."""
    sample_per_epoch: Count = 60000
    """Samples of one epoch, over all processes."""


class CropSampling(Section):
    """What the search region and the templates of a training sample have in common."""

    size: Count = 256
    """Side of the crop in pixels."""
    factor: Positive = 4.0
    """Side of the crop before resizing, in units of sqrt(box area)."""


class SearchSampling(CropSampling):
    """DATA.SEARCH: the search region of a training sample, and the network's search size."""

    number: Annotated[int, AfterValidator(_only_one)] = 1
    """Search regions per sample: 1."""
    center_jitter: NotNegative = 3.5
    """Range of the random centre shift, in units of sqrt(box area)."""
    scale_jitter: NotNegative = 0.5
    """Standard deviation of the random log scale."""


class TemplateSampling(CropSampling):
    """DATA.TEMPLATE: the templates of a training sample, and the network's template size."""

    number: Count = 1
    """Templates per sample."""
    center_jitter: NotNegative = 0.0
    """Range of the random centre shift, in units of sqrt(box area)."""
    scale_jitter: NotNegative = 0.0
    """Standard deviation of the random log scale."""


class Data(Section):
    """DATA: training samples."""

    mean: Annotated[tuple[ColourMean, ColourMean, ColourMean], ListOf] = (0.485, 0.456, 0.406)
    """Mean of the channels R, G, B, for images in [0, 1]."""
    std: Annotated[tuple[ColourSpread, ColourSpread, ColourSpread], ListOf] = (0.229, 0.224, 0.225)
    """Standard deviation of the channels R, G, B."""
    max_sample_interval: Count = 200
    """Largest distance in frames between the frames of a sample and its base frame."""
    sampler_mode: Literal["order", "causal"] = "order"
    """`order`: frames around a base frame, sorted either way; `causal`: templates come first."""
    loader: Literal["tracking"] = "tracking"
    """The kind of samples."""
    seq_format: Literal["xywh", "whxy", "corner"] = "xywh"
    """Order of the four tokens; `xywh` and `whxy` mean the centre, `corner` x1, y1, x2, y2."""
    train: TrainingSets = TrainingSets()
    """The training data sets."""
    search: SearchSampling = SearchSampling()
    """The search region."""
    template: TemplateSampling = TemplateSampling()
    """The templates."""


class Tracking(Section):
    """TEST: tracking."""

    template_factor: Positive = 4.0
    """Side of a template before resizing, in units of sqrt(box area)."""
    template_size: Count = 256
    """Side of a template in pixels."""
    search_factor: Positive = 4.0
    """Side of the search region before resizing, in units of sqrt(box area)."""
    search_size: Count = 256
    """Side of the search region in pixels."""
    epoch: Annotated[
        Count,
        Field(json_schema_extra={"unused": "the newest checkpoint is taken; see --checkpoint"}),
    ] = 500
    """Without effect; old files name the checkpoint's epoch with it."""
    window: bool = False
    """Multiply the centre tokens' probabilities by a Hann window."""
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


class Config(Section):
    """A whole configuration. Two with the same values and the same name are equal."""

    model: Model = Model()
    """The network."""
    train: Training = Training()
    """Optimisation."""
    data: Data = Data()
    """Training samples."""
    test: Tracking = Tracking()
    """Tracking."""
    _name: str = PrivateAttr("")

    @property
    def name(self) -> str:
        """Stem of the file it was loaded from: it names checkpoints, results and logs."""
        return self._name

    def named(self, name: str) -> "Config":
        """The same configuration under another name."""
        copy = self.model_copy()
        copy._name = name
        return copy

    @model_validator(mode="after")
    def _rules(self) -> "Config":
        problems = find_problems(self)
        if problems:
            text = "\n".join(f"{problem.keys[0]}: {problem.message}" for problem in problems)
            raise PydanticCustomError("rules", "{text}", {"text": text, "problems": problems})
        return self
