"""The sections TRAIN and DATA: optimisation, and what a training sample is made of.

Defaults are those of the reference implementation; what it did not have is off. The source of an
option is named with it.
"""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, NonNegativeFloat, NonNegativeInt, PositiveFloat

from lib.config.schema.fields import (
    ColourMean,
    ColourSpread,
    Count,
    Fraction,
    ListOf,
    Section,
    Share,
    Text,
)


def _only_one(value: int) -> int:
    if value != 1:
        raise ValueError("must be 1: a sample has exactly one search region")
    return value


class Scheduler(Section):
    """TRAIN.SCHEDULER: how the learning rate changes."""

    type: Literal["step", "cosine"] = "step"
    """`step`: times DECAY_RATE after every LR_DROP_EPOCH epochs. `cosine`: half a cosine from LR
    to LR * FINAL_SHARE over the whole training (Loshchilov and Hutter, SGDR, 2017)."""
    decay_rate: Annotated[float, Field(gt=0, le=1)] = 0.1
    """Factor of one drop of `step`."""
    warmup_steps: NonNegativeInt = 0
    """Optimizer steps of linear growth from 0 at the start (Goyal et al., 2017); 0: none."""
    final_share: Fraction = 0.0
    """Share of LR that `cosine` ends at."""


class Distillation(Section):
    """TRAIN.TEACHER: a trained network that a smaller one learns from (knowledge distillation,
    Hinton et al., 2015). It sees the same view, resized to its own crop sizes."""

    config: Text | None = None
    """Its configuration, by name or path; none: no teacher."""
    checkpoint: Text | None = None
    """File of its weights; left out: those that tracking with CONFIG would take."""
    token_weight: NonNegativeFloat = 1.0
    """Weight of the cross-entropy with its distributions of the four coordinate tokens."""
    temperature: PositiveFloat = 2.0
    """What both networks' logits are divided by before they are compared."""
    feature_weight: NonNegativeFloat = 0.0
    """Weight of the distance to its search features, which a layer that lives in training only
    maps the features of the smaller network to (FitNets, Romero et al., ICLR 2015)."""


