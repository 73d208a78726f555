"""Configuration keys: unknown ones, wrong overrides, rules over several keys, all at once."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from lib.config.schema import Config, Geometry
from tests.helpers.config_text import error_lines, load_text


@pytest.fixture(autouse=True)
def in_a_fresh_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        pytest.param(
            "TRAIN:\n  EPOCHS: 300\n",
            "my.yaml:2: TRAIN.EPOCHS: unknown key (value 300); did you mean 'EPOCH'?",
            id="typo",
        ),
        pytest.param(
            "train: {LR: 1}\n",
            "my.yaml:1: train: unknown key (value {'LR': 1}); did you mean 'TRAIN'?",
            id="small-letters",
        ),
        pytest.param(
            "LR: 1\n",
            "my.yaml:1: LR: unknown key (value 1); did you mean 'TRAIN.LR'?",
            id="another-section",
        ),
        pytest.param(
            "DATA:\n  SIZE: 1\n",
            "my.yaml:2: DATA.SIZE: unknown key (value 1); "
            "did you mean 'DATA.SEARCH.SIZE' or 'DATA.TEMPLATE.SIZE'?",
            id="two-other-sections",
        ),
        pytest.param(
            "QQQ: 1\n",
            "my.yaml:1: QQQ: unknown key (value 1); known here: MODEL, TRAIN, DATA, TEST",
            id="nothing-like-it",
        ),
        pytest.param(
            "NAME: x\n",
            "my.yaml:1: NAME: unknown key (value 'x'); known here: MODEL, TRAIN, DATA, TEST",
            id="the-name-is-no-key",
        ),
        pytest.param(
            "TRAIN: 5\n", "my.yaml:1: TRAIN: must be a section of KEY: value (value 5)", id="scalar"
        ),
        pytest.param(
            "TRAIN: [1]\n",
            "my.yaml:1: TRAIN: must be a section of KEY: value (value [1])",
            id="list-for-a-section",
        ),
        pytest.param(
            "TRAIN:\n  LR: 1\n  EPOCH: 3\n  LR: 2\n",
            "my.yaml:4: TRAIN.LR: given again, the first time at line 2; keep one",
            id="duplicate-key",
        ),
        pytest.param(
            "TRAIN: {LR: 1}\nDATA:\nTRAIN: {EPOCH: 2}\n",
            "my.yaml:3: TRAIN: given again, the first time at line 1; keep one",
            id="duplicate-section",
        ),
        pytest.param(
            "TRAIN:\n  LR: !!python/name:os.system ''\n",
            "my.yaml:2: TRAIN.LR: the tag 'tag:yaml.org,2002:python/name:os.system' "
            "is not supported",
            id="python-object",
        ),
        pytest.param("? [a]\n: 1\n", "my.yaml:1: a key must be a word", id="list-as-key"),
    ],
)
def test_bad_key(text: str, line: str) -> None:
    assert error_lines(text) == [line]


@pytest.mark.parametrize(
    ("override", "line"),
    [
        pytest.param(
            "TRAIN.EPOCHS=3",
            "--set TRAIN.EPOCHS: unknown key (value '3'); did you mean 'TRAIN.EPOCH'?",
            id="typo",
        ),
        pytest.param(
            "train.lr=3",
            "--set train.lr: unknown key (value '3'); did you mean 'TRAIN.LR'?",
            id="small-letters",
        ),
        pytest.param(
            "NUM_TEMPLATES=2",
            "--set NUM_TEMPLATES: unknown key (value '2'); did you mean 'TEST.NUM_TEMPLATES'?",
            id="without-section",
        ),
        pytest.param(
            "TRAIN.LR.X=2",
            "--set TRAIN.LR.X: unknown key (value '2'); TRAIN.LR is a value, not a section",
            id="below-a-value",
        ),
        pytest.param(
            "TRAIN.LR",
            "--set TRAIN.LR: has no '='; write KEY=VALUE, such as --set TRAIN.LR=3e-4",
            id="no-equals",
        ),
        pytest.param(
            "=3",
            "--set: the key is incomplete; write KEY=VALUE, such as --set TRAIN.LR=3e-4",
            id="no-key",
        ),
        pytest.param(
            "TRAIN.=3",
            "--set TRAIN.: the key is incomplete; write KEY=VALUE, such as --set TRAIN.LR=3e-4",
            id="half-a-key",
        ),
        pytest.param("BASE=x", "--set BASE: BASE belongs in a file", id="base"),
        pytest.param(
            "TRAIN=5", "--set TRAIN: must be a section of KEY: value (value 5)", id="section"
        ),
        pytest.param(
            "TRAIN.SCHEDULER={DECAY_RATE: a}",
            "--set TRAIN.SCHEDULER: TRAIN.SCHEDULER.DECAY_RATE: must be a number (value 'a')",
            id="inside-a-given-section",
        ),
    ],
)
def test_bad_override(override: str, line: str) -> None:
    assert error_lines("TRAIN: {EPOCH: 3, SCHEDULER: {TYPE: step}}\n", override) == [line]


def test_everything_wrong_is_reported_at_once_in_the_order_of_the_lines() -> None:
    text = """\
