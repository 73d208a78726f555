"""The numbers of the tracker, from the TEST section of a configuration."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lib.utils.boxes import CLIP_MARGIN
from lib.utils.errors import ConfigError

if TYPE_CHECKING:
    # An exported network tracks without pydantic.
    from lib.config.schema import Config
    from lib.config.schema.model import LostTarget


@dataclass(frozen=True)
class TrackerSettings:
    """The numbers of the tracker; see the TEST section of a configuration.

    Attributes:
        template_factor: side of the template crop in units of `sqrt(w * h)` of the target.
        template_size: side of the resized template crop in pixels.
        search_factor: as `template_factor`, for the search region.
        search_size: as `template_size`, for the search region.
        num_templates: T, templates in use.
        window: whether the window penalty favours the middle of the search region.
        update_interval: frames between two template updates.
        update_threshold: score (0..40) that an update needs.
        expectation: whether a coordinate is the mean about the likeliest bin instead of the bin.
        size_prior: share of the log size by which an answer is pulled toward the first box.
        hold_below: share of the usual confidence below which the box stays where it was.
        min_size: pixels that a box keeps each way, and of it inside the picture.
        lost: how a state is told and a lost target is looked for; None: not at all.
        gated: whether a template is written only when the network is sure (`lib.tracker.gate`).
        in_turn: whether the newest template is asked only where the first one left doubt, and the
            surer answer counts: of use to a network that was trained with one template at a time.
        bins: values that a coordinate can have.
        centre: which of the four tokens are the centre's, where the window applies.
        history: N, boxes of the frames before that the network reads.
    """

    template_factor: float
    template_size: int
    search_factor: float
    search_size: int
    num_templates: int
    window: bool
    update_interval: int
    update_threshold: float
    expectation: bool = False
    size_prior: float = 0.0
    hold_below: float = 0.0
    min_size: int = CLIP_MARGIN
    lost: "LostTarget | None" = None
    gated: bool = False
    in_turn: bool = False
    bins: int = 0
    centre: Sequence[int] = (0, 1)
    history: int = 0

    @classmethod
    def from_config(cls, cfg: "Config", update_key: str = "DEFAULT") -> "TrackerSettings":
        """Settings for a data set's update-interval key, such as `GOT10K_TEST`.

        Raises:
            ConfigError: sizes or template count differ from those the network was built for.
        """
        from lib.models.seqtrack import build_tokenizer

        test, data, tokenizer = cfg.test, cfg.data, build_tokenizer(cfg)
        for key, here, there in (
            ("SEARCH", test.search_size, data.search.size),
            ("TEMPLATE", test.template_size, data.template.size),
        ):
            if here != there:
                raise ConfigError(
                    f"{cfg.name}: TEST.{key}_SIZE is {here} but the network is built for "
                    f"DATA.{key}.SIZE {there}; give both the same value"
                )
        if cfg.model.feature_type == "xz" and test.num_templates != data.template.number:
            raise ConfigError(
                f"{cfg.name}: with MODEL.FEATURE_TYPE xz the network is built for "
                f"DATA.TEMPLATE.NUMBER {data.template.number}, but TEST.NUM_TEMPLATES is "
                f"{test.num_templates}; give both the same value"
            )
        return cls(
            template_factor=test.template_factor,
            template_size=test.template_size,
            search_factor=test.search_factor,
            search_size=test.search_size,
            num_templates=test.num_templates,
            window=test.window,
            update_interval=test.update_interval_for(update_key),
            update_threshold=test.update_threshold_for(update_key),
            expectation=test.decoding == "expectation",
            size_prior=test.size_prior,
            hold_below=test.hold_below,
            min_size=test.min_size,
            lost=test.lost if test.lost.active else None,
            gated=test.update_rule == "gated",
            in_turn=test.update_rule == "gated" and data.template.number == 1,
            bins=tokenizer.bins,
            centre=tokenizer.window_positions,
            history=cfg.model.history,
        )


def as_published(cfg: "Config") -> "Config":
    """The configuration with templates written at the interval and no state of the target: for
    weights that are not calibrated yet, which both need."""
    lost = cfg.test.lost.model_copy(update={"active": False})
    test = cfg.test.model_copy(update={"update_rule": "interval", "lost": lost})
    return cfg.model_copy(update={"test": test})