class Training(Section):
    """TRAIN: optimisation."""

    lr: PositiveFloat = 1e-4
    """Learning rate; the encoder's is times ENCODER_MULTIPLIER."""
    weight_decay: NonNegativeFloat = 1e-4
    """AdamW weight decay of all parameters."""
    no_decay: bool = False
    """No weight decay for norms, biases and positions (common practice for transformers)."""
    layer_decay: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Learning rate of an encoder block as a share of that of the block after it; the last block
    has one share, the patch embedding the most (BEiT, Bao et al., ICLR 2022)."""
    stem_multiplier: PositiveFloat = 1.0
    """Learning rate of a pre-trained stem (MODEL.ENCODER.STEM lite) as a share of the encoder's."""
    betas: Annotated[tuple[Share, Share], ListOf] = (0.9, 0.999)
    """AdamW's decay of the mean and of the square of the gradient."""
    epoch: Count = 500
    """Number of epochs."""
    lr_drop_epoch: Count = 400
    """Epochs until the learning rate drops."""
    batch_size: Count = 8
    """Samples per process (per GPU) and forward pass."""
    accumulate: Count = 1
    """Forward passes per optimizer step; the effective batch is BATCH_SIZE * processes * this."""
    num_worker: NonNegativeInt = 8
    """Data-loading processes per training process; 0 loads in the training process."""
    optimizer: Literal["ADAMW"] = "ADAMW"
    """The optimizer."""
    encoder_multiplier: NonNegativeFloat = 0.1
    """Share of LR that the encoder gets; 0 freezes it."""
    freeze_encoder: bool = False
    """Train the decoder only, but for what ENCODER_OPEN names."""
    encoder_open: Annotated[tuple[Text, ...], ListOf] = ()
    """Parameters of a frozen encoder that train: items 0 and 1 exact names, others substrings."""
    freeze_blocks: NonNegativeInt = 0
    """Keep the patch embedding, the positions and the first N encoder blocks as they are
    (common practice in fine-tuning)."""
    freeze_decoder: bool = False
    """Keep everything outside of the encoder as it is."""
    lora_rank: NonNegativeInt = 0
    """Frozen matrices of linear layers and of the decoder's attention learn an addition of this
    rank, which the checkpoints hold added up (LoRA, Hu et al., ICLR 2022); 0: none."""
    early_stop: NonNegativeInt = 0
    """End after so many epochs whose validation was no better than the best one before, and
    publish the best weights, which may be those at the start. Better is a higher score of
    DATA.VAL.SEQUENCES_NAME, else a lower loss of the held-out samples; 0: train to the end."""
    ce_weight: NonNegativeFloat = 1.0
    """Weight of the token cross-entropy."""
    special_weight: NonNegativeFloat = 0.01
    """Weight of END and START inside the cross-entropy; coordinate tokens have 1."""
    soft_sigma: Annotated[tuple[NonNegativeFloat, NonNegativeFloat], ListOf] = (0.0, 0.0)
    """Standard deviation, in bins, of Gaussian token targets at the start and at the end of the
    training, linear in between; 0 means hard targets (label distribution learning, Geng 2016)."""
    l1_weight: NonNegativeFloat = 0.0
    """Weight of |expected coordinate - true coordinate|, summed over the four, coordinates in
    [0, 1] (integral regression, Sun et al., 2018)."""
    size_weight: NonNegativeFloat = 0.0
    """Weight of |log expected size - log true size|, summed over width and height: it keeps the
    size from being answered with the usual one."""
    centre_weight: NonNegativeFloat = 0.0
    """Weight of an auxiliary loss that lives in training only: which search token holds the
    centre (classification head of the one-stream trackers, OSTrack 2022)."""
    dense_weight: NonNegativeFloat = 0.0
    """Weight of an auxiliary loss that lives in training only: every search token inside the box
    says its distances to the four sides (FCOS, Tian et al., 2019)."""
    print_interval: Count = 50
    """Steps between two lines of the log."""
    grad_clip_norm: NonNegativeFloat = 0.1
    """Largest norm of all gradients together; 0 leaves them alone."""
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Decay per step of a moving average of the weights, which is what gets validated and
    published (Polyak averaging); 0: none."""
    precision: Literal["fp32", "tf32", "bf16", "fp16"] = "fp32"
    """Number format of the forward pass; weights and optimizer stay fp32. `tf32` is fp32 whose
    matrix products CUDA devices round to 10 bits of mantissa."""
    val_epoch_interval: Count = 20
    """Epochs between two validations, each with a picture of samples for TensorBoard; where
    DATA.VAL names nothing there is only the picture. The last epoch is always validated."""
    scheduler: Scheduler = Scheduler()
    """The learning-rate schedule."""
    teacher: Distillation = Distillation()
    """A network to learn from."""


class TrainingSets(Section):
    """DATA.TRAIN: what samples are drawn from."""

    datasets_name: Annotated[tuple[Text, ...], ListOf, Field(min_length=1)] = (
        "LASOT",
        "GOT10K_vottrain",
    )
    """Training data sets, or paths of folders of sequences in GOT-10k or LaSOT layout."""
    datasets_ratio: Annotated[tuple[NonNegativeFloat, ...], ListOf, Field(min_length=1)] = (
        1.0,
        1.0,
    )
    """How often each is drawn from, relative to the others."""
    sample_per_epoch: Count = 60000
    """Samples of one epoch, over all processes."""


class ValidationSets(Section):
    """DATA.VAL: what is validated on; empty lists mean no validation."""

    datasets_name: Annotated[tuple[Text, ...], ListOf] = ()
    """Sets that validation samples are drawn from, such as GOT10K_votval, or SYNTHETIC (its
    held-out split)."""
    datasets_ratio: Annotated[tuple[NonNegativeFloat, ...], ListOf] = ()
    """How often each is drawn from, relative to the others."""
    sample_per_epoch: Count = 1000
    """Samples of one validation, over all processes; always the same ones."""
    sequences_name: Text | None = None
    """A data set of `--dataset`, or a folder, to track in closed loop: AUC."""
    sequences_number: Count = 4
    """How many of its sequences, from the first on."""
    sequences_frames: Count | None = None
    """At most so many frames of each of them; null: all."""


class Synthetic(Section):
    """DATA.SYNTHETIC: what the built-in training set SYNTHETIC draws its pairs from."""

    textures: Text | None = None
    """A folder of photographs to use as backgrounds and objects; a picture of the same name with
    the ending .png beside a photograph is its label map. None: generated textures only."""
    patch_ratio: NonNegativeFloat = 1.0
    """How often two views of one place in a photograph are drawn (needs TEXTURES)."""
    cutout_ratio: NonNegativeFloat = 1.0
    """How often an object cut out of a photograph moves over another one (needs TEXTURES)."""
    generated_ratio: NonNegativeFloat = 1.0
    """How often a generated object moves over a generated background."""
    strength: Annotated[tuple[Fraction, Fraction], ListOf] = (0.1, 0.5)
    """Share of pairs with changes of full strength at the start and at the end of the training,
    linear in between; the other pairs change mildly."""


class CropSampling(Section):
    """What the search region and the templates of a training sample have in common."""

    size: Count = 256
    """Side of the crop in pixels."""
    factor: PositiveFloat = 4.0
    """Side of the crop before resizing, in units of sqrt(box area)."""
    center_power: Annotated[float, Field(ge=1)] = 1.0
    """The random centre shifts are raised to this power of their range: 1 spreads them evenly, 2
    puts half of them into the inner quarter along each axis, where a tracker sees its target."""


class SearchSampling(CropSampling):
    """DATA.SEARCH: the search region of a training sample, and the network's search size."""

    number: Annotated[int, AfterValidator(_only_one)] = 1
    """Search regions per sample: 1."""
    center_jitter: NonNegativeFloat = 3.5
    """Range of the random centre shift, in units of sqrt(box area)."""
    scale_jitter: NonNegativeFloat = 0.5
    """Standard deviation of the random log width and log height, drawn apart: the log of the
    crop's side has 0.7 of it."""


