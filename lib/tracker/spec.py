"""Which trackers there are, and what is needed to build one; nothing here imports torch."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from lib.config.schema import Config
from lib.config.schema.model import EncoderConfig

# What a record of results without these settings means: they were SeqTrack's own.
PLAIN_SETTINGS: Mapping[str, object] = MappingProxyType(
    {
        "MODEL.ENCODER.STEM": "patch",
        "MODEL.TEMPLATE_BOX": False,
        "MODEL.CORRELATION": False,
        "MODEL.CENTRE_HINT": False,
        "TEST.DECODING": "argmax",
        "TEST.SIZE_PRIOR": 0.0,
        "TEST.HOLD_BELOW": 0.0,
        "TEST.MIN_SIZE": 10,
        "TEST.LOST": "off",
        "TEST.UPDATE_RULE": "interval",
        "ENGINE": "fp32",
    }
)


@dataclass(frozen=True)
class TrackerSpec:
    """Everything that is needed to build a tracker in another process.

    Attributes:
        tracker: a name of `lib.tracker.registry`.
        config_name: names the results.
        config: the network and tracker settings; None for trackers without any.
        checkpoint: weights file; None for seeded untrained weights.
        update_key: key of the data set in TEST.UPDATE_INTERVALS.
        engine: what runs the network, one of `lib.tracker.engine.names.ENGINE_NAMES`.
        precision: of the engine; only fp32 gives the same tokens with every engine.
        cpu_threads: of the process that builds the tracker; None for as many as PyTorch has.
    """

    tracker: str
    config_name: str
    config: Config | None = None
    checkpoint: Path | None = None
    update_key: str = "DEFAULT"
    engine: str = "torch"
    precision: str = "fp32"
    cpu_threads: int | None = None

    @property
    def settings(self) -> dict[str, object]:
        """The settings that decide boxes, by dotted key; those of training are left out."""
        cfg = self.config
        if cfg is None:
            return {}
        return {
            "MODEL.ENCODER": _encoder_text(cfg.model.encoder),
            "MODEL.HIDDEN_DIM": cfg.model.hidden_dim,
            "MODEL.BINS": cfg.model.bins,
            "MODEL.FEATURE_TYPE": cfg.model.feature_type,
            "MODEL.DECODER.NHEADS": cfg.model.decoder.nheads,
            "MODEL.DECODER.DIM_FEEDFORWARD": cfg.model.decoder.dim_feedforward,
            "MODEL.DECODER.DEC_LAYERS": cfg.model.decoder.dec_layers,
            "MODEL.DECODER.PRE_NORM": cfg.model.decoder.pre_norm,
            "DATA.SEQ_FORMAT": cfg.data.seq_format,
            "TEST.TEMPLATE_FACTOR": cfg.test.template_factor,
            "TEST.TEMPLATE_SIZE": cfg.test.template_size,
            "TEST.SEARCH_FACTOR": cfg.test.search_factor,
            "TEST.SEARCH_SIZE": cfg.test.search_size,
            "TEST.WINDOW": cfg.test.window,
            "TEST.NUM_TEMPLATES": cfg.test.num_templates,
            "TEST.UPDATE_INTERVALS": cfg.test.update_interval_for(self.update_key),
            "TEST.UPDATE_THRESHOLD": cfg.test.update_threshold_for(self.update_key),
            "MODEL.ENCODER.STEM": cfg.model.encoder.stem,
            "MODEL.TEMPLATE_BOX": cfg.model.template_box,
            "MODEL.CORRELATION": cfg.model.correlation,
            "MODEL.CENTRE_HINT": cfg.model.centre_hint,
            "TEST.DECODING": cfg.test.decoding,
            "TEST.SIZE_PRIOR": cfg.test.size_prior,
            "TEST.HOLD_BELOW": cfg.test.hold_below,
            "TEST.MIN_SIZE": cfg.test.min_size,
            "TEST.LOST": str(cfg.test.lost) if cfg.test.lost.active else "off",
            "TEST.UPDATE_RULE": cfg.test.update_rule,
            # Engines give the same boxes, coarser numbers do not.
            "ENGINE": "fp32" if self.precision == "fp32" else f"{self.engine} {self.precision}",
        }


def _encoder_text(encoder: EncoderConfig) -> str:
    if encoder.family:
        own = (encoder.width, encoder.depth, encoder.heads, encoder.patch)
        names = ("width", "depth", "heads", "patch")
        given = (f"{name} {x}" for name, x in zip(names, own, strict=True) if x)
        return ", ".join([encoder.type, *given])
    width, depth, heads, patch_size = encoder.geometry
    return f"width {width}, depth {depth}, heads {heads}, patch {patch_size}"


def changed_settings(known: object, now: Mapping[str, object]) -> list[str]:
    """In words, how settings on record differ from those of now.

    A key that only one side has came with another version and says nothing about the boxes,
    except those of `PLAIN_SETTINGS`.

    Args:
        known: what a file has for settings; anything but a mapping says nothing.
        now: `TrackerSpec.settings`.

    Example:
        >>> changed_settings({"TEST.WINDOW": True}, {"TEST.WINDOW": False, "ENGINE": "fp32"})
        ['TEST.WINDOW was True and is now False']
    """
    if not isinstance(known, Mapping):
        return []
    then = {**PLAIN_SETTINGS, **known}
    return [
        f"{key} was {then[key]!r} and is now {value!r}"
        for key, value in now.items()
        if key in then and then[key] != value
    ]
