"""The parser of every command, and the options that several of them share."""

import argparse
import copy
import re
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NoReturn

from lib.utils.advice import advice, command, program
from lib.utils.errors import EXIT_BAD_INPUT, EXIT_CODES_HELP, did_you_mean

DEFAULT_TRACKER = "seqtrack"
# What every library takes for a number or a seed.
_LARGEST = 2**63 - 1
# More than any machine has cores; at some number above, systems end a program that starts them.
_MOST_THREADS = 1024


class Help(argparse.HelpFormatter):
    """Wraps paragraphs, leaves indented lines, the examples, as they are, and hides aliases."""

    def _format_action_invocation(self, action: argparse.Action) -> str:
        shown = copy.copy(action)
        shown.option_strings = [one for one in action.option_strings if one != "-h"][:1]
        return super()._format_action_invocation(shown)

    def add_argument(self, action: argparse.Action) -> None:
        """As argparse, which in some Pythons forgets that actions stand further in."""
        super().add_argument(action)
        for one in self._iter_indented_subactions(action):
            width = len(self._format_action_invocation(one)) + self._current_indent
            self._action_max_length = max(self._action_max_length, width)

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        wrap = super()._fill_text
        lines = (
            line if line.startswith("  ") else wrap(line, width, indent)
            for line in text.splitlines()
        )
        return "\n".join(lines)


