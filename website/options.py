"""Every command and option, read from the parsers: a page of tables, and data for the form."""

import argparse
import importlib
import json
from collections.abc import Iterator
from typing import Any

from lib import cli
from lib.commands._options import Parser, Several
from lib.commands.data import ELSEWHERE

# Processes that other programs start, and groups of pages that have their own command.
LEFT_OUT = {("vot", "serve")}


def parsers() -> Iterator[tuple[str, Parser]]:
    """What is typed after `seqtrack`, and its parser: all commands and their actions."""
    for name, (module, _) in cli.COMMANDS.items():
        parser = importlib.import_module(module).build_parser()
        actions = [a for a in parser._actions if isinstance(a, argparse._SubParsersAction)]
        if not actions:
            yield name, parser
        for word, one in (pair for action in actions for pair in action.choices.items()):
            if (name, word) not in LEFT_OUT and not (name == "data" and word in ELSEWHERE):
                yield f"{name} {word}", one
    for word, (module, _) in ELSEWHERE.items():
        yield f"data {word}", importlib.import_module(module).build_parser()


def shown(group: argparse._ArgumentGroup) -> list[argparse.Action]:
    """The options of a group that the help shows, without `--help` itself."""
    return [
        one
        for one in group._group_actions
        if one.help != argparse.SUPPRESS and "--help" not in one.option_strings
    ]


def title(group: argparse._ArgumentGroup) -> str:
    """What a group of options is called; argparse has a name for words without a dash."""
    return "given" if group.title == "positional arguments" else str(group.title)


def spelled(option: argparse.Action) -> str:
    """An option and its value, `--config NAME`, or the word of a positional argument."""
    value = option.metavar or ("|".join(map(str, option.choices)) if option.choices else None)
    if isinstance(value, tuple):
        value = " ".join(value)
    if not option.option_strings:
        return str(value or option.dest)
    takes = option.nargs != 0
    return (
        f"{option.option_strings[0]} {value or option.dest.upper()}"
        if takes
        else (option.option_strings[0])
    )


def meaning(parser: Parser, option: argparse.Action) -> str:
    """The help of an option with its default filled in."""
    return parser._get_formatter()._expand_help(option)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")


def tables() -> str:
    """The page of commands and options, in Markdown."""
    lines: list[str] = []
    for name, parser in parsers():
        lines += ["", f"## seqtrack {name}", "", _cell(parser.description or ""), ""]
        for group in parser._action_groups:
            if not (options := shown(group)):
                continue
            lines += [f"| {title(group)} | meaning |", "|---|---|"]
            for option in options:
                others = [f"`{one}`" for one in option.option_strings[1:] if one.startswith("--")]
                also = f" (also {', '.join(others)})" if others else ""
                lines.append(
                    f"| `{_cell(spelled(option))}` | {_cell(meaning(parser, option))}{also} |"
                )
            lines.append("")
        if parser.examples:
            lines += ["```bash", *(f"seqtrack {name} {one}" for one in parser.examples), "```"]
    return "\n".join(lines).strip() + "\n"


def _described(parser: Parser, option: argparse.Action, group: str) -> dict[str, Any]:
    positional = not option.option_strings
    return {
        "name": "" if positional else option.option_strings[0],
        "label": spelled(option),
        "help": meaning(parser, option),
        "group": group,
        "flag": option.nargs == 0,
        "choices": [str(one) for one in option.choices or ()],
        "several": isinstance(option, Several | argparse._AppendAction)
        or option.nargs in ("*", "+", argparse.REMAINDER),
        "words": option.nargs if isinstance(option.nargs, int) else 1,
        "required": option.required and option.nargs != "*",
    }


def form() -> str:
    """The same for the form: JSON, a command with its options and examples each."""
    commands = [
        {
            "name": name,
            "what": parser.description,
            "options": [
                _described(parser, option, title(group))
                for group in parser._action_groups
                for option in shown(group)
            ],
            "examples": list(parser.examples),
        }
        for name, parser in parsers()
    ]
    # `</script>` in a help text must not end the element that holds this.
    return json.dumps(commands, ensure_ascii=False).replace("<", "\\u003c")
