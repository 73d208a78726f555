"""Where the raw results lie that somebody names, and what to do where they are not there."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lib.analysis.compare import TrackerResults
from lib.config.paths import Paths
from lib.datasets.benchmarks.open import find_row
from lib.datasets.sequence import Dataset
from lib.results.find import results_below
from lib.utils.advice import command
from lib.utils.errors import ConfigError, ResultsError, did_you_mean
from lib.utils.files import user_path

DEFAULT_TRACKER = "seqtrack"


@dataclass(frozen=True)
class OwnResults:
    """Results in our tree, by tracker and configuration."""

    tracker: str
    config: str

    @classmethod
    def named(cls, tracker: str, config: str) -> "OwnResults":
        """Raises ConfigError: this cannot be a name of results."""
        if config.endswith((".yaml", ".yml")):
            return cls(tracker, Path(config).stem)
        if "/" in config or {".", "..", ""} & {tracker, config}:
            raise ConfigError(
                f"--config {config!r} names no results; write a configuration, "
                "TRACKER/CONFIGURATION such as static_box/default, or --results NAME=FOLDER"
            )
        return cls(tracker, config)

    def locate(self, dataset: Dataset, look: "WhereToLook") -> TrackerResults:
        """Raises ResultsError: they are not there; what makes them is in the message."""
        ids: list[int | None] = [*dict.fromkeys(look.runids)] or [None]
        where = (self.tracker, self.config, dataset.results_folder)
        folders = [look.paths.dataset_results_dir(*where, runid) for runid in ids]
        run = folders[0].parent.name if len(ids) == 1 else f"{self.config} ({len(ids)} runs)"
        is_seqtrack = self.tracker == DEFAULT_TRACKER
        label = run if is_seqtrack else f"{self.tracker}/{run}"
        for folder, runid in zip(folders, ids, strict=True):
            if not folder.is_dir():
                what = label if len(ids) == 1 else f"run {runid} of {self.config}"
                raise ResultsError(
                    f"{folder}: no results of {what} on {dataset.name}"
                    f"{self._advice(folder, runid, look)}"
                )
        numbers = tuple(runid for runid in ids if runid is not None)
        config = self.config if is_seqtrack else ""
        return TrackerResults(label, folders[0], tuple(folders[1:]), config, numbers)

    def _advice(self, folder: Path, runid: int | None, look: "WhereToLook") -> str:
        """What may have been meant by results that are not in `folder`, or how to make them."""
        trackers = folder.parents[2]
        if (trackers / self.config).is_dir() and self.tracker == DEFAULT_TRACKER:
            inner = _subfolders(trackers / self.config)
            names = ", ".join(f"{self.config}/{name}" for name in inner)
            return f"; {self.config} is a tracker, write {names}"
        plain = folder.parent.with_name(self.config) / folder.name
        if runid is not None and plain.is_dir():
            return (
                f"; there are results of {self.config} without --runid"
                f" (beside runs of others: --results {self.config}={plain})"
            )
        runs = " ".join(map(str, _runs_beside(plain)))
        if runs and runid is None:
            return f"; there are runs of it: --runid {runs}"
        if not (runs or folder.parent.is_dir()) and (
            hint := did_you_mean(self.config, _subfolders(folder.parents[1]))
        ):
            return hint
        there = f"; there are --runid {runs}" if runs else ""
        given = {"--dataset": look.typed, "--runid": runid, **look.folders}
        options = [word for pair in given.items() if pair[1] is not None for word in pair]
        line = command("test", self.tracker, self.config, *options)
        return f"{there}; make them with `{line}`, or give the folder above `test` as --save-dir"


@dataclass(frozen=True)
class OtherResults:
    """Results of any tracker in a folder that the user named."""

    label: str
    folder: Path

    @classmethod
    def parse(cls, text: str) -> "OtherResults":
        """`NAME=FOLDER`. Raises ConfigError: it is something else."""
        label, equals, folder = text.partition("=")
        if not (label.strip() and equals and folder) or not label.isprintable():
            raise ConfigError(f"--results {text!r}: write NAME=FOLDER, such as OSTrack=raw/ostrack")
        return cls(label.strip(), user_path(folder, "--results"))

    def locate(self, dataset: Dataset, look: "WhereToLook") -> TrackerResults:
        """Raises ResultsError: there are none of this data set."""
        row = find_row(dataset.name)
        names = (row.folder, *row.aliases) if row else ()
        folder = results_below(self.folder, dataset, names)
        return TrackerResults(self.label, folder, config=self.label)


@dataclass(frozen=True)
class WhereToLook:
    paths: Paths
    typed: str  # the data set, as it was given
    runids: Sequence[int] = ()  # without, the results without a number
    folders: Mapping[str, str | None] = field(default_factory=dict)  # the options that name them


def locate_all(
    named: Sequence[OwnResults | OtherResults], dataset: Dataset, look: WhereToLook
) -> list[TrackerResults]:
    """The results of all trackers on a data set.

    Raises:
        ResultsError: there are no results of one of them.
        ConfigError: two would be called the same.
    """
    found = [one.locate(dataset, look) for one in named]
    labels = [one.label for one in found]
    for label in labels:
        if labels.count(label) > 1:
            raise ConfigError(
                f"two results are called {label!r}; name one otherwise, as in --results mine=FOLDER"
            )
    return found


def _runs_beside(plain: Path) -> list[int]:
    """Numbers of the runs that left results beside `plain`, where those without a number lie."""
    config, dataset = plain.parent.name, plain.name
    found = (
        re.fullmatch(rf"{re.escape(config)}_(\d{{3,}})", n) for n in _subfolders(plain.parents[1])
    )
    return [int(m[1]) for m in found if m and (plain.parents[1] / m[0] / dataset).is_dir()]


def _subfolders(folder: Path) -> list[str]:
    return sorted(one.name for one in folder.iterdir()) if folder.is_dir() else []
