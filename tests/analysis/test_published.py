"""The published numbers that ship, and files of scores that people type."""

import re
from pathlib import Path

import pytest

from lib.analysis.zoo.published import (
    COLUMNS,
    MODELS,
    published_scores,
    read_scores,
)
from lib.models.weights import PUBLISHED_CONFIGS
from lib.utils.errors import ConfigError
from tests.helpers.dataset_files import write_text

ROOT = Path(__file__).parents[2]


def test_shipped_numbers_are_those_of_the_document() -> None:
    text = (ROOT / "MODEL_ZOO.md").read_text(encoding="utf-8")
    lines = re.findall(r"^\| (?:model \| LaSOT|SeqTrack).*$", text, re.MULTILINE)
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert cells[0] == ["model", *(column.title for column in COLUMNS)]
    shown = {row[0]: row[1:] for row in cells[1:5]}
    published = published_scores()
    assert shown == {
        model: [f"{published[config + one.suffix][one.key]:.1f}" for one in COLUMNS]
        for model, config in MODELS.items()
    }


def test_every_published_configuration_has_numbers() -> None:
    published = published_scores()
    assert set(published) == set(PUBLISHED_CONFIGS)
    assert published["seqtrack_b256"]["lasot"] == 69.9
    assert published["seqtrack_b256_got"] == {"got10k_test": 74.7}


def test_typed_scores(tmp_path: Path) -> None:
    path = tmp_path / "scores.yaml"
    write_text(path, "seqtrack_b256_got:\n  got10k_test: 74.2\nseqtrack_l384: {trackingnet: 85}\n")
    assert read_scores(path) == {
        "seqtrack_b256_got": {"got10k_test": 74.2},
        "seqtrack_l384": {"trackingnet": 85.0},
    }


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        pytest.param("seqtrack_b265: {lasot: 1.5}\n", 1, "did you mean 'seqtrack_b256'", id="name"),
        pytest.param("\nzz: {lasot: 2}\n", 2, "known: seqtrack_b256, seq", id="far name"),
        pytest.param("seqtrack_b256:\n  lasott: 70\n", 2, "did you mean 'lasot'", id="column"),
        pytest.param(
            "seqtrack_b256:\n  got10k_test: 70\n", 2, "is about seqtrack_b256_got", id="twin"
        ),
        pytest.param(
            "seqtrack_b256_got:\n  lasot: 70\n", 2, "is about seqtrack_b256: ", id="no twin"
        ),
        pytest.param("seqtrack_b256:\n  lasot: 0.699\n", 2, "write 69.9", id="a fraction"),
        pytest.param("seqtrack_b256:\n  lasot: 101\n", 2, "number of percent", id="too large"),
        pytest.param("seqtrack_b256:\n  lasot: -1\n", 2, "number of percent", id="negative"),
        pytest.param("seqtrack_b256:\n  lasot: .nan\n", 2, "number of percent", id="not a number"),
        pytest.param("seqtrack_b256:\n  lasot: yes\n", 2, "number of percent", id="a word"),
        pytest.param("seqtrack_b256:\n  lasot: true\n", 2, "number of percent", id="a boolean"),
        pytest.param("seqtrack_b256: 69.9\n", 1, "mapping of column: percent", id="no column"),
    ],
)
def test_wrong_scores_name_the_line(tmp_path: Path, text: str, line: int, message: str) -> None:
    path = tmp_path / "scores.yaml"
    write_text(path, text)
    with pytest.raises(ConfigError) as caught:
        read_scores(path)
    found = [one for one in str(caught.value).splitlines() if message in one]
    assert found and found[0].startswith(f"{path}:{line}: ")
