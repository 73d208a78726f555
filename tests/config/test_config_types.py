"""Configuration values: what each key takes, what it refuses, and in which words."""

from pathlib import Path
from typing import Any

import pytest

from lib.config.schema import Config
from tests.helpers.config_text import error_lines, load_text


@pytest.fixture(autouse=True)
def in_a_fresh_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def value_at(cfg: Config, key: str) -> Any:
    value: Any = cfg
    for part in key.lower().split("."):
        value = getattr(value, part)
    return value


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        pytest.param("TRAIN.LR", "1e-4", 1e-4, id="exponent-without-a-point-is-a-number"),
        pytest.param("TRAIN.LR", "1E-4", 1e-4, id="capital-exponent"),
        pytest.param("TRAIN.LR", ".5", 0.5, id="leading-point"),
        pytest.param("TRAIN.LR", "+2.", 2.0, id="sign-and-trailing-point"),
        pytest.param("TRAIN.LR", "1", 1.0, id="a-float-may-be-whole"),
        pytest.param("DATA.TRAIN.SAMPLE_PER_EPOCH", "60_000", 60000, id="digit-groups"),
        pytest.param("TRAIN.FREEZE_ENCODER", "True", True, id="capital-true"),
        pytest.param("TRAIN.FREEZE_ENCODER", "FALSE", False, id="capital-false"),
        pytest.param("TRAIN.ENCODER_OPEN", "[on, 'a b']", ("on", "a b"), id="on-is-text"),
        pytest.param("TRAIN.ENCODER_OPEN", "[yes, no, off]", ("yes", "no", "off"), id="words"),
        pytest.param("TRAIN.ENCODER_OPEN", "['1e-4', 2026-01-01]", ("1e-4", "2026-01-01"), id="q"),
        pytest.param("MODEL.ENCODER.WIDTH", "null", None, id="null-takes-an-optional-back"),
        pytest.param("DATA.TRAIN.DATASETS_RATIO", "[1, 0.5]", (1.0, 0.5), id="mixed-ratios"),
        pytest.param("TRAIN.GRAD_CLIP_NORM", "0", 0.0, id="zero-switches-clipping-off"),
        pytest.param("TRAIN.NUM_WORKER", "0", 0, id="zero-workers"),
        pytest.param("TRAIN.SCHEDULER.DECAY_RATE", "0.5", 0.5, id="decay-rate-is-honoured"),
        pytest.param("DATA.SAMPLER_MODE", "causal", "causal", id="causal"),
    ],
)
def test_good_value(key: str, text: str, value: object) -> None:
    section, _, name = key.rpartition(".")
    opening = "".join(f"{'  ' * i}{part}:\n" for i, part in enumerate(section.split(".")))
    from_file = value_at(load_text(f"{opening}{'  ' * key.count('.')}{name}: {text}\n"), key)
    from_option = value_at(load_text("TRAIN:\n", f"{key}={text}"), key)
    assert from_file == value == from_option
    assert type(from_file) is type(value)


