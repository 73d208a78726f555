"""The folder in which the VOT toolkit works, and the two files of it that we write.

<workspace>/config.yaml      the stack, and where the trackers are listed
<workspace>/trackers.ini     how each tracker is started: a section per tracker
<workspace>/sequences/       the data: a folder per sequence, and list.txt
<workspace>/results/         raw results, by the toolkit
<workspace>/logs/            by the toolkit, and a log of every tracker process
<workspace>/scores.json      by `vot.py score`, read by the model zoo
"""

import ast
import configparser
import io
import os
import re
import shlex
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

import lib
from lib.config.paths import resolve_paths
from lib.utils.advice import advice
from lib.utils.errors import ConfigError, DataError, did_you_mean
from lib.utils.files import atomic_write_text
from lib.vot.results import has_results
from lib.vot.sequences import LIST_FILE, VotSequence, found_names, read_names
from lib.vot.stacks import DEFAULT_STACK, STACKS, Stack, find_stack

CODE_ROOT = Path(lib.__file__).resolve().parents[1]
# Seconds that the toolkit waits for one answer; a mask on a CPU takes more than a second.
TIMEOUT = 180
_NOTE = "# Written by `seqtrack vot init`, which replaces it.\n"
_INI_NOTE = (
    "# Written by `seqtrack vot init`, which replaces the sections named and leaves others.\n"
)
_CALL = re.compile(r"run\('lib\.commands\.vot', (\[.*\])\)")


@dataclass(frozen=True)
class Workspace:
    """A workspace of the toolkit."""

    root: Path  # its folder
    stack: Stack  # what is run in it

    def advice(self, action: str, *words: str) -> str:
        """A command for this workspace, in backticks."""
        chosen = _chosen_by(self.root)
        if action == "init" and self.stack.name != DEFAULT_STACK and "--stack" not in chosen:
            chosen = ["--stack", str(self.stack.file or self.stack.name), *chosen]
        return advice("vot", action, *words, *chosen)

    @property
    def config_file(self) -> Path:
        return self.root / "config.yaml"

    @property
    def ini_file(self) -> Path:
        return self.root / "trackers.ini"

    @property
    def sequences_dir(self) -> Path:
        return self.root / "sequences"

    @property
    def logs_dir(self) -> Path:
        return self.root / "logs"

    @property
    def scores_file(self) -> Path:
        return self.root / "scores.json"

    def results_dir(self, tracker: str) -> Path:
        return self.root / "results" / tracker

    def trackers(self) -> dict[str, dict[str, str]]:
        """The sections of `trackers.ini` by name.

        Raises:
            ConfigError: it is missing or malformed.
        """
        parser = _parser()
        try:
            text = self.ini_file.read_text(encoding="utf-8")
            parser.read_string(text)
        except FileNotFoundError:
            raise ConfigError(
                f"{self.ini_file}: not found; {self.advice('init')} writes it"
            ) from None
        except (OSError, UnicodeDecodeError, configparser.Error) as error:
            reason = " ".join(str(error).split())
            raise ConfigError(f"{self.ini_file}: cannot be read ({reason})") from error
        return {name: dict(parser[name]) for name in parser.sections()}

    def choose(self, names: Iterable[str]) -> dict[str, dict[str, str]]:
        """The sections of some trackers, of all for no names.

        Raises:
            ConfigError: a tracker has no section, or there are none at all.
        """
        known = self.trackers()
        if not known:
            raise ConfigError(
                f"{self.ini_file}: lists no trackers; {self.advice('init')} writes them"
            )
        for name in names:
            if name not in known:
                hint = did_you_mean(name, known) or f"; there are {', '.join(known)}"
                raise ConfigError(
                    f"{self.ini_file}: no tracker {name!r}{hint}; "
                    f"{self.advice('init', name)} adds it"
                )
        return {name: known[name] for name in (names or known)}

    def sequences(self) -> list[VotSequence]:
        """The data; a missing `list.txt` is written if all of the stack's sequences are there.

        Raises:
            DataError: there are no sequences, or only some of those of the stack.
        """
        folder = self.sequences_dir
        names = read_names(folder)
        if not names:
            names = found_names(folder)
            needed = self.stack.sequences or len(names)
            if not names:
                raise DataError(f"{folder}: no sequences; {self.how_to_fill()}")
            if len(names) != needed:
                raise DataError(
                    f"{folder}: {len(names)} of the {needed} sequences of {self.stack.name} and no "
                    f"{LIST_FILE}, so the download was not finished: {self.advice('init')} goes "
                    f"on with it. To use just these, write their names to {folder / LIST_FILE}"
                )
            atomic_write_text(folder / LIST_FILE, "".join(f"{name}\n" for name in names))
        for name in names:
            if not (folder / name).is_dir():
                raise DataError(
                    f"{folder / name}: not found, but {folder / LIST_FILE} names it; "
                    f"{self.how_to_fill()}"
                )
        return [VotSequence(folder / name) for name in names]

    def how_to_fill(self) -> str:
        """In words, how sequences come into the workspace."""
        by_hand = (
            f"put a folder per sequence below {self.sequences_dir} with their names in {LIST_FILE}"
        )
        if not self.stack.url:
            return by_hand
        return f"{self.advice('init')} downloads them from {self.stack.url}, or {by_hand}"


