"""Experiment stacks: what is run on which data, and where the measure is read off.

A stack is a file of the VOT toolkit, known there by a name, or one of our own. Results do not
say which stack they are of, so every stack has a workspace of its own.
Source: the stack files of vot-toolkit 0.7.4; VOT2020 challenge report, section 3.
"""

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lib.config.yaml_source import read_yaml
from lib.utils.errors import ConfigError, did_you_mean
from lib.utils.files import user_path

DEFAULT_STACK = "vot2020/shortterm"
UPDATE_KEYS = ("VOT20", "VOT21", "VOT22")


@dataclass(frozen=True)
class Experiment:
    """One experiment of a stack."""

    name: str  # its folder below the tracker's results
    multistart: bool  # whether there is a run from every anchor, else one per sequence
    # (low, high), frames between which the EAO curve is averaged; None without EAO
    limits: tuple[int, int] | None = None


@dataclass(frozen=True)
class Stack:
    """A stack and its workspace."""

    name: str  # the toolkit's name, or the name of a file in the workspace
    folder: str  # its folder below `external`
    update_key: str  # of the template update rule in TEST.UPDATE_INTERVALS
    experiments: tuple[Experiment, ...]  # in the order of the stack
    url: str = ""  # where the toolkit fetches the sequences; empty if it does not
    sequences: int | None = None  # how many there are; None if unknown
    file: Path | None = None  # of a stack of our own

    def chosen(self, names: Sequence[str]) -> list[Experiment]:
        """The experiments of those names, all for none.

        Raises:
            ConfigError: there is no such experiment.
        """
        known = {one.name: one for one in self.experiments}
        for name in names:
            if name not in known:
                hint = did_you_mean(name, known) or f"; there are {', '.join(known)}"
                raise ConfigError(f"stack {self.name} has no experiment {name!r}{hint}")
        return [known[name] for name in names or known]


_LIMITS = (115, 755)
_EXPERIMENTS = (
    Experiment("baseline", multistart=True, limits=_LIMITS),
    Experiment("realtime", multistart=True, limits=_LIMITS),
    Experiment("unsupervised", multistart=False),
)
EXPERIMENT_NAMES = frozenset(one.name for one in _EXPERIMENTS)


def _official(name: str, folder: str, update_key: str, path: str, sequences: int) -> Stack:
    url = f"https://data.votchallenge.net/{path}/description.json"
    return Stack(name, folder, update_key, _EXPERIMENTS, url, sequences)


STACKS: Mapping[str, Stack] = {
    stack.name: stack
    for stack in (
        _official("vot2020/shortterm", "vot20", "VOT20", "vot2020/shortterm", 60),
        _official("vot2021/shortterm", "vot21", "VOT21", "vot2021/shortterm", 60),
        _official("vot2022/shortterm", "vot22_sts", "VOT22", "vot2022/sts", 50),
        _official("vot2022/shorttermbox", "vot22_stb", "VOT22", "vot2022/stb", 50),
    )
}


# What else the toolkit has, and why it is not here.
_NOT_OURS = (
    (
        r"vot20\d\d/longterm",
        "long-term tracking, where a tracker has to say that the target is gone",
    ),
    (
        r"vots20\d\d(/\w+)?|tests/multiobject",
        "several targets at once; the toolkit itself runs our trackers there, a target at a time "
        "(external/vot20/README.md, DiDi and VOTS)",
    ),
    (r"vot20\d\d/(rgbd|depth)", "images with depth"),
    (r"vot20\d\d/(rgbtir|tir)", "thermal images"),
    (r"vot201[3-9](/(rgb|shortterm))?", "starting anew after each failure, as before VOT2020"),
    (
        r"otb(50|100)",
        "OTB by the toolkit's measures; `seqtrack test --dataset otb` tracks all of it",
    ),
)


def find_stack(name: str, update_key: str | None = None) -> Stack:
    """The stack of that name, or in the file of that path.

    Args:
        name: one of `STACKS`, or a path that ends in `.yaml`.
        update_key: one of `UPDATE_KEYS`, for a file; VOT20 by default.

    Raises:
        ConfigError: there is no such stack, or the file is none.
    """
    known = STACKS.get(name.lower())
    if known is not None:
        if update_key not in (None, known.update_key):
            raise ConfigError(
                f"--update-rule {update_key} contradicts stack {known.name}, which is "
                f"{known.update_key}; leave it out"
            )
        return known
    if name.endswith((".yaml", ".yml")):
        return read_stack(user_path(name, "--stack"), update_key or UPDATE_KEYS[0])
    choice = f"choose of {', '.join(STACKS)}, or give the path of a stack file (.yaml)"
    for pattern, what in _NOT_OURS:
        if re.fullmatch(pattern, name.lower()):
            raise ConfigError(f"stack {name!r} is not supported: {what}; {choice}")
    if name.lower() == "vot2020":
        hint = "; the toolkit calls it 'vot2020/shortterm' since its version 0.6"
    else:
        # Another number is another challenge, and so is another word: only slips are corrected.
        digits = re.findall(r"\d", name)
        these = [one for one in STACKS if re.findall(r"\d", one) == digits]
        near = difflib.get_close_matches(name.lower(), these, n=1, cutoff=0.9)
        hint = f"; did you mean {near[0]!r}?" if near else ""
    raise ConfigError(f"there is no stack {name!r}{hint}; {choice}")


def read_stack(path: Path, update_key: str) -> Stack:
    """A stack of our own, in the toolkit's format.

    Raises:
        ConfigError: it is not there, or names something that cannot be scored.
    """
    if not path.exists():
        raise ConfigError(
            f"there is no stack file {path}; the toolkit's own are {', '.join(STACKS)}"
        )
    layer = read_yaml(path, str(path))
    if layer.findings:
        raise ConfigError(str(layer.findings[0]))
    content = layer.values
    experiments = content.get("experiments")
    if not isinstance(experiments, dict) or not experiments:
        raise ConfigError(f"{path}: has no mapping `experiments`, as a stack of the toolkit has")
    return Stack(
        name=path.name,
        folder=f"vot_{path.stem}",
        update_key=update_key,
        experiments=tuple(_experiment(path, *item) for item in experiments.items()),
        url=str(content.get("dataset") or ""),
        file=path,
    )


def _experiment(path: Path, name: str, content: Any) -> Experiment:
    what = f"{path}: experiment {name!r:.60}"
    if name in (".", "..") or not re.fullmatch(r"[\w.-]+", name):
        raise ConfigError(f"{what}: its name is the name of a folder; use letters and digits")
    content = content if isinstance(content, dict) else {}
    kind = content.get("type")
    if kind == "unsupervised":
        if content.get("repetitions", 1) != 1:
            raise ConfigError(f"{what}: repetitions must be 1; our trackers repeat themselves")
        return Experiment(name, multistart=False)
    # A class of one's own for the experiment is known by its last name.
    if not isinstance(kind, str) or kind.rpartition(".")[2].lower() != "multistart":
        raise ConfigError(f"{what}: type {kind!r:.60} is neither multistart nor unsupervised")
    limits = None
    analyses = content.get("analyses")
    for one in analyses if isinstance(analyses, list) else []:
        if isinstance(one, dict) and one.get("type") == "multistart_eao_score":
            low, high = one.get("low"), one.get("high")
            if not (isinstance(low, int) and isinstance(high, int) and 0 < low < high):
                raise ConfigError(f"{what}: low {low!r}, high {high!r}; 0 < low < high is needed")
            limits = (low, high)
    return Experiment(name, multistart=True, limits=limits)
