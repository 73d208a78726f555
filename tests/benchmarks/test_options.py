"""benchmarks/options.py: every option trains and tracks, and what is done is not done again."""

import json

import pytest

from benchmarks import options
from lib.config.loader import load_config
from lib.utils.errors import ConfigError

SMALL = ["--steps", "2", "--batch", "2", "--sequences", "2", "--length", "8"]
TINY = ("MODEL.ENCODER.DEPTH=1", "MODEL.DECODER.DEC_LAYERS=1")
SETTINGS = [word for key in TINY for word in ("--set", key)]


def parsed(*words):
    import argparse

    return argparse.Namespace(steps=2, batch=2, set=[], **dict(words))


@pytest.mark.parametrize("name", options.VARIANTS)
def test_variants_are_sound_and_differ_from_the_base(name):
    cfg, base = (
        load_config(options.CONFIG, options.settings(one, parsed()), training=True)
        for one in (name, options.BASE)
    )
    assert (cfg == base) == (name == options.BASE)
    assert cfg.data == base.data, "all variants learn from the same samples"


def test_the_whole_of_it(tmp_path, capsys, monkeypatch):
    words = ["--out", str(tmp_path), *SMALL, *SETTINGS, "--only", "history"]
    assert options.main(words) == 0
    rows = capsys.readouterr().out.splitlines()
    assert [row.split()[0] for row in rows if row.split()[:1] in (["base"], ["history"])] == [
        "base",
        "history",
    ]
    assert "[" in next(row for row in rows if row.startswith("history"))
    known = json.loads((tmp_path / "history" / "scores.json").read_text())
    assert len(known["auc"]) == 2
    # All is there: nothing is trained or tracked.
    monkeypatch.setattr(options, "run", None)
    assert options.main(words) == 0
    with pytest.raises(ConfigError, match="other settings"):
        options.main([*words, "--set", "TRAIN.LR=0.1"])


def test_an_unknown_option_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="did you mean 'history'"):
        options.main(["--out", str(tmp_path), "--only", "histroy"])
