"""From the words of a command line to a `TrackerSpec`; shared by the commands that track."""

from collections.abc import Sequence

from lib.commands._options import DEFAULT_TRACKER
from lib.config.loader import list_configs
from lib.datasets.sequence import Dataset
from lib.tracker.registry import trackers
from lib.utils.errors import ConfigError, DataError, did_you_mean


def named_trackers(words: Sequence[str], configs: Sequence[str]) -> list[tuple[str, str]]:
    """Tracker and configuration of everything that is named, each once.

    Args:
        words: `TRACKER NAME`, `TRACKER/NAME` or a configuration; a tracker alone is that of
            `configs`.
        configs: values of `--config`: `TRACKER/NAME`, or a configuration of seqtrack.

    Raises:
        ConfigError: a tracker is named without a configuration.
    """
    named, rest, tracker = [], list(words), DEFAULT_TRACKER
    while rest:
        word = rest.pop(0)
        if _is_config(word) or "/" in word:
            named.append(_split(word, DEFAULT_TRACKER))
        elif rest:
            named.append((word, rest.pop(0)))
        elif configs:
            tracker = word
        else:
            hint = did_you_mean(word, [*list_configs(), *trackers()])
            raise ConfigError(
                f"{word!r} alone names no configuration{hint}; write "
                f"TRACKER/CONFIGURATION, such as {DEFAULT_TRACKER}/seqtrack_b256 or "
                "static_box/default"
            )
    return list(dict.fromkeys([*named, *(_split(config, tracker) for config in configs)]))


def _is_config(word: str) -> bool:
    return word.endswith((".yaml", ".yml")) or word in list_configs()


def _split(word: str, tracker: str) -> tuple[str, str]:
    """`TRACKER/NAME` in two; anything else is a configuration of `tracker`."""
    before, slash, after = word.partition("/")
    is_pair = slash and before not in ("", ".", "..", "~") and after and "/" not in after
    return (before, after) if is_pair and not _is_config(word) else (tracker, word)


def find_sequence(dataset: Dataset, wanted: str) -> str:
    """The sequence of that name, or of that number from 0. Raises DataError: there is none."""
    names = dataset.sequence_names
    if wanted in names or not (wanted.isascii() and wanted.isdecimal()):
        return wanted
    if int(wanted) >= len(names):
        raise DataError(
            f"sequence {wanted} does not exist: {dataset.name!r} has {len(names)} sequences, "
            f"0 to {len(names) - 1}"
        )
    return names[int(wanted)]
