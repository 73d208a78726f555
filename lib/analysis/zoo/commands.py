"""The commands that fill an empty cell of the model zoo's table."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lib.analysis.zoo.published import scores_file
from lib.config.paths import Paths
from lib.datasets.benchmarks.open import find_row

# What `pack_submission.py` calls them.
_SERVERS = {"got10k_test": "got10k", "trackingnet": "trackingnet"}


@dataclass(frozen=True)
class Remedies:
    """Says what to do, with the folders that the user works in.

    Attributes:
        paths: the trees, to see which weights are there.
        data_dir: the option as it was given, or None.
        save_dir: the option as it was given, or None.
    """

    paths: Paths
    data_dir: str | None = None
    save_dir: str | None = None

    def track(
        self, config: str, data_set: str, runids: Sequence[int] = (), anew: bool = False
    ) -> str:
        """Make raw results, a command for each run; goes on where it stopped, unless `anew`."""
        command = f"python tracking/test.py --config {config} --dataset {data_set}"
        command += " --overwrite" if anew else ""
        runs = [f" --runid {runid}" for runid in runids] or [""]
        return self._weights(config) + " && ".join(
            command + run + self._options(data=True) for run in runs
        )

    def separate(self, config: str, data_set: str, runids: Sequence[int]) -> str:
        """Choose one of several runs that were not made alike, or make them alike."""
        command = f"python tracking/analysis_results.py --config {config} --dataset {data_set}"
        options = self._options(data=True)
        return (
            f"{command} --runid {runids[-1]}{options}; then keep the runs that belong together and "
            "move the others out of the tree"
        )

    def fetch(self, config: str, data_set: str) -> str:
        """Get raw results that others made whole again, or make our own beside them."""
        command = f"python scripts/download_checkpoints.py --raw-results --force {config}"
        return (
            f"{command}{self._options(data=False)}; or, for a run beside these results: "
            f"{self.track(config, data_set, [1])}"
        )

    def check(self, data_set: str) -> str:
        """Find out what a data set lacks."""
        root = f" --data_dir {shlex.quote(self.data_dir)}" if self.data_dir else ""
        return f"python tracking/data.py check {data_set}{root}"

    def submit(self, config: str, data_set: str, tracked: bool) -> str:
        """Have an evaluation server score what is or will be tracked."""
        server, row = _SERVERS[data_set], find_row(data_set)
        page = row.homepage if row else "its server"
        first = "" if tracked else f"{self.track(config, data_set)} && "
        pack = f"python scripts/pack_submission.py {server} --config {config}"
        return (
            f"{first}{pack}{self._options(data=True)}; then submit the zip at {page} and write "
            f"the score to {scores_file(self.paths)}: `{config}: {{{data_set}: 70.0}}`"
        )

    def vote(self, tracker: str, config: str, column: str, file: Path) -> str:
        """Have VOT's toolkit run the tracker, then read the EAO off its results."""
        masks = self._mask_weights() if tracker != config else ""
        options = self._options(data=False)
        steps = [
            f"python tracking/vot.py {action}{options}"
            for action in (f"init --trackers {tracker}", f"run {tracker}", f"score {tracker}")
        ]
        return (
            f"{self._weights(config)}{masks}{' && '.join(steps)}; then it is in {file}. Or write "
            f"it to {scores_file(self.paths)}: `{config}: {{{column}: 30.0}}`"
        )

    def _weights(self, config: str) -> str:
        """The command that fetches the weights, where there are none."""
        folders = self.paths.checkpoint_dirs(config)
        if any(found for folder in folders for found in folder.glob("SEQTRACK*.pth.tar")):
            return ""
        return f"python scripts/download_checkpoints.py {config}{self._options(data=False)} && "

    def _mask_weights(self) -> str:
        """The command that fetches those of Alpha-Refine, where there are none."""
        if any(found for one in self.paths.alpha_refine_dirs for found in one.glob("*.pth.tar")):
            return ""
        command = "python scripts/download_checkpoints.py alpha_refine"
        return f"{command}{self._options(data=False)} && "

    def _options(self, data: bool) -> str:
        given = [("--data_dir", self.data_dir)] if data else []
        given.append(("--save_dir", self.save_dir))
        return "".join(f" {name} {shlex.quote(value)}" for name, value in given if value)
