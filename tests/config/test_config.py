"""Configuration files: reading, BASE, overrides, names, and what a loaded value is."""

import logging
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_origin

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from lib.config import loader
from lib.config.loader import dump_config, list_configs, load_config
from lib.config.messages import all_keys
from lib.config.schema import Config, Section
from lib.config.yaml_source import read_yaml, write_yaml
from lib.utils.errors import ConfigError
from tests.helpers.config_text import error_lines, load_text


@pytest.fixture(autouse=True)
def in_a_fresh_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("content", "line"),
    [
        pytest.param(b"", "my.yaml: the file is empty", id="empty"),
        pytest.param(b"# only a comment\n", "my.yaml: the file is empty", id="comment-only"),
        pytest.param(b"\n- a\n", "my.yaml:2: the file must hold a mapping", id="list"),
        pytest.param(b"5\n", "my.yaml:1: the file must hold a mapping", id="number"),
        pytest.param(b"A:\n  B: [1\n", "my.yaml:3: not valid YAML: while parsing", id="bracket"),
        pytest.param(b"A: B: C\n", "my.yaml:1: not valid YAML", id="colons"),
        pytest.param(b"A:\n\tB: 1\n", "indent with spaces, not tabs", id="tab"),
        pytest.param(b"A: {}\n---\nB: {}\n", "expected a single document", id="two-documents"),
        pytest.param(b"A: *x\n", "my.yaml:1: not valid YAML: found undefined alias", id="alias"),
        pytest.param(b"\xff\xfe\x00\x01", "my.yaml: cannot be read: it is not UTF-8", id="binary"),
        pytest.param(b"A: \x00\n", "my.yaml: not valid YAML: unacceptable character", id="nul"),
        pytest.param(b"[" * 3000, "my.yaml: nested too deeply", id="deep"),
    ],
)
def test_unreadable_file_ends_in_one_line(
    content: bytes, line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("my.yaml").write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        load_config("my.yaml")
    assert line in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_value_that_contains_itself_is_refused() -> None:
    assert any("nested more than" in line for line in error_lines("TRAIN: &a [*a]\n"))


def test_anchors_work() -> None:
    cfg = load_text("DATA: {SEARCH: &s {SIZE: 128}, TEMPLATE: *s}\n")
    assert (cfg.data.search.size, cfg.data.template.size) == (128, 128)


OLD_FILE = """\
DATA:
  LOADER: tracking
  MAX_SAMPLE_INTERVAL: 400
  MEAN:
  - 0.485
  - 0.456
  - 0.406
  SEARCH: {CENTER_JITTER: 3.5, FACTOR: 4.0, SCALE_JITTER: 0.5, SIZE: 256, NUMBER: 1}
  TEMPLATE: {CENTER_JITTER: 0, FACTOR: 4.0, SCALE_JITTER: 0, SIZE: 256, NUMBER: 2}
  TRAIN:
    DATASETS_NAME:
    - LASOT
    - COCO17
    DATASETS_RATIO:
    - 1
    - 1
    SAMPLE_PER_EPOCH: 60000
MODEL:
  ENCODER: {TYPE: vit_base_patch16, DROP_PATH: 0, STRIDE: 16, USE_CHECKPOINT: False}
TRAIN:
  LR: 0.0001
  ENCODER_OPEN: []
  SCHEDULER:
    TYPE: step
    DECAY_RATE: 0.2
TEST:
  EPOCH: 300
  WINDOW: true
  UPDATE_INTERVALS:
    VOT20: 1
"""


def test_an_old_file_loads_unchanged_and_warns_of_keys_without_effect(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.WARNING):
        cfg = load_text(OLD_FILE)
    assert cfg.train.scheduler.decay_rate == 0.2
    assert cfg.data.train.datasets_name == ("LASOT", "COCO17")
    warnings = [record.getMessage() for record in caplog.records]
    assert [warning.split(": ")[:3] for warning in warnings] == [
        ["my.yaml:19", "MODEL.ENCODER.STRIDE", "has no effect"],
        ["my.yaml:27", "TEST.EPOCH", "has no effect"],
    ]


def test_update_tables_merge_over_the_defaults_and_fall_back() -> None:
    cfg = load_text(
        "TEST: {UPDATE_INTERVALS: {VOT20: 1, MY_SET2: 7}, UPDATE_THRESHOLD: {OTB: 2}}\n"
    )
    assert cfg.test.update_interval_for("VOT20") == 1
    assert cfg.test.update_interval_for("MY_SET2") == 7
    assert cfg.test.update_interval_for("LASOT") == 450
    assert cfg.test.update_interval_for("GOT10K_VAL") == 9999
    assert cfg.test.update_threshold_for("OTB") == 2.0
    assert cfg.test.update_threshold_for("VOT22") == 0.475
    assert cfg.test.update_threshold_for("LASOT") == 0.6
    assert dict(load_text("TEST: {UPDATE_INTERVALS: }\n").test.update_intervals) == dict(
        Config().test.update_intervals
    )


def test_base_is_inherited_key_by_key_and_lists_as_a_whole() -> None:
    Path("sub").mkdir()
    Path("sub/low.yaml").write_text(
        "TRAIN: {LR: 1, EPOCH: 7, ENCODER_OPEN: [a, b]}\n", encoding="utf-8"
    )
    Path("mid.yaml").write_text("BASE: sub/low\nTRAIN: {LR: 2}\nDATA:\n", encoding="utf-8")
    cfg = load_text(
        "BASE: mid.yaml\nTRAIN:\n  ENCODER_OPEN: [c]\n",
        "TRAIN.EPOCH=9",
        "TEST.UPDATE_INTERVALS.A=1",
    )
    assert (cfg.train.lr, cfg.train.epoch, cfg.train.encoder_open) == (2.0, 9, ("c",))
    assert cfg.test.update_interval_for("A") == 1
    assert cfg.name == "my"


def test_base_may_be_a_configuration_name() -> None:
    cfg = load_text("BASE: seqtrack_l384\nTRAIN: {LR: 1}\n")
    assert cfg.model == load_config("seqtrack_l384").model
    assert cfg.train.lr == 1.0


def test_an_error_in_a_base_names_the_base() -> None:
    Path("low.yaml").write_text("TRAIN:\n  LR: fast\n  EPOCH: 0\n", encoding="utf-8")
    assert error_lines("BASE: low.yaml\nTRAIN:\n  EPOCH: -1\n") == [
        "low.yaml:2: TRAIN.LR: must be a number (value 'fast')",
        "my.yaml:3: TRAIN.EPOCH: must be at least 1 (value -1)",
    ]


@pytest.mark.parametrize(
    ("base", "message"),
    [
        pytest.param("my", "inherit in a circle: my.yaml -> my.yaml", id="itself"),
        pytest.param("a.yaml", "circle: a.yaml -> b.yaml -> a.yaml", id="two-files"),
        pytest.param("[a, b]", "must be the name or path of one configuration", id="list"),
        pytest.param("seqtrack_b265", "did you mean 'seqtrack_b256'?", id="unknown-name"),
        pytest.param("sub/none.yaml", "no configuration file 'sub/none.yaml'", id="no-file"),
    ],
)
def test_bad_base(base: str, message: str) -> None:
    Path("a.yaml").write_text("BASE: b.yaml\n", encoding="utf-8")
    Path("b.yaml").write_text("BASE: a.yaml\n", encoding="utf-8")
    (line,) = error_lines(f"TRAIN:\nBASE: {base}\n")
    assert message in line
    assert line.startswith("b.yaml:1: BASE: " if base == "a.yaml" else "my.yaml:2: BASE: ")


def test_overrides_win_in_their_order() -> None:
    cfg = load_text("TRAIN: {LR: 1, EPOCH: 5}\n", "TRAIN.LR=2", "TRAIN={LR: 3}", "TRAIN.LR = 3e-4")
    assert (cfg.train.lr, cfg.train.epoch) == (3e-4, 5)


def test_name_path_and_suffix_all_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    by_name = load_config("seqtrack_b256")
    assert load_config("seqtrack_b256.yaml") == by_name
    load_text("TRAIN: {LR: 1}\n")
    for spelling in ("my.yaml", "./my", f"{tmp_path}/my.yaml", f"{tmp_path}/my"):
        cfg = load_config(spelling)
        assert (cfg.name, cfg.train.lr) == ("my", 1.0)
    assert load_config(tmp_path / "my.yaml").name == "my"
    monkeypatch.setenv("HOME", str(tmp_path))
    assert load_config("~/my.yaml").name == "my"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        pytest.param("seqtrack_b265", "unknown configuration 'seqtrack_b265'; did you", id="name"),
        pytest.param("seqtrack_b265.yaml", "did you mean 'seqtrack_b256'?", id="with-suffix"),
        pytest.param("./nowhere/x.yaml", "no configuration file './nowhere/x.yaml'", id="path"),
        pytest.param("..", "unknown configuration '..'", id="folder"),
        pytest.param("", "unknown configuration ''", id="nothing"),
        pytest.param("a\nb", "unknown configuration 'a\\nb'", id="newline"),
    ],
)
def test_unknown_configuration_lists_the_names(name: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(name)
    assert message in str(caught.value)
    assert "seqtrack_l384_got" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_names_are_found_in_any_folder_but_never_guessed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("seqtrack/a", "mine/b", "mine/a", "mine/c", "yours/c"):
        path = tmp_path / f"{name}.yaml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"TRAIN: {{EPOCH: {len(name)}}}\n", encoding="utf-8")
    monkeypatch.setattr(loader, "experiments_dir", lambda: tmp_path)
    assert list_configs() == ["a", "b", "c"]
    assert load_config("a").train.epoch == len("seqtrack/a")
    assert load_config("b").train.epoch == len("mine/b")
    with pytest.raises(ConfigError, match="in several places"):
        load_config("c")


def test_a_configuration_cannot_be_changed() -> None:
    cfg = load_config("seqtrack_b256")
    with pytest.raises(ValidationError):
        cfg.train.lr = 1.0  # type: ignore[misc]
    with pytest.raises(ValidationError):
        cfg.train = cfg.train  # type: ignore[misc]
    with pytest.raises(TypeError):
        cfg.test.update_intervals["LASOT"] = 1  # type: ignore[index]


def test_two_configurations_do_not_touch_each_other() -> None:
    before = load_config("seqtrack_b256")
    load_config("seqtrack_l384", ["TEST.UPDATE_INTERVALS.LASOT=1", "TRAIN.LR=1"])
    assert load_config("seqtrack_b256") == before
    assert Config().test.update_interval_for("LASOT") == 450


def test_the_name_is_part_of_a_configuration_and_travels_with_it() -> None:
    cfg = load_config("seqtrack_b256")
    assert pickle.loads(pickle.dumps(cfg)) == cfg
    assert cfg.named("other") != cfg
    assert cfg.named("other").named(cfg.name) == cfg


def sections(model: type[BaseModel] = Config) -> Iterator[type[BaseModel]]:
    yield model
    for field in model.model_fields.values():
        kind = field.annotation
        # Python 3.10 takes list[int] for a type, and then issubclass() refuses it.
        if get_origin(kind) is None and isinstance(kind, type) and issubclass(kind, Section):
            yield from sections(kind)


def test_every_key_is_documented() -> None:
    undocumented = [
        f"{section.__name__}.{name}"
        for section in sections()
        for name, field in section.model_fields.items()
        if not field.description
    ]
    assert not undocumented
    assert len(list(all_keys())) > 50


@pytest.mark.parametrize("name", list_configs())
def test_a_dump_loads_back_equal(
    name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cfg = load_config(name)
    path = tmp_path / f"{name}.yaml"
    path.write_text(dump_config(cfg), encoding="utf-8")
    assert load_config(path) == cfg
    assert not caplog.records
    assert yaml.safe_load(dump_config(cfg))["TRAIN"]["BATCH_SIZE"] == cfg.train.batch_size


def test_a_dump_keeps_odd_values(tmp_path: Path) -> None:
    cfg = load_text(
        "TRAIN: {LR: 1e-20, ENCODER_OPEN: ['1e-4', 'on', 'null', '0x10', 'a: b', '2026-01-01']}\n",
        "MODEL.ENCODER.STRIDE=14",
        "TEST.EPOCH=3",
    )
    path = tmp_path / "again" / "my.yaml"
    path.parent.mkdir()
    path.write_text(dump_config(cfg), encoding="utf-8")
    assert load_config(path) == cfg


scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False),
    st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")), max_size=12),
    st.from_regex(r"[-+0-9.eE_x:]{1,8}", fullmatch=True),
)
keys = st.from_regex(r"[A-Z][A-Z0-9_]{0,6}", fullmatch=True)


