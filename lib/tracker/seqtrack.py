"""SeqTrack as a tracker: crop, read out four tokens, map the box back.

The core is one pure step over a batch of targets, `track_step`: B states and B frames in, one
call of the engine that runs the network, B new states out. The tracker that users know is that
with B = 1.
Source: SeqTrack (CVPR 2023), sections 3.3-3.4, with the numbers of the reference tracker.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from lib.tracker.base import BaseTracker, Info
from lib.tracker.calibration import ADVICE, Calibration
from lib.tracker.certainty import Sight, Witness
from lib.tracker.engine.api import Engine, EngineOutput, Template
from lib.tracker.evidence import Recent
from lib.tracker.gate import SURE, GateMemory, may_write, returns
from lib.tracker.history import seen_in, with_box
from lib.tracker.lost import Look, compare, judge, places_to_look, sure_of
from lib.tracker.settings import TrackerSettings
from lib.tracker.state import TargetState, TrackerOutput
from lib.tracker.templates import SCORE_SCALE, cut_templates, take_templates, update_due
from lib.utils.boxes import Box, clip_xywh, pull_size
from lib.utils.crop import Crop, crop_square, map_box_back
from lib.utils.errors import CheckpointError, ConfigError, DataError

if TYPE_CHECKING:
    # All this runs without PyTorch and pydantic where an exported network tracks.
    from lib.config.schema import Config
    from lib.models.seqtrack import SeqTrack

# How fast the usual score follows: ten frames, longer than a blur, shorter than a change of view.
_USUAL_SCORE_RATE = 0.1
_TOP_SCORE = 4 * SCORE_SCALE


def start_target(
    image: np.ndarray, box: Sequence[float], settings: TrackerSettings, engine: Engine
) -> TargetState:
    """State of a target first seen in `image` at the xywh `box`, which is kept unclipped.

    It belongs to that engine, whose templates it holds.

    Raises:
        DataError: the box is empty, not finite, or outside the image.
    """
    if not np.isfinite(box).all() or box[2] <= 0 or box[3] <= 0:
        raise DataError(
            f"cannot start on the box {[float(v) for v in box]}: four finite numbers x, y, w, h "
            "with w and h above zero are needed"
        )
    x, y, w, h = (float(value) for value in box)
    (template,) = cut_templates([image], [(x, y, w, h)], settings, engine)
    return TargetState(
        (x, y, w, h),
        (template,) * settings.num_templates,
        first_size=(w, h),
        presence=None if settings.lost is None else sure_of((x, y, w, h)),
        memory=GateMemory(image) if settings.gated else None,
        history=((x, y, w, h),)[: settings.history],
    )


def track_step(
    engine: Engine,
    settings: TrackerSettings,
    states: Sequence[TargetState],
    images: Sequence[np.ndarray],
    witness: Witness | None = None,
) -> list[TrackerOutput]:
    """Track B targets by one frame each, in one call of the engine.

    Args:
        engine: the one that the states were started with.
        settings: the same for all targets.
        states: B states, left as they are.
        images: B frames `(H, W, 3)` uint8 RGB; frames may differ in size.
        witness: says how sure a box is; needed for a state and for the gated update. The engine
            must keep its distributions for it.

    Returns:
        B predictions.

    Raises:
        CheckpointError: the network's probabilities are not finite.
    """
    elsewhere = [
        _elsewhere(state, settings, image.shape[:2])
        for image, state in zip(images, states, strict=True)
    ]
    owners = [i for i, places in enumerate(elsewhere) for _ in places]
    asked = [*states, *(place for places in elsewhere for place in places)]
    pictures = [*images, *(images[i] for i in owners)]
    found = _ask(engine, settings, asked, pictures, witness)
    predictions = found[: len(states)]
    for i in sorted(set(owners)):
        others = [one for n, one in zip(owners, found[len(states) :], strict=True) if n == i]
        predictions[i] = _compare(settings, predictions[i], others)
    if settings.gated:
        predictions = _gate(engine, settings, states, images, predictions)
    due = [i for i, prediction in enumerate(predictions) if prediction.updated]
    if due:
        news = [predictions[i].state for i in due]
        news = take_templates(news, [images[i] for i in due], settings, engine)
        for i, new in zip(due, news, strict=True):
            predictions[i] = replace(predictions[i], state=new)
    return predictions


def _elsewhere(
    state: TargetState, settings: TrackerSettings, size: tuple[int, int]
) -> list[TargetState]:
    """A target in doubt as if it were at each place where it is looked for."""
    if settings.lost is None or state.presence is None:
        return []
    places = places_to_look(state.presence, settings.lost, settings.search_factor, size)
    return [_at(state, place) for place in places]


def _at(state: TargetState, place: Box) -> TargetState:
    """A target as if it had just been at that place."""
    recent = Recent(looks=state.recent.looks)
    return replace(state, box=place, presence=None, recent=recent, history=())


def look_at(
    engine: Engine,
    settings: TrackerSettings,
    state: TargetState,
    image: np.ndarray,
    places: Sequence[Box],
    witness: Witness,
) -> list[TrackerOutput]:
    """What search regions at other places give, as if the target had been at the xywh `places`.

    Arguments as those of `track_step`.
    """
    states = [_at(state, place) for place in places]
    return _ask(engine, settings, states, [image] * len(places), witness)


def _compare(
    settings: TrackerSettings, prediction: TrackerOutput, others: Sequence[TrackerOutput]
) -> TrackerOutput:
    """The prediction for a target in doubt, or that of the look elsewhere which found it."""
    state, rule = prediction.state, settings.lost
    if state.presence is None or rule is None:
        raise ValueError("only a target whose state is told is looked for elsewhere")
    looks = [_look(one.state.box, one.sight) for one in others if one.sight is not None]
    presence, which = compare(state.presence, rule, state.box, looks)
    if which is None:
        return replace(prediction, state=replace(state, presence=presence))
    found = others[which].state
    # It may be another thing: the certainty remembers that the box jumped.
    recent = replace(found.recent, jump=_step(state.box, found.box))
    found = replace(found, presence=presence, recent=recent)
    return replace(others[which], state=found, updated=False)


def _look(box: Box, sight: Sight) -> Look:
    return Look(box, sight.certainty, sight.momentary)


def _ask(
    engine: Engine,
    settings: TrackerSettings,
    states: Sequence[TargetState],
    images: Sequence[np.ndarray],
    witness: Witness | None,
) -> list[TrackerOutput]:
    """What the network says of each target, with the newest template where the first is unsure."""
    factor, size = settings.search_factor, settings.search_size
    crops = [
        crop_square(image, state.box, factor, size)
        for image, state in zip(images, states, strict=True)
    ]

    def asked(which: Sequence[int], rows: Sequence[tuple[Template, ...]]) -> list[TrackerOutput]:
        past = [states[i].history for i in which]
        output = _read_out(engine, settings, rows, [crops[i] for i in which], past)
        _check_finite(output)
        return [
            advance(states[i], images[i], crops[i], output, n, settings, witness)
            for n, i in enumerate(which)
        ]

    rows = [state.templates for state in states]
    if settings.in_turn:
        rows = [row[:1] * len(row) for row in rows]
    predictions = asked(range(len(states)), rows)
    if settings.in_turn and (doubtful := _in_doubt(states, predictions)):
        newest = [states[i].templates[-1:] * settings.num_templates for i in doubtful]
        for i, other in zip(doubtful, asked(doubtful, newest), strict=True):
            if _momentary(other) > _momentary(predictions[i]):
                predictions[i] = other
    return predictions


def _read_out(
    engine: Engine,
    settings: TrackerSettings,
    rows: Sequence[tuple[Template, ...]],
    crops: Sequence[Crop],
    past: Sequence[tuple[Box, ...]],
) -> EngineOutput:
    """What the engine says of search crops, given the boxes of the frames before them."""
    pixels = [crop.pixels for crop in crops]
    if not settings.history:
        return engine.generate(rows, pixels)
    return engine.generate(rows, pixels, seen_in(crops, past, settings.history))


def _in_doubt(states: Sequence[TargetState], predictions: Sequence[TrackerOutput]) -> list[int]:
    """Which targets have a newer template, and an answer that the first one is not sure of."""
    return [
        i
        for i, (state, one) in enumerate(zip(states, predictions, strict=True))
        if _momentary(one) < SURE and state.templates[-1] is not state.templates[0]
    ]


def _momentary(one: TrackerOutput) -> float:
    """How sure a frame is by itself: that the box jumped is no reason to write no template."""
    return one.certainty if one.sight is None else one.sight.momentary


def _check_finite(output: EngineOutput) -> None:
    if not np.isfinite(np.asarray(output.confidence)).all():
        raise CheckpointError(
            "the network gives probabilities that are not finite; its weights are damaged"
        )


def advance(
    state: TargetState,
    image: np.ndarray,
    crop: Crop,
    output: EngineOutput,
    index: int,
    settings: TrackerSettings,
    witness: Witness | None = None,
) -> TrackerOutput:
    """One target's new state from what was read out for it, number `index` of `said`.

    Where `TrackerOutput.updated` is set, the state still lacks the new template. The box goes from
    [0, 1] of the crop to image pixels from the crop's corner, then to image pixels, and is clipped.
    """
    confidence = np.asarray(output.confidence[index]).tolist()
    box = _box_in_image(state, image, crop, np.asarray(output.boxes[index]), settings)
    frame = state.frame + 1
    score = SCORE_SCALE * sum(confidence)
    usual = score if state.usual_score is None else state.usual_score
    certainty, sight, presence = score / _TOP_SCORE, None, state.presence
    held = score < settings.hold_below * usual
    there = state.box if held else box
    if witness is not None:
        step = _step(state.box, there)
        sight = _sight(witness, state, crop, output, index, box, score, usual, step)
        certainty = sight.certainty
    if not held:
        usual += _USUAL_SCORE_RATE * (score - usual)
    if presence is not None and settings.lost is not None and sight is not None:
        presence = judge(presence, settings.lost, _look(there, sight))
    lost = presence is not None and presence.state == "lost"
    updated = not (held or lost) and update_due(
        frame, score, settings.num_templates, settings.update_interval, settings.update_threshold
    )
    history = with_box(state.history, there, lost, settings.history)
    recent = state.recent if sight is None else sight.recent
    known = replace(state, history=history, recent=recent)
    return TrackerOutput(
        state=replace(known, box=there, frame=frame, usual_score=usual, presence=presence),
        tokens=tuple(output.tokens[index].tolist()),
        token_confidence=tuple(confidence),
        score=score,
        updated=updated,
        resize_factor=crop.resize_factor,
        certainty=certainty,
        sight=sight,
    )


def _box_in_image(
    state: TargetState, image: np.ndarray, crop: Crop, box: np.ndarray, settings: TrackerSettings
) -> Box:
    """The xywh box in image pixels of a cxcywh box normalised to the search crop."""
    # In float32, as the reference: the last digit decides between two rows of a result file.
    in_crop = (box * settings.search_size / crop.resize_factor).tolist()
    mapped = map_box_back(in_crop, crop.box, crop.resize_factor, settings.search_size)
    if settings.size_prior:
        mapped = pull_size(mapped, state.first_size, settings.size_prior)
    return clip_xywh(mapped, *image.shape[:2], margin=settings.min_size)


def _sight(
    witness: Witness,
    state: TargetState,
    crop: Crop,
    output: EngineOutput,
    index: int,
    box: Box,
    score: float,
    usual: float,
    step: float,
) -> Sight:
    if output.distributions is None:
        raise ValueError("the engine must keep its distributions for a witness")
    return witness.look(
        np.asarray(output.distributions[index]),
        crop.pixels,
        np.asarray(output.boxes[index]),
        state.templates[0],
        score / _TOP_SCORE,
        math.log(max(score, 1e-6) / max(usual, 1e-6)),
        0.5 * math.log(box[2] * box[3] / math.prod(state.first_size)),
        step,
        state.recent,
    )


def _step(before: Box, now: Box) -> float:
    """How far the centre of an xywh box went, in sides of the box."""
    (a, b, v, u), (x, y, w, h) = before, now
    return math.hypot(x + w / 2 - a - v / 2, y + h / 2 - b - u / 2) / math.sqrt(u * v)


def _gate(
    engine: Engine,
    settings: TrackerSettings,
    states: Sequence[TargetState],
    images: Sequence[np.ndarray],
    predictions: Sequence[TrackerOutput],
) -> list[TrackerOutput]:
    """The predictions with the updates that the gated rule lets through, and what it remembers."""
    gated, back = [], []
    for i, (state, image, one) in enumerate(zip(states, images, predictions, strict=True)):
        if one.sight is None or state.memory is None:
            raise ValueError("the gated update needs a witness, in states started with it")
        new, memory = one.state, state.memory.after(image, one.sight)
        first = state.templates[0]
        due = one.updated and may_write(one.sight, memory, state.box, new.box, first)
        if due:
            back.append(i)
        gated.append(replace(one, state=replace(new, memory=memory), updated=due))
    if back:
        boxes = [gated[i].state.box for i in back]
        made = cut_templates([images[i] for i in back], boxes, settings, engine)
        before = [states[i].memory.image for i in back]  # type: ignore[union-attr]
        crops = [
            crop_square(image, box, settings.search_factor, settings.search_size)
            for image, box in zip(before, boxes, strict=True)
        ]
        rows = [(one,) * settings.num_templates for one in made]
        # Backward in time, the box now is the only one that was before.
        past = [(box,)[: settings.history] for box in boxes]
        output = _read_out(engine, settings, rows, crops, past)
        for n, i in enumerate(back):
            box = np.asarray(output.boxes[n])
            found = _box_in_image(states[i], before[n], crops[n], box, settings)
            gated[i] = replace(gated[i], updated=returns(found, states[i].box))
    return gated


class EngineTracker(BaseTracker):
    """One target at a time, with one engine for all sequences.

    Args:
        engine: runs the network, which must not change any more.
        settings: of the tracker.
        calibration: of the network's certainty. Without one there is no state.
    """

    top_confidence = _TOP_SCORE

    def __init__(
        self, engine: Engine, settings: TrackerSettings, calibration: Calibration | None = None
    ) -> None:
        if calibration is None:
            settings = replace(settings, lost=None)
        if calibration is None and settings.gated:
            raise ConfigError(
                "TEST.UPDATE_RULE gated needs a calibration of the weights; "
                f"{ADVICE}; or track with --set TEST.UPDATE_RULE=interval"
            )
        self.engine, self.settings = engine, settings
        self.witness = None if calibration is None else Witness(settings, calibration)
        if self.witness is not None:
            self.engine.keep_distributions = True
        self.state: TargetState | None = None

    def initialize(self, image: np.ndarray, info: Info) -> Info:
        """Start on the xywh box `info["init_bbox"]` in `image`.

        Returns:
            `target_bbox`, the same box, `confidence`, the score of four certain tokens, and
            `certainty` 1.

        Raises:
            DataError: the box is empty, not finite, or outside the image.
        """
        self.state, answer = self.start(image, info["init_bbox"])
        return answer

    def track(self, image: np.ndarray, info: Info | None = None) -> Info:
        """Find the target in the next frame.

        Returns:
            `target_bbox` (xywh list), `confidence` (the reference's score, ten times the sum of
            the token probabilities), `certainty` (0..1), `calibrated` (whether that
            is a probability), `best_tokens` (four ints), `token_confidence` (four floats),
            `template_updated`, and `state` (`tracked`,
            `uncertain` or `lost`) where TEST.LOST.ACTIVE is on and the weights are calibrated.
        """
        if self.state is None:
            raise RuntimeError("call initialize(image, {'init_bbox': [x, y, w, h]}) before track")
        ((self.state, answer),) = self.step([self.state], [image])
        return answer

    def start(self, image: np.ndarray, box: Sequence[float]) -> tuple[TargetState, Info]:
        """As `start_target`; states are values, and all targets share the engine."""
        state = start_target(image, box, self.settings, self.engine)
        given: Info = {"confidence": self.top_confidence, "certainty": 1.0}
        if state.presence is not None:
            given["state"] = state.presence.state
        if self.witness is not None:
            given["calibrated"] = True
        return state, {"target_bbox": list(state.box), **given}

    def step(  # type: ignore[override]
        self, states: Sequence[TargetState], images: Sequence[np.ndarray]
    ) -> list[tuple[TargetState, Info]]:
        """As `track_step`, in one call of the engine."""
        predictions = track_step(self.engine, self.settings, states, images, self.witness)
        return [(one.state, _answer(one)) for one in predictions]


class SeqTrackTracker(EngineTracker):
    """The tracker of a configuration.

    Args:
        network: the network with its weights, which must not change any more, or an engine
            that runs it (`lib.tracker.engine.api`); a network gets the usual engine.
        cfg: the configuration it was built from.
        update_key: the data set's key in TEST.UPDATE_INTERVALS, else DEFAULT.
        calibration: see `EngineTracker`.
    """

    def __init__(
        self,
        network: "SeqTrack | Engine",
        cfg: "Config",
        update_key: str = "DEFAULT",
        calibration: Calibration | None = None,
    ) -> None:
        from lib.models.seqtrack import SeqTrack
        from lib.tracker.engine.build import build_engine

        settings = TrackerSettings.from_config(cfg, update_key)
        is_network = isinstance(network, SeqTrack)
        engine = build_engine("torch", network, cfg) if is_network else network
        super().__init__(engine, settings, calibration)


def _answer(prediction: TrackerOutput) -> Info:
    presence = prediction.state.presence
    return {
        "target_bbox": list(prediction.state.box),
        "confidence": prediction.score,
        "certainty": prediction.certainty,
        "calibrated": prediction.sight is not None,
        "best_tokens": list(prediction.tokens),
        "token_confidence": list(prediction.token_confidence),
        "template_updated": prediction.updated,
        **({} if presence is None else {"state": presence.state}),
    }