def _chosen_by(root: Path) -> list[str]:
    """The words of a command line that choose a workspace; none for that of the default stack."""
    for stack in STACKS.values():
        if root == resolve_paths().save_dir / "external" / stack.folder / "seqtrack":
            return [] if stack.name == DEFAULT_STACK else ["--stack", stack.name]
    return ["--workspace", str(root)]


def open_workspace(root: Path) -> Workspace:
    """A workspace that `init` has written.

    Raises:
        ConfigError: it is none, or its stack does not exist.
    """
    path = root / "config.yaml"
    init = advice("vot", "init", *_chosen_by(root))
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(
            f"{root}: no workspace of the VOT toolkit (no config.yaml); {init} makes one"
        ) from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{path}: cannot be read ({str(error).splitlines()[0]})") from error
    name = content.get("stack") if isinstance(content, dict) else None
    if not isinstance(name, str):
        raise ConfigError(f"{path}: names no stack; {init} writes the file")
    if name not in STACKS and name.endswith((".yaml", ".yml")):
        name = str(root / name)
    try:
        return Workspace(root, find_stack(name))
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


def write_workspace(
    root: Path, stack: Stack, sections: Mapping[str, Mapping[str, str]]
) -> Workspace:
    """Write the two files; sections of other trackers stay.

    Raises:
        ConfigError: the folder holds results on another stack.
        OSError: the folder cannot be written.
    """
    workspace = Workspace(root, stack)
    _check_same_stack(workspace)
    for folder in (workspace.sequences_dir, root / "results", workspace.logs_dir):
        folder.mkdir(parents=True, exist_ok=True)
    if stack.file is not None and stack.file.resolve() != (root / stack.name).resolve():
        atomic_write_text(root / stack.name, stack.file.read_text(encoding="utf-8"))
    config = {"registry": ["./trackers.ini"], "stack": stack.name}
    atomic_write_text(workspace.config_file, _NOTE + yaml.safe_dump(config))
    kept = workspace.trackers() if workspace.ini_file.is_file() else {}
    parser = _parser()
    parser.read_dict({**kept, **sections})
    text = io.StringIO()
    parser.write(text)
    atomic_write_text(workspace.ini_file, _INI_NOTE + text.getvalue())
    return workspace


def _check_same_stack(workspace: Workspace) -> None:
    """Results do not say which stack they are of, so a workspace keeps its own."""
    results = workspace.root / "results"
    if not results.is_dir() or not any(has_results(one) for one in results.iterdir()):
        return
    there, new = open_workspace(workspace.root).stack, workspace.stack
    if there.name == new.name and (there.experiments, there.url) == (new.experiments, new.url):
        return
    raise ConfigError(
        f"{workspace.root}: holds results on stack {there.name}, which is not {new.name} as given "
        "now; another --workspace keeps them apart"
    )


def make_section(label: str, arguments: list[str], root: Path, threads: int) -> dict[str, str]:
    """A section of `trackers.ini`.

    Args:
        label: name of the tracker, for reports.
        arguments: of `vot.py`, from `serve` on.
        root: the folder of `trackers.ini`.
        threads: CPU threads of the tracker.
    """
    inside = root.resolve().is_relative_to(CODE_ROOT)
    section = {
        "label": label,
        "protocol": "traxpython",
        "command": "from lib.commands.entry import run; "
        f"raise SystemExit(run('lib.commands.vot', {arguments!r}))",
        "paths": os.path.relpath(CODE_ROOT, root.resolve()) if inside else str(CODE_ROOT),
        "python": shlex.quote(sys.executable),
        "timeout": str(TIMEOUT),
        "restart": "false",
        "env_OMP_NUM_THREADS": str(threads),
    }
    # The toolkit's reader takes a percent sign for the start of a reference.
    return {key: value.replace("%", "%%") for key, value in section.items()}


def arguments_of(section: Mapping[str, str]) -> list[str] | None:
    """The arguments of `vot.py serve` in a section; None for a tracker that is not ours."""
    found = _CALL.search(section.get("command", "").replace("%%", "%"))
    if found is None:
        return None
    try:
        words = ast.literal_eval(found[1])
    except (SyntaxError, ValueError):
        return None
    return words[1:] if words[:1] == ["serve"] else None


def _parser() -> configparser.RawConfigParser:
    parser = configparser.RawConfigParser()
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    return parser