@given(values=st.dictionaries(keys, st.one_of(scalars, st.lists(scalars, max_size=3)), min_size=1))
def test_what_is_written_is_read_back(
    values: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "written.yaml"
    path.write_text(write_yaml(values), encoding="utf-8")
    assert read_yaml(path, "written.yaml").values == values


CROPS = "DATA: {SEARCH: {SIZE: 192, FACTOR: 5.0}, TEMPLATE: {SIZE: 128, FACTOR: 2.5}}\n"


def crops(cfg: Config) -> tuple[float, ...]:
    test = cfg.test
    return (test.search_size, test.search_factor, test.template_size, test.template_factor)


def test_crops_of_the_tracker_follow_those_of_the_training() -> None:
    assert crops(load_text(CROPS)) == (192, 5.0, 128, 2.5)
    assert crops(load_text(CROPS + "TEST: {SEARCH_FACTOR: 4.5}\n")) == (192, 4.5, 128, 2.5)
    assert crops(Config()) == (256, 4.0, 256, 4.0)
    cfg = load_text(CROPS)
    assert load_text(dump_config(cfg)) == cfg
    assert error_lines("DATA: {SEARCH: {SIZE: 200}}\n") == [
        "my.yaml:1: DATA.SEARCH.SIZE: must be a multiple of the encoder's patch size (16) "
        "(value 200)"
    ]


@pytest.mark.parametrize(
    ("name", "key"), [("SEARCH_SIZE", "SEARCH"), ("TEMPLATE_SIZE", "TEMPLATE")]
)
def test_sizes_that_no_tracker_could_use_are_not_trained(name: str, key: str) -> None:
    overrides = [f"DATA.{key}.SIZE=192", f"TEST.{name}=128"]
    assert load_config("seqtrack_b256", overrides)  # to look at it is fine
    with pytest.raises(ConfigError) as caught:
        load_config("seqtrack_b256", overrides, training=True)
    text = str(caught.value)
    assert text.startswith(f"--set TEST.{name}: must be 192, the DATA.{key}.SIZE that")
    assert "(value 128)" in text and "\n" not in text


@pytest.mark.parametrize("training", [False, True])
def test_factors_that_differ_are_warned_of(
    training: bool, caplog: pytest.LogCaptureFixture
) -> None:
    overrides = ["DATA.SEARCH.FACTOR=5", "TEST.SEARCH_FACTOR=4.0"]
    load_config("seqtrack_b256", overrides, training=training)
    (record,) = caplog.records
    assert record.getMessage() == (
        "--set TEST.SEARCH_FACTOR: is not DATA.SEARCH.FACTOR (5), which the network is trained "
        "with (value 4.0)"
    )
    caplog.clear()
    cfg = load_config("seqtrack_b256", overrides[:1], training=training)
    assert cfg.test.search_factor == 5 and not caplog.records


def test_shipped_configurations_can_be_trained_without_a_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    for name in list_configs():
        load_config(name, training=True)
    assert not caplog.records