@pytest.mark.parametrize(
    ("key", "text", "message"),
    [
        pytest.param("TRAIN.LR", "5o0", "must be a number (value '5o0')", id="letter-in-a-number"),
        pytest.param("TRAIN.LR", "'1e-4'", "must be a number (value '1e-4')", id="quoted-number"),
        pytest.param("TRAIN.LR", "true", "must be a number (value true)", id="bool-is-no-number"),
        pytest.param("TRAIN.LR", "", "must be a number (value null)", id="nothing"),
        pytest.param("TRAIN.LR", "0", "must be above 0 (value 0)", id="zero-rate"),
        pytest.param("TRAIN.LR", "-1e-4", "must be above 0", id="negative-rate"),
        pytest.param("TRAIN.LR", ".nan", "must be a finite number (value nan)", id="nan"),
        pytest.param("TRAIN.LR", "-.inf", "must be a finite number (value -inf)", id="inf"),
        pytest.param("TRAIN.LR", "1e999", "must be a finite number", id="overflow"),
        pytest.param("TRAIN.LR", "[1]", "must be a number (value [1])", id="list-for-a-number"),
        pytest.param("TRAIN.LR", "{A: 1}", "must be a number (value {'A': 1})", id="section"),
        pytest.param("TRAIN.BATCH_SIZE", "true", "must be a whole number", id="bool-is-no-int"),
        pytest.param("TRAIN.BATCH_SIZE", "8.0", "must be a whole number (value 8.0)", id="float"),
        pytest.param("TRAIN.BATCH_SIZE", "'8'", "must be a whole number (value '8')", id="text"),
        pytest.param("TRAIN.BATCH_SIZE", "0x10", "must be a whole number", id="hexadecimal"),
        pytest.param("TRAIN.BATCH_SIZE", "0", "must be at least 1 (value 0)", id="no-batch"),
        pytest.param("TRAIN.BATCH_SIZE", "9" * 5000, "cannot be read as int", id="endless-digits"),
        pytest.param("TRAIN.NUM_WORKER", "-1", "must be at least 0", id="negative-workers"),
        pytest.param(
            "TRAIN.FREEZE_ENCODER", "yes", "must be true or false (value 'yes')", id="yes"
        ),
        pytest.param("TRAIN.FREEZE_ENCODER", "on", "must be true or false (value 'on')", id="on"),
        pytest.param("TRAIN.FREEZE_ENCODER", "1", "must be true or false (value 1)", id="one"),
        pytest.param("TRAIN.FREEZE_ENCODER", "'true'", "must be true or false", id="quoted-true"),
        pytest.param("TRAIN.ENCODER_OPEN", "body", "must be a list", id="text-for-a-list"),
        pytest.param("TRAIN.ENCODER_OPEN", "[1]", "[0]: must be text (value 1)", id="element"),
        pytest.param("TRAIN.ENCODER_OPEN", "['']", "[0]: must not be empty", id="empty-element"),
        pytest.param("TRAIN.OPTIMIZER", "SGD", "must be ADAMW (value 'SGD')", id="optimizer"),
        pytest.param("TRAIN.SCHEDULER.TYPE", "stepp", "did you mean 'step'?", id="scheduler"),
        pytest.param("TRAIN.SCHEDULER.DECAY_RATE", "1.1", "must be at most 1", id="rising-rate"),
        pytest.param("MODEL.BINS", "1", "must be at least 2", id="one-bin"),
        pytest.param("MODEL.DECODER.DROPOUT", "1", "must be below 1 (value 1)", id="all-dropped"),
        pytest.param("MODEL.ENCODER.DROP_PATH", "-0.1", "must be at least 0", id="drop-path"),
        pytest.param("MODEL.ENCODER.TYPE", "vit_base", "'vit_base_patch16'?", id="encoder-hint"),
        pytest.param("MODEL.ENCODER.TYPE", "timm/", "or timm/NAME (value", id="family-alone"),
        pytest.param("MODEL.ENCODER.TYPE", "on", "must be vit_base_patch16 or", id="on-as-text"),
        pytest.param("MODEL.FEATURE_TYPE", "xx", "must be x or xz or token (value 'xx')", id="xx"),
        pytest.param("DATA.SAMPLER_MODE", "trident", "must be order or causal", id="dead-mode"),
        pytest.param("DATA.SEQ_FORMAT", "xyxy", "must be xywh or whxy or corner", id="format"),
        pytest.param("DATA.MEAN", "[0.5, 0.5]", "has too few entries (value [0.5, 0.5])", id="two"),
        pytest.param("DATA.MEAN", "[0, 0, 0, 0]", "must have at most 3 entries", id="four"),
        pytest.param("DATA.MEAN", "[0, 0, 255]", "[2]: must be at most 1 (value 255)", id="0-255"),
        pytest.param("DATA.STD", "[0, 1, 1]", "[0]: must be above 0 (value 0)", id="flat-channel"),
        pytest.param("DATA.SEARCH.NUMBER", "2", "must be 1: a sample has", id="two-searches"),
        pytest.param("DATA.SEARCH.NUMBER", "true", "must be a whole number", id="true-is-not-1"),
        pytest.param("DATA.SEARCH.FACTOR", "0", "must be above 0", id="empty-crop"),
        pytest.param("DATA.SEARCH.SCALE_JITTER", "-1", "must be at least 0", id="jitter"),
        pytest.param("DATA.TRAIN.DATASETS_NAME", "[]", "at least 1 entry", id="no-data-set"),
        pytest.param("TEST.NUM_TEMPLATES", "0", "must be at least 1", id="no-template"),
        pytest.param("TEST.UPDATE_INTERVALS", "5", "must be a section", id="number-for-a-table"),
        pytest.param("TEST.UPDATE_INTERVALS.OTB", "0", "must be at least 1", id="interval-0"),
        pytest.param("TEST.UPDATE_INTERVALS.OTB", "1.5", "must be a whole number", id="interval"),
        pytest.param("TEST.UPDATE_INTERVALS.otb", "1", "name in capitals", id="small-letters"),
        pytest.param("TEST.UPDATE_THRESHOLD.OTB", ".nan", "finite number", id="threshold-nan"),
        pytest.param("TEST.UPDATE_THRESHOLD.OTB", "true", "must be a number", id="threshold-bool"),
    ],
)
def test_bad_value_is_named_with_its_place(key: str, text: str, message: str) -> None:
    parts = key.split(".")
    opening = "".join(f"{'  ' * i}{part}:\n" for i, part in enumerate(parts[:-1]))
    (line,) = error_lines(f"# a comment\n{opening}{'  ' * key.count('.')}{parts[-1]}: {text}\n")
    assert line.startswith(f"my.yaml:{len(parts) + 1}: {key}")
    assert message in line
    (line,) = error_lines("TRAIN:\n", f"{key}={text}")
    assert line.startswith(f"--set {key}")
    assert message in line
