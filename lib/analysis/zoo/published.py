"""The model zoo's columns, the numbers published for them, and those that servers gave.

Both are files of one form, a line per configuration and percent everywhere:

    seqtrack_b256: {lasot: 69.9, trackingnet: 83.3}
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from lib.config.paths import Paths
from lib.config.yaml_source import ConfigLayer, Finding, dotted, read_yaml, show_value
from lib.datasets.benchmarks.open import find_row
from lib.utils.errors import ConfigError, did_you_mean

Scores = Mapping[str, Mapping[str, float]]


class Origin(Enum):
    """Who computes the scores of a column."""

    HERE = "here"
    SERVER = "evaluation server"
    VOT = "VOT toolkit"


@dataclass(frozen=True)
class Column:
    """One column of the model zoo."""

    key: str  # the data set, or the experiment of VOT; the key in files of scores
    title: str  # as the table has it
    # Of the configurations that it is about: GOT-10k's are trained on GOT-10k alone
    suffix: str = ""

    @property
    def origin(self) -> Origin:
        row = find_row(self.key)
        if row is None:
            return Origin.VOT
        return Origin.SERVER if row.server else Origin.HERE


COLUMNS = (
    Column("lasot", "LaSOT AUC"),
    Column("lasot_extension_subset", "LaSOT-ext AUC"),
    Column("got10k_test", "GOT-10k AO", "_got"),
    Column("trackingnet", "TrackingNet AUC"),
    Column("vot2020_bbox", "VOT2020-bbox EAO"),
    Column("vot2020_mask", "VOT2020-mask EAO"),
    Column("tnl2k", "TNL2K AUC"),
    Column("nfs", "NFS AUC"),
    Column("uav", "UAV AUC"),
)
MODELS: Mapping[str, str] = {
    "SeqTrack-B256": "seqtrack_b256",
    "SeqTrack-B384": "seqtrack_b384",
    "SeqTrack-L256": "seqtrack_l256",
    "SeqTrack-L384": "seqtrack_l384",
}


def scores_file(paths: Paths) -> Path:
    """Where people type what evaluation servers gave them."""
    return paths.save_dir / "scores.yaml"


def published_scores() -> Scores:
    """Configuration to column to the published number in percent."""
    return read_scores(Path(__file__).with_name("published.yaml"))


def read_scores(path: Path) -> Scores:
    """A file of scores: configuration to column to percent.

    Raises:
        ConfigError: it cannot be read, or something in it is wrong; one line for each finding.
    """
    layer = read_yaml(path, str(path))
    findings = [*layer.findings, *_findings(layer)]
    if findings:
        raise ConfigError("\n".join(map(str, sorted(findings))))
    return {
        config: {column: float(value) for column, value in (row or {}).items()}
        for config, row in layer.values.items()
    }


def _findings(layer: ConfigLayer) -> list[Finding]:
    known = [config + suffix for config in MODELS.values() for suffix in ("", "_got")]
    findings = []
    for config, row in layer.values.items():
        if config not in known:
            findings.append(_finding(layer, (config,), _unknown("configuration", config, known)))
        elif not isinstance(row, dict | None):
            text = f"must be a mapping of column: percent (value {show_value(row)})"
            findings.append(_finding(layer, (config,), text))
        else:
            for column, value in (row or {}).items():
                if text := _problem(config, column, value):
                    findings.append(_finding(layer, (config, column), text))
    return findings


def _problem(config: str, key: str, value: Any) -> str:
    """In words, what is wrong with one score; empty if nothing is."""
    column = next((one for one in COLUMNS if one.key == key), None)
    if column is None:
        return _unknown("column", key, [one.key for one in COLUMNS])
    if config.endswith("_got") != (column.suffix == "_got"):
        twin = config.removesuffix("_got") + column.suffix
        return f"this column is about {twin}: write it there"
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not math.isfinite(value) or not 0 <= value <= 100:
        return f"must be a number of percent (value {show_value(value)})"
    if 0 < value <= 1:
        return f"must be in percent (value {show_value(value)}; write {100 * value:g})"
    return ""


def _unknown(what: str, word: str, known: list[str]) -> str:
    return f"unknown {what}{did_you_mean(word, known) or '; known: ' + ', '.join(known)}"


def _finding(layer: ConfigLayer, keys: tuple[str, ...], text: str) -> Finding:
    return Finding(layer.origins[keys], f"{dotted(keys)}: {text}")
