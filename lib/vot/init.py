"""Writes a workspace of the VOT toolkit, and fetches its sequences."""

import argparse
from pathlib import Path

from lib.config.paths import resolve_paths
from lib.utils.console import say
from lib.utils.errors import ConfigError, MissingExtraError, PartialFailure, counted
from lib.utils.files import atomic_write_text, check_writable, user_path
from lib.vot.entry import DEFAULT_TRACKERS, find_entry, serve_arguments
from lib.vot.sequences import LIST_FILE, read_names
from lib.vot.stacks import Stack, find_stack
from lib.vot.toolkit import Toolkit, find_toolkit, log_lines
from lib.vot.workspace import Workspace, make_section, open_workspace, write_workspace


def workspace_root(args: argparse.Namespace, stack: Stack) -> Path:
    """The folder of the workspace: every stack has its own, since results do not name it."""
    if args.workspace:
        return user_path(args.workspace, "--workspace").absolute()
    return resolve_paths(save_dir=args.save_dir).save_dir / "external" / stack.folder / "seqtrack"


def chosen_workspace(args: argparse.Namespace) -> Workspace:
    """The workspace that `--workspace` or `--stack` names.

    Raises:
        ConfigError: there is none yet, or no such stack.
    """
    if args.workspace:
        return open_workspace(user_path(args.workspace, "--workspace").absolute())
    return open_workspace(workspace_root(args, find_stack(args.stack)))


def init(args: argparse.Namespace) -> None:
    """Write the workspace, then download what is missing.

    Raises:
        SeqTrackError: wrong input; nothing was written.
        PartialFailure: the sequences could not be downloaded; the workspace is there.
    """
    stack = find_stack(args.stack, args.update_rule)
    root = workspace_root(args, stack)
    entries = [find_entry(name) for name in (args.trackers or DEFAULT_TRACKERS)]
    for option in ("checkpoint", "refiner_checkpoint"):
        if getattr(args, option) and len({entry.config for entry in entries}) != 1:
            raise ConfigError(
                f"--{option.replace('_', '-')} is of one model; name it with --trackers"
            )
    check_writable(root)
    sections = {}
    for entry in entries:
        words = serve_arguments(entry, root, stack, args)
        section = make_section(entry.label, words, root, args.cpu_threads)
        sections[entry.name] = section | {"restart": str(args.restart).lower()}
    workspace = write_workspace(root, stack, sections)
    say(f"workspace: {root}")
    say(f"stack {stack.name}, template update of {stack.update_key}")
    listed = len(workspace.trackers())
    part = "" if listed == len(sections) else f", {len(sections)} of them written now"
    say(f"{counted(listed, 'tracker')} in {workspace.ini_file.name}{part}")
    _fill(workspace, args.nodownload)


def _fill(workspace: Workspace, leave: bool) -> None:
    """Have the sequences, or say how they come there."""
    folder = workspace.sequences_dir
    if not read_names(folder) and workspace.stack.url and not leave:
        try:
            toolkit = find_toolkit()
        except MissingExtraError as error:
            raise PartialFailure(
                f"the sequences were not downloaded: {error}. The workspace is ready for them: "
                f"{workspace.how_to_fill()}"
            ) from None
        _download(workspace, toolkit)
    names = read_names(folder)
    if names:
        say(f"{counted(len(names), 'sequence')} in {folder}")
    else:
        say(f"no sequences yet: {workspace.how_to_fill()}")


def _download(workspace: Workspace, toolkit: Toolkit) -> None:
    """Let the toolkit download; what was there of an unfinished download is kept."""
    stack, log = workspace.stack, workspace.logs_dir / "toolkit-initialize.log"
    say(f"downloading the sequences of {stack.name} from {stack.url}; the log is {log}")
    name = str(workspace.root / stack.name) if stack.file else stack.name
    written = workspace.config_file.read_text(encoding="utf-8")
    # The toolkit downloads into a workspace that it has made itself: it is to make this one.
    workspace.config_file.unlink()
    try:
        toolkit.run(["initialize", name, "--workspace", str(workspace.root)], log, online=True)
    finally:
        atomic_write_text(workspace.config_file, written)
    if read_names(workspace.sequences_dir):
        return
    lines = [
        line for line in log_lines(log) if "HTTP" in line or "Failed" in line or "rror" in line
    ]
    reason = lines[-1] if lines else "the toolkit does not say why"
    if "Caused by" in reason:
        # Of errors wrapped into each other, the innermost says what happened.
        reason = reason.rpartition("): ")[2].rstrip('")')
    shortened = reason if len(reason) <= 160 else f"{reason[:159]}…"
    raise PartialFailure(
        f"the sequences of {stack.name} could not be downloaded from {stack.url} "
        f"({shortened}; all of it in {log}). The workspace is ready for them: run init "
        f"again with network, or put a folder per sequence below {workspace.sequences_dir} with "
        f"their names in {LIST_FILE}"
    )
