"""What `seqtrack data` says of a data set, and the paths.yaml that it writes."""

import json
from collections.abc import Sequence
from pathlib import Path

from lib.analysis.conventions import KINDS, default_convention
from lib.config.loader import list_configs, load_config
from lib.config.paths import repository_root
from lib.config.schema import Config
from lib.datasets.benchmarks.layout import Row
from lib.datasets.benchmarks.open import TRAINING_CATALOG, DatasetLocation, all_rows
from lib.datasets.sequence_files import packaged_list, packaged_names
from lib.datasets.training.listing import TrainingRow
from lib.utils.advice import command

_WIDTH = 16


def benchmark_facts(row: Row, place: DatasetLocation | None) -> str:
    """Several lines about a benchmark; `place` is where it is looked for."""
    facts = [
        ("paper", row.paper or "-"),
        ("from", row.homepage or "made by this program"),
        ("protocol", f"{row.protocol}; {row.rule}"),
        ("scored", _scored(row)),
        ("split", _split(row)),
        ("place", _where(place)),
        *[("looked for", text) for text in _layouts(row)],
        ("results", f"…/{row.results_folder}/<sequence>.txt"),
        *[("known", f"{name}: {text}") for name, text in row.remarks],
        *[("known", f"{name}: frame {number} is broken") for name, number in row.broken_frames],
    ]
    if row.aliases:
        facts.insert(0, ("also called", ", ".join(row.aliases)))
    siblings = [one.name for one in TRAINING_CATALOG if one.folder == row.folder]
    configs = _shipped()
    facts += _trained_by(siblings, configs)
    facts += _update_intervals(row.name.upper(), configs)
    return _lines(row.name, facts)


def training_facts(row: TrainingRow, place: DatasetLocation | None) -> str:
    """Several lines about a training set; `place` is where it is looked for."""
    names = len(packaged_names(row.split)) if row.split else None
    counted = f"{names} sequences: {row.split}, which ships" if names else "count not known"
    looked_for = [text for text in (row.files.images, row.files.annotation) if text]
    return _lines(
        row.name,
        [
            ("annotation", row.format),
            ("split", counted),
            ("place", _where(place)),
            *([("looked for", " and ".join(looked_for))] if looked_for else []),
            *_trained_by([row.name], _shipped()),
        ],
    )


def number_of_sequences(row: Row) -> int | None:
    """How many sequences a benchmark has, as its list or its paper says."""
    if row.split.endswith(".csv"):
        return len(packaged_list(row.split).splitlines()) - 1
    return len(packaged_names(row.split)) if row.split else row.sequences


def paths_file(data_dir: str | None, save_dir: str | None) -> str:
    """Text of a paths.yaml with every data set to fill in; what is empty changes nothing."""
    root = repository_root()
    folders: dict[str, list[str]] = {}
    for row in all_rows():
        if row.folder:
            folders.setdefault(row.folder, []).append(row.name)
    lines = [
        "# Where data lies and outputs go. Fill in what differs; what is empty changes nothing.",
        "# The options --data-dir and --save-dir win over this file, and so does the environment",
        "# (SEQTRACK_DATA, SEQTRACK_SAVE, SEQTRACK_DATA_LASOT and so on). Relative paths start in",
        "# the folder of this file.",
        "",
        f"# The folder that holds a folder for each data set; {root / 'data'} by default.",
        f"data_dir:{_value(data_dir)}",
        "",
        f"# Root of checkpoints, results and logs; {root} by default.",
        f"save_dir:{_value(save_dir)}",
        "",
        "# Data sets that lie elsewhere: the folder, or a zip file, of each.",
        "datasets:",
    ]
    width = max(map(len, folders)) + 1
    for folder, names in folders.items():
        lines.append(f"  {(folder + ':').ljust(width)}  # {', '.join(names)}")
    return "\n".join(lines) + "\n"


def _value(path: str | None) -> str:
    # A JSON string is one in YAML, too, whatever is in it.
    return f" {json.dumps(str(Path(path).absolute()), ensure_ascii=False)}" if path else ""


def _lines(name: str, facts: Sequence[tuple[str, str]]) -> str:
    lines = [name]
    before = ""
    for word, text in facts:
        lines.append(f"  {(word if word != before else '').ljust(_WIDTH)}{text}")
        before = word
    return "\n".join(lines)


def _scored(row: Row) -> str:
    if row.protocol not in KINDS:
        return f"by the benchmark's server only; {command('submit')} makes the file for it"
    return f"here, by convention {default_convention(row.protocol)} unless another is asked for"


def _split(row: Row) -> str:
    number = number_of_sequences(row)
    counted = "count not known" if number is None else f"{number} sequences"
    if row.frames:
        counted += f", {row.frames} frames"
    if row.split:
        return f"{counted}: {row.split}, which ships"
    if not row.folder:
        return f"{counted}: made when they are read"
    listed = f"its own {row.list_file}" if row.list_file else f"what lies in {row.listing}"
    return f"{counted}; the names are those of {listed}"


def _layouts(row: Row) -> list[str]:
    return [
        f"{layout.files.images} and {layout.files.annotation}"
        + (f", every {layout.every}th frame" if layout.every > 1 else "")
        for layout in row.layouts
    ]


def _where(place: DatasetLocation | None) -> str:
    if place is None:
        return "nowhere: it is made when it is read"
    there = place.root.exists() or Path(f"{place.root}.zip").is_file()
    return f"{place.root} ({'is there' if there else 'is not there'})"


def _shipped() -> list[Config]:
    return [load_config(name) for name in list_configs()]


def _trained_by(names: Sequence[str], configs: Sequence[Config]) -> list[tuple[str, str]]:
    """For each training set, which shipped configurations train or validate on it."""
    facts = []
    for name in names:
        for word, sets in (("trained on by", "train"), ("validated on by", "val")):
            using = [
                config.name
                for config in configs
                if name in getattr(config.data, sets).datasets_name
            ]
            facts += [(word, f"{', '.join(using)} (as {name})")] if using else []
    return facts or [("trained on by", "no shipped configuration")]


def _update_intervals(key: str, configs: Sequence[Config]) -> list[tuple[str, str]]:
    """For each interval between template updates, which shipped configurations use it."""
    by_interval: dict[int, list[str]] = {}
    for config in configs:
        if config.test.num_templates > 1:
            by_interval.setdefault(config.test.update_interval_for(key), []).append(config.name)
    return [
        ("template update", f"every {interval} frames: {', '.join(configs)}")
        for interval, configs in sorted(by_interval.items())
    ]
