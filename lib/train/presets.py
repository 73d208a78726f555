"""What fine-tuning changes in a configuration: how much of the network trains, and for how long."""

from lib.config.schema import Config
from lib.utils.errors import ConfigError, did_you_mean

# A network of fewer parameters trains as a whole in minutes, on a CPU too.
_SMALL = 20_000_000
_RANK = 16
_FROZEN_ENCODER = ("TRAIN.FREEZE_ENCODER=true", "TRAIN.ENCODER_OPEN=[]")
_LORA = (
    *_FROZEN_ENCODER,
    "TRAIN.FREEZE_DECODER=true",
    f"TRAIN.LORA_RANK={_RANK}",
    "TRAIN.ENCODER_MULTIPLIER=1",
)
# Name -> settings, learning rate as a share of the configuration's, and what it is.
_ROWS: dict[str, tuple[tuple[str, ...], float, str]] = {
    "frozen": (_FROZEN_ENCODER, 0.3, "the encoder stays as it is, the decoder trains"),
    "lora": (_LORA, 1.0, f"all matrices get additions of rank {_RANK}, which alone train"),
    "full": ((), 0.3, "all that the configuration trains"),
}
PRESETS = tuple(_ROWS)


def default_preset(parameters: int) -> str:
    """The preset of a network of that many parameters."""
    return "full" if parameters < _SMALL else "lora"


def describe_preset(name: str) -> str:
    return f"{name}: {_ROWS[name][2]}"


def preset_settings(name: str, cfg: Config) -> list[str]:
    """Settings, as of `--set`, for fine-tuning `cfg`.

    Auxiliary losses are off: their heads are in no checkpoint and would start from random weights.
    A twentieth of the learning rate is left at the end, so that an early stop is no loss.

    Raises:
        ConfigError: there is no such preset.
    """
    if name not in _ROWS:
        hint = did_you_mean(name, PRESETS)
        raise ConfigError(f"no preset {name!r}{hint}; one of {', '.join(PRESETS)}")
    settings, share, _ = _ROWS[name]
    sigma = cfg.train.soft_sigma[-1]
    return [
        "TRAIN.CENTRE_WEIGHT=0",
        "TRAIN.DENSE_WEIGHT=0",
        f"TRAIN.SOFT_SIGMA=[{sigma}, {sigma}]",
        "TRAIN.SCHEDULER.TYPE=cosine",
        "TRAIN.SCHEDULER.FINAL_SHARE=0.05",
        "TRAIN.SCHEDULER.WARMUP_STEPS=20",
        "TRAIN.EMA_DECAY=0.99",
        "TRAIN.EPOCH=20",
        "TRAIN.EARLY_STOP=6",
        "TRAIN.VAL_EPOCH_INTERVAL=1",
        f"TRAIN.BATCH_SIZE={min(16, cfg.train.batch_size)}",
        f"TRAIN.LR={cfg.train.lr * share:g}",
        "DATA.TRAIN.SAMPLE_PER_EPOCH=512",
        "DATA.VAL.SAMPLE_PER_EPOCH=64",
        "DATA.MIN_USED=0",
        *settings,
    ]
