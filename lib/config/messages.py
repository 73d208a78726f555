"""pydantic's findings in words that name the value, what would be right, and a likely typo."""

import re
from collections.abc import Iterator, Mapping
from typing import get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from lib.config.schema import Config
from lib.config.yaml_source import KeyPath, dotted, show_value
from lib.utils.errors import did_you_mean

_WORDS = {
    "float_type": "must be a number",
    "finite_number": "must be a finite number",
    "int_type": "must be a whole number",
    "bool_type": "must be true or false",
    "string_type": "must be text",
    "string_too_short": "must not be empty",
    "string_pattern_mismatch": "must be a data set's name in capitals",
    "tuple_type": "must be a list, such as [a, b]",
    "missing": "has too few entries",
    "too_short": "must have at least {min_length} entry",
    "too_long": "must have at most {max_length} entries",
    "model_type": "must be a section of KEY: value",
    "dict_type": "must be a section of KEY: value",
    "mapping_type": "must be a section of KEY: value",
    "greater_than": "must be above {gt:g}",
    "greater_than_equal": "must be at least {ge:g}",
    "less_than": "must be below {lt:g}",
    "less_than_equal": "must be at most {le:g}",
    "value_error": "{error}",
}


def all_keys(model: type[BaseModel] = Config) -> Iterator[tuple[tuple[str, ...], FieldInfo]]:
    """Path and definition of every key that holds a value, not a section: `TRAIN`, `LR`."""
    for field in model.model_fields.values():
        name = str(field.alias)
        section = _section_of(field)
        if section is None:
            yield (name,), field
        else:
            yield from (((name, *path), leaf) for path, leaf in all_keys(section))


def describe(error: ErrorDetails) -> tuple[KeyPath, str]:
    kind, value, context = error["type"], error["input"], error.get("ctx", {})
    path = tuple(part for part in error["loc"] if part != "[key]")
    shown = f"(value {show_value(value)})"
    if kind == "extra_forbidden":
        return path, f"unknown key {shown}{_hint(path)}"
    if kind == "literal_error":
        choices = re.findall(r"'([^']*)'", context["expected"])
        hint = did_you_mean(value, choices) if isinstance(value, str) else ""
        return path, f"must be {' or '.join(choices)} {shown}{hint}"
    if kind == "missing":
        path = path[:-1]
    words = _WORDS.get(kind)
    return path, f"{words.format(**context) if words else error['msg']} {shown}"


def not_a_section(value: object) -> str:
    return f"{_WORDS['model_type']} (value {show_value(value)})"


def unknown_override(path: tuple[str, ...], value: str) -> str:
    """Why `value` cannot go to `path`, with a likely key; an empty text if the key exists."""
    unknown = f"unknown key (value {show_value(value)})"
    leaves = dict(all_keys())
    if any(leaf[: len(path)] == path for leaf in leaves):
        return ""
    holder = next((leaf for leaf in leaves if path[: len(leaf)] == leaf), None)
    if holder is None:
        return f"{unknown}{_elsewhere(path) or _known_here(path)}"
    is_open = get_origin(leaves[holder].annotation) is Mapping and len(path) == len(holder) + 1
    return "" if is_open else f"{unknown}; {dotted(holder)} is a value, not a section"


def _hint(path: KeyPath) -> str:
    """What an unknown key may have meant: one beside it, else one of another section."""
    return did_you_mean(str(path[-1]), _beside(path)) or _elsewhere(path) or _known_here(path)


def _beside(path: KeyPath) -> list[str]:
    """Keys of the innermost section on the way to `path`."""
    section: type[BaseModel] = Config
    for part in path[:-1]:
        fields = {str(field.alias): field for field in section.model_fields.values()}
        inner = _section_of(fields[str(part)]) if part in fields else None
        if inner is None:
            break
        section = inner
    return [str(field.alias) for field in section.model_fields.values()]


def _elsewhere(path: KeyPath) -> str:
    """A hint at keys that are alike part by part, else at those with the same last part."""
    leaves = [leaf for leaf, _ in all_keys()]
    alike = [
        leaf
        for leaf in leaves
        if len(leaf) == len(path)
        and all(did_you_mean(str(a), [b]) for a, b in zip(path, leaf, strict=True))
    ]
    same = [leaf for leaf in leaves if leaf[-1] == str(path[-1]).upper()]
    near = did_you_mean(dotted(path), map(dotted, alike))
    words = " or ".join(repr(dotted(leaf)) for leaf in same)
    return near or (f"; did you mean {words}?" if same else "")


def _known_here(path: KeyPath) -> str:
    return f"; known here: {', '.join(_beside(path))}"


def _section_of(field: FieldInfo) -> type[BaseModel] | None:
    kind = field.annotation
    # Python 3.10 takes list[int] for a type, and then issubclass() refuses it.
    if get_origin(kind) is not None or not isinstance(kind, type):
        return None
    return kind if issubclass(kind, BaseModel) else None