class Several(argparse.Action):
    """An option that may be repeated, and of which one time can give several values.

    They are separated by commas, or follow as words of their own as long as `more` takes the
    next word for one, so that no word is swallowed that means something else.
    """

    def __init__(
        self, *args: Any, more: Callable[[str], bool], comma: bool = True, **settings: Any
    ) -> None:
        super().__init__(*args, **{**settings, "default": []})
        self.more, self.comma = more, comma

    def __call__(self, p, namespace, value, option_string=None) -> None:  # type: ignore[no-untyped-def]
        """Add one value."""
        setattr(namespace, self.dest, [*getattr(namespace, self.dest), value])


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, takes `--max_frames` for `--max-frames`, options anywhere.

    PyTracking's options are spelled with underscores, most others with dashes; nobody should
    have to remember which is which.
    """

    def __init__(self, *args: Any, examples: Sequence[str] = (), **settings: Any) -> None:
        super().__init__(*args, **{"formatter_class": Help, "allow_abbrev": False, **settings})
        self.examples = examples
        # Argparse takes `-5,10,30,30` for an option, as it is not a single number. Nothing of
        # ours is called by a digit.
        self._negative_number_matcher = re.compile(r"-\.?\d")

    def parse_known_args(self, args=None, namespace=None):  # type: ignore[no-untyped-def]
        """As argparse, after options and positional words were sorted."""
        words = sys.argv[1:] if args is None else args
        return super().parse_known_args([*self._sorted(words)], namespace)

    def _sorted(self, words: Sequence[str]) -> Iterator[str]:
        """Options as they are defined, one value each, then the other words."""
        known = {name.replace("_", "-"): name for name in self._option_string_actions}
        # The rest of the line belongs to a sub-command.
        handed_on = any(one.nargs in (argparse.REMAINDER, argparse.PARSER) for one in self._actions)
        others: list[str] = []
        rest = deque(words)
        while rest:
            word = rest.popleft()
            option, equals, value = word.partition("=")
            name = known.get(option.replace("_", "-")) if self._is_option(word) else None
            if name is not None:
                action = self._option_string_actions[name]
                yield from self._option(name, action, [value] if equals else [], rest)
            elif word != "--" and self._is_option(word):
                yield word
            else:
                others.append(word)
                if handed_on or word == "--":
                    break
        yield from others
        yield from rest

    def _is_option(self, word: str) -> bool:
        return len(word) > 1 and word[0] == "-" and not self._negative_number_matcher.match(word)

    def _option(
        self, name: str, action: argparse.Action, values: list[str], rest: deque[str]
    ) -> Iterator[str]:
        """An option with the words of `rest` that are its values, which are taken."""

        def take(more: Callable[[str], bool] = lambda word: True) -> bool:
            taken = bool(rest) and not self._is_option(rest[0]) and more(rest[0])
            if taken:
                values.append(rest.popleft())
            return taken

        if isinstance(action.nargs, int):
            while len(values) < action.nargs and take():
                pass
            yield from [name, *values]
            return
        if not values:
            # `--debug seqtrack` has no number.
            take(str.isdecimal if action.nargs == "?" and action.type else lambda word: True)
        if isinstance(action, Several):

            def parts(word: str) -> list[str]:
                return word.split(",") if action.comma else [word]

            while take(lambda word: all(map(action.more, parts(word)))):
                pass
            values[:] = [one for value in values for one in parts(value)]
        if action.nargs == "?" and not values:
            values.append(str(action.const))
        yield from [f"{name}={value}" for value in values] or [name]

    def error(self, message: str) -> NoReturn:
        """Leave with code 2 and one line."""
        _, _, words = message.partition("unrecognized arguments: ")
        unknown = next((word for word in words.split() if word.startswith("-")), "")
        known = set(self._option_string_actions)
        for action in self._actions:
            if isinstance(action, argparse._SubParsersAction):
                known |= {
                    name for one in action.choices.values() for name in one._option_string_actions
                }
        hint = did_you_mean(unknown.partition("=")[0], sorted(known))
        self.exit(EXIT_BAD_INPUT, f"error: {message}{hint if unknown else ''} (see --help)\n")


def parser(name: str, description: str, *examples: str) -> Parser:
    """A parser whose `--help` ends with examples and the exit codes.

    Args:
        name: of the command, as in `seqtrack NAME`.
        examples: its arguments, as they are typed behind its name.
    """
    text = _epilog(name, examples)
    return Parser(prog=program(name), description=description, epilog=text, examples=examples)


def action(
    actions: "argparse._SubParsersAction[Parser]", name: str, what: str, *examples: str
) -> Parser:
    """The parser of `seqtrack COMMAND ACTION`; `name` is both words."""
    return actions.add_parser(
        name.split()[1],
        help=what,
        description=f"{what[0].upper()}{what[1:]}.",
        epilog=_epilog(name, examples),
        examples=examples,
    )


def _epilog(name: str, examples: Sequence[str]) -> str:
    first, *action = name.split()
    lines = [f"  {command(first, *action)} {words}".rstrip() for words in examples]
    return "\n".join(["examples:", *lines, "", EXIT_CODES_HELP] if lines else [EXIT_CODES_HELP])


def add_roots(p: Parser, data: bool = True, save: bool = True) -> None:
    """`--data-dir` and `--save-dir`, of every command that reads data or writes results."""
    add = p.add_argument_group("folders").add_argument
    if data:
        add("--data-dir", metavar="DIR", help="folder that holds the folders of the data sets")
    if save:
        text = "folder that holds checkpoints, test (raw results), logs and tensorboard"
        add("--save-dir", metavar="DIR", help=text)


def add_config(p: argparse._ActionsContainer, **settings: Any) -> None:
    """`--config NAME` of the commands that take one configuration of SeqTrack."""
    text = "configuration: a name in experiments/, or the path of a YAML file"
    p.add_argument("--config", metavar="NAME", **{"required": True, "help": text, **settings})


def add_overrides(p: argparse._ActionsContainer) -> None:
    """`--set KEY=VALUE …`, settings that go before those of the configuration."""
    p.add_argument(
        "--set",
        action=Several,
        more=lambda word: "=" in word,
        comma=False,
        metavar="KEY=VALUE",
        dest="overrides",
        help="change a setting of the configuration, such as TEST.WINDOW=false; may be repeated",
    )


def add_checkpoint(p: argparse._ActionsContainer) -> None:
    """`--checkpoint FILE` of the commands that need weights."""
    p.add_argument(
        "--checkpoint",
        metavar="FILE",
        help="weights (default: those of the configuration, below checkpoints/); 'random' takes "
        "untrained ones, to try things out",
    )


def add_device(p: argparse._ActionsContainer) -> None:
    """`--device` of the commands that run a network."""
    p.add_argument(
        "--device",
        default="auto",
        metavar="NAME",
        help="what computes: cpu, mps, cuda or cuda:N (default: auto, a GPU if there is one)",
    )


def add_cpu_threads(p: argparse._ActionsContainer) -> None:
    """`--cpu-threads N` of the commands that run a network."""
    p.add_argument(
        "--cpu-threads",
        type=thread_count,
        metavar="N",
        help="threads that each process computes with on a CPU (default: all cores, few for a "
        "small network)",
    )


def add_datasets(p: argparse._ActionsContainer) -> None:
    """`--dataset NAME …` of the commands that take several data sets in turn."""
    p.add_argument(
        "--dataset",
        "--dataset-name",
        action=Several,
        more=_is_data_set,
        metavar="NAME",
        help=f"data set: a name ({advice('data', 'list')} shows all), or a folder of sequences; "
        "several are taken in turn",
    )


def add_dataset(p: argparse._ActionsContainer, **settings: Any) -> None:
    """`--dataset NAME` of the commands that take one data set."""
    text = f"data set: a name ({advice('data', 'list')} shows all), or a folder of sequences"
    p.add_argument("--dataset", "--dataset-name", metavar="NAME", **{"help": text, **settings})


def add_configs(p: argparse._ActionsContainer, text: str) -> None:
    """`--config NAME …`; a list of them ends at the name of a tracker."""
    p.add_argument("--config", action=Several, more=_is_no_tracker, metavar="NAME", help=text)


# Imported when a list goes on: the help of a command has no need of them.
def _is_data_set(word: str) -> bool:
    from lib.datasets.benchmarks.open import find_row, looks_like_path

    return find_row(word) is not None or looks_like_path(word)


def _is_no_tracker(word: str) -> bool:
    from lib.tracker.registry import trackers

    return word not in trackers()


def add_run_ids(p: argparse._ActionsContainer, several: str) -> None:
    """`--runid N …`; `several` says what happens to more than one."""
    p.add_argument(
        "--runid",
        action=Several,
        more=str.isdecimal,
        type=count,
        metavar="N",
        help=f"take the results of <config>_00N, which `test --runid N` writes; {several}",
    )


def add_one_config(p: argparse._ActionsContainer, **settings: Any) -> None:
    """What names a configuration of SeqTrack where there has to be one."""
    add_config(p, **settings)
    add_overrides(p)
    # Users of other trackers of this family type `--script seqtrack`.
    p.add_argument("--script", type=_only_seqtrack, help=argparse.SUPPRESS)


def _only_seqtrack(text: str) -> str:
    if text != DEFAULT_TRACKER:
        raise argparse.ArgumentTypeError(f"there is only seqtrack here, no {text!r}; leave it out")
    return text


def count(text: str) -> int:
    """An argument that is a whole number from 0 on."""
    if not (text.isascii() and text.isdecimal()):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0 on")
    if int(text) > _LARGEST:
        raise argparse.ArgumentTypeError(f"{text!r} is larger than {_LARGEST}")
    return int(text)


def positive(text: str) -> int:
    """An argument that is a whole number from 1 on."""
    if not (text.isascii() and text.isdecimal() and text.strip("0")):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above zero")
    return count(text)


def thread_count(text: str) -> int:
    """An argument that is a number of threads."""
    if positive(text) > _MOST_THREADS:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of threads, 1 to {_MOST_THREADS}")
    return int(text)