MODEL:
  HIDDEN_DIM: 255
  ENCODR: {}
TRAIN:
  LR: fast
  LR: 1
DATA:
  SEARCH:
    SIZE: 100
  TRAIN:
    DATASETS_NAME: [LASOT]
"""
    lines = error_lines(text, "TEST.WINDOW=yes", "TEST.EPOCS=1")
    places = [line.split(": ")[:2] for line in lines]
    assert [place[0] for place in places] == [
        "--set TEST.EPOCS",
        "--set TEST.WINDOW",
        *(f"my.yaml:{i}" for i in (2, 3, 5, 6, 9, 11)),
    ]
    assert [place[1] for place in places[2:]] == [
        "MODEL.HIDDEN_DIM",
        "MODEL.ENCODR",
        "TRAIN.LR",
        "TRAIN.LR",
        "DATA.SEARCH.SIZE",
        "DATA.TRAIN.DATASETS_RATIO",
    ]


CUSTOM = "TYPE: custom, WIDTH: 48, DEPTH: 2, HEADS: 4, PATCH_SIZE: 8"


@pytest.mark.parametrize(
    ("text", "key", "message"),
    [
        pytest.param(
            "DATA: {TRAIN: {DATASETS_NAME: [LASOT]}}",
            "DATA.TRAIN.DATASETS_RATIO",
            "2 ratio(s) for 1 data set(s)",
            id="names-and-ratios",
        ),
        pytest.param(
            "DATA: {TRAIN: {DATASETS_RATIO: [0, 0]}}",
            "DATA.TRAIN.DATASETS_RATIO",
            "at least one ratio must be above 0",
            id="nothing-to-draw-from",
        ),
        pytest.param(
            "MODEL: {HIDDEN_DIM: 250}",
            "MODEL.HIDDEN_DIM",
            "must be divisible by MODEL.DECODER.NHEADS (8) (value 250)",
            id="decoder-heads",
        ),
        pytest.param(
            "MODEL: {DECODER: {NHEADS: 7}}",
            "MODEL.HIDDEN_DIM",
            "must be divisible by MODEL.DECODER.NHEADS (7)",
            id="decoder-heads-by-the-other-key",
        ),
        pytest.param(
            "MODEL: {ENCODER: {HEADS: 7}}",
            "MODEL.ENCODER.WIDTH",
            "768 cannot be shared equally by 7 heads",
            id="encoder-heads",
        ),
        pytest.param(
            "MODEL: {ENCODER: {TYPE: custom, WIDTH: 48}}",
            "MODEL.ENCODER.TYPE",
            "needs DEPTH, HEADS, PATCH_SIZE of MODEL.ENCODER as well (value 'custom')",
            id="custom-needs-all",
        ),
        pytest.param(
            "MODEL: {ENCODER: {TYPE: vit_large_patch16, PRETRAIN_TYPE: default}}",
            "MODEL.ENCODER.PRETRAIN_TYPE",
            "exists for TYPE vit_base_patch16 only",
            id="pretrain-default",
        ),
        pytest.param(
            "MODEL: {ENCODER: {TYPE: timm/vit_base_patch16_224}}",
            "MODEL.ENCODER.PRETRAIN_TYPE",
            "has nothing for timm/vit_base_patch16_224; use default (timm's) or scratch",
            id="pretrain-timm",
        ),
        pytest.param(
            "MODEL: {ENCODER: {TYPE: timm/vit_odd, PRETRAIN_TYPE: default}}",
            "MODEL.ENCODER.PATCH_SIZE",
            "must be given: TYPE does not tell it",
            id="timm-without-patch",
        ),
        pytest.param(
            "MODEL: {ENCODER: {TYPE: timm/vit_a_patch14, PRETRAIN_TYPE: default}}\n"
            "DATA: {SEARCH: {SIZE: 252}}",
            "DATA.TEMPLATE.SIZE",
            "multiple of the encoder's patch size (14)",
            id="timm-size-and-patch",
        ),
        pytest.param(
            "MODEL: {ENCODER: {TYPE: timm/vit_a_patch16, PRETRAIN_TYPE: default,"
            " TIED_QUERY_KEY: true}}",
            "MODEL.ENCODER.TIED_QUERY_KEY",
            "cannot be had with timm/vit_a_patch16; leave it out",
            id="timm-and-our-own",
        ),
        pytest.param(
            "TEST: {SEARCH_SIZE: 250}",
            "TEST.SEARCH_SIZE",
            "multiple of the encoder's patch size (16) (value 250)",
            id="size-and-patch",
        ),
        pytest.param(
            f"MODEL: {{ENCODER: {{{CUSTOM}}}}}\nDATA: {{TEMPLATE: {{SIZE: 60}}}}",
            "DATA.TEMPLATE.SIZE",
            "multiple of the encoder's patch size (8) (value 60)",
            id="size-and-own-patch",
        ),
        pytest.param(
            "MODEL: {CORRELATION: true, ENCODER: {PRETRAIN_TYPE: scratch}}",
            "MODEL.CORRELATION",
            "needs MODEL.ENCODER.STEM conv",
            id="correlation of what",
        ),
        pytest.param(
            "MODEL: {CENTRE_HINT: true, FEATURE_TYPE: token}",
            "MODEL.CENTRE_HINT",
            "needs FEATURE_TYPE x or xz",
            id="hint of nowhere",
        ),
        pytest.param(
            "MODEL: {CENTRE_HINT: true, HIDDEN_DIM: 258, DECODER: {NHEADS: 6}}",
            "MODEL.HIDDEN_DIM",
            "must be a multiple of 4 with CENTRE_HINT",
            id="hint of odd width",
        ),
        pytest.param(
            "MODEL: {ENCODER: {GRID_POSITIONS: true}}",
            "MODEL.ENCODER.PRETRAIN_TYPE",
            "must be scratch with MODEL.ENCODER.GRID_POSITIONS",
            id="grid under trained positions",
        ),
        pytest.param(
            "MODEL: {ENCODER: {TYPE: vit_huge_patch14, STEM: conv, PRETRAIN_TYPE: scratch}}\n"
            "DATA: {SEARCH: {SIZE: 224}, TEMPLATE: {SIZE: 224}}\n"
            "TEST: {SEARCH_SIZE: 224, TEMPLATE_SIZE: 224}",
            "MODEL.ENCODER.STEM",
            "conv needs MODEL.ENCODER.PATCH_SIZE 16",
            id="stem of another patch",
        ),
        pytest.param(
            "MODEL: {TEMPLATE_BOX: true}",
            "MODEL.ENCODER.PRETRAIN_TYPE",
            "must be scratch with MODEL.TEMPLATE_BOX",
            id="departure with pre-trained weights",
        ),
        pytest.param(
            "TRAIN: {ENCODER_MULTIPLIER: 0.0, ENCODER_OPEN: [norm]}",
            "TRAIN.ENCODER_OPEN",
            "would train at learning rate 0",
            id="open at learning rate 0",
        ),
        pytest.param(
            "DATA: {VAL: {DATASETS_NAME: [SYNTHETIC]}}",
            "DATA.VAL.DATASETS_RATIO",
            "give one ratio for each",
            id="validation set without ratio",
        ),
    ],
)
def test_broken_rule(text: str, key: str, message: str) -> None:
    (line,) = error_lines(text)
    assert line.startswith("my.yaml:")
    assert f": {key}: " in line
    assert message in line


def test_a_rule_is_silent_about_a_key_that_is_wrong_anyway() -> None:
    (line,) = error_lines("MODEL: {HIDDEN_DIM: wide, DECODER: {NHEADS: 7}}")
    assert "must be a whole number (value 'wide')" in line
    (line,) = error_lines("DATA: {TRAIN: {DATASETS_NAME: [A, B], DATASETS_RATIO: [1, x, 1]}}")
    assert "DATASETS_RATIO[1]: must be a number" in line


def test_rules_hold_without_the_loader_too() -> None:
    with pytest.raises(ValidationError, match=r"MODEL\.HIDDEN_DIM: must be divisible"):
        Config.model_validate({"MODEL": {"HIDDEN_DIM": 250}})


@pytest.mark.parametrize(
    ("encoder", "geometry"),
    [
        pytest.param("{}", Geometry(768, 12, 12, 16), id="base"),
        pytest.param("{TYPE: vit_large_patch16}", Geometry(1024, 24, 16, 16), id="large"),
        pytest.param("{TYPE: vit_huge_patch14}", Geometry(1280, 32, 16, 14), id="huge"),
        pytest.param(f"{{{CUSTOM}}}", Geometry(48, 2, 4, 8), id="custom"),
        pytest.param("{WIDTH: 96, DEPTH: 1}", Geometry(96, 1, 12, 16), id="shrunk-base"),
    ],
)
def test_encoder_geometry(encoder: str, geometry: Geometry) -> None:
    sizes = "SIZE: 224" if "huge" in encoder else "SIZE: 256"
    test = "{SEARCH_SIZE: 224, TEMPLATE_SIZE: 224}" if "huge" in encoder else "{}"
    data = f"DATA: {{SEARCH: {{{sizes}}}, TEMPLATE: {{{sizes}}}}}"
    cfg = load_text(f"MODEL: {{ENCODER: {encoder}}}\n{data}\nTEST: {test}\n")
    assert cfg.model.encoder.geometry == geometry