class TemplateSampling(CropSampling):
    """DATA.TEMPLATE: the templates of a training sample, and the network's template size."""

    number: Count = 1
    """Templates per sample."""
    center_jitter: NonNegativeFloat = 0.0
    """Range of the random centre shift, in units of sqrt(box area)."""
    scale_jitter: NonNegativeFloat = 0.0
    """Standard deviation of the random log scale."""


class HistorySampling(Section):
    """DATA.HISTORY: the boxes before the search frame, for a network with MODEL.HISTORY."""

    jitter: NonNegativeFloat = 0.1
    """Standard deviation of the noise of the earlier boxes, in units of sqrt(box area) for their
    centres, and of their log width and log height. The newest one is what the search region is
    cut around, as in tracking: SEARCH's jitters move it, and with it the others."""
    drop: Fraction = 0.2
    """Share of samples of which only some of the boxes before are known, as at the start of a
    sequence, or none, as after a target was lost."""
    tracked: Text | None = None
    """A folder with result files `SEQUENCE.txt` of a tracker on the training's own videos: its
    boxes stand for the true ones of the frames before, as long as the newest is on the target.
    So the network learns from what it will be given, its own errors (Ross et al., A reduction of
    imitation learning to no-regret online learning, AISTATS 2011)."""
    speed: NonNegativeFloat = 0.3
    """Where a sample has no frames before it (SYNTHETIC), a steady motion is made up: standard
    deviation of its way per frame, in units of sqrt(box area)."""


class Data(Section):
    """DATA: training samples."""

    mean: Annotated[tuple[ColourMean, ColourMean, ColourMean], ListOf] = (0.485, 0.456, 0.406)
    """Mean of the channels R, G, B, for images in [0, 1], in training and in tracking. An encoder
    `timm/NAME` that starts from its weights must be given the values it was trained with."""
    std: Annotated[tuple[ColourSpread, ColourSpread, ColourSpread], ListOf] = (0.229, 0.224, 0.225)
    """Standard deviation of the channels R, G, B; see MEAN."""
    max_sample_interval: Count = 200
    """Largest distance in frames between the frames of a sample and its base frame."""
    min_used: Fraction = 0.25
    """Least share of a set's sequences that are long enough and show their target often enough to
    be drawn from; a training on fewer does not start."""
    sampler_mode: Literal["order", "causal"] = "order"
    """`order`: frames around a base frame, sorted either way; `causal`: templates come first."""
    loader: Literal["tracking"] = "tracking"
    """The kind of samples."""
    seq_format: Literal["xywh", "whxy", "corner"] = "xywh"
    """Order of the four tokens; `xywh` and `whxy` mean the centre, `corner` x1, y1, x2, y2."""
    gray: Share = 0.05
    """Probability that all images of a sample become grey."""
    flip: Share = 0.5
    """Probability that a crop is mirrored, each of a sample by itself."""
    brightness: Share = 0.2
    """Every image is multiplied by a factor of 1 - this .. 1 + this."""
    stretch: NonNegativeFloat = 0.0
    """Standard deviation of the log ratio by which the width of all images of a sample is
    stretched against their height: other shapes of targets than those of the training videos."""
    distractors: Share = 0.0
    """Share of the samples of video that get targets of other videos pasted into the search
    region, beside the target (Zhu et al., DaSiamRPN, 2018, without their pairing by class)."""
    changes: Share = 0.0
    """Share of the samples of video whose crops are changed as those of SYNTHETIC's photographs
    are: light, blur, noise, resolution, compression."""
    scaled_decode: bool = False
    """`true`: a JPEG frame of a training set whose crop is shrunk 2, 4 or 8 times is decoded at a
    half, a quarter or an eighth of its size, which is faster; the samples are nearly the same.
    `false`: frames are decoded whole. Validation always does so."""
    train: TrainingSets = TrainingSets()
    """The training data sets."""
    val: ValidationSets = ValidationSets()
    """The validation data sets."""
    synthetic: Synthetic = Synthetic()
    """The built-in training set."""
    search: SearchSampling = SearchSampling()
    """The search region."""
    template: TemplateSampling = TemplateSampling()
    """The templates."""
    history: HistorySampling = HistorySampling()
    """The boxes before the search frame."""
