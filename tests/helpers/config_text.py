"""Configurations given as text, for the tests of the loader."""

from pathlib import Path

import pytest

from lib.config.loader import load_config
from lib.config.schema import Config
from lib.utils.errors import ConfigError


def load_text(text: str, *overrides: str) -> Config:
    """Writes `text` to `my.yaml` in the current folder and loads it."""
    Path("my.yaml").write_text(text, encoding="utf-8")
    return load_config("my.yaml", overrides)


def error_lines(text: str, *overrides: str) -> list[str]:
    """The lines of the error that loading `text` ends in."""
    with pytest.raises(ConfigError) as caught:
        load_text(text, *overrides)
    return str(caught.value).splitlines()
