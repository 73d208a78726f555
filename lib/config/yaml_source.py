"""YAML with line numbers: the reader and the writer of every YAML file of this project.

PyYAML by itself reads `1e-4` as text, `on` as true, and lets the second of two equal keys win.
Here scalars follow YAML 1.2: only `true` and `false` are booleans, `1e-4` is a number, dates and
`on`, `off`, `yes`, `no` are text. Duplicate keys are findings that name both lines.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from lib.utils.errors import ConfigError

KeyPath = tuple[str | int, ...]

_SCALARS: tuple[tuple[str, str, str], ...] = (
    ("tag:yaml.org,2002:null", r"^(~|null|Null|NULL|)$", "~nN"),
    ("tag:yaml.org,2002:bool", r"^(true|True|TRUE|false|False|FALSE)$", "tTfF"),
    ("tag:yaml.org,2002:int", r"^[-+]?[0-9][0-9_]*$", "-+0123456789"),
    (
        "tag:yaml.org,2002:float",
        r"^[-+]?(\.[0-9]+|[0-9][0-9_]*(\.[0-9_]*)?)([eE][-+]?[0-9]+)?$",
        "-+.0123456789",
    ),
    ("tag:yaml.org,2002:float", r"^[-+]?\.(inf|Inf|INF)$|^\.(nan|NaN|NAN)$", "-+."),
)


_DEEPEST = 20
# Values of a file; an alias counts as often as it is used, since it is written out.
_MOST_VALUES = 20_000
_UNREADABLE = object()


def _to_float(text: str) -> float:
    return float(text.lower().replace("_", "").replace(".inf", "inf").replace(".nan", "nan"))


_CONSTRUCTORS: dict[str, Callable[[str], Any]] = {
    "str": str,
    "null": lambda text: None,
    "bool": lambda text: {"true": True, "false": False}[text.lower()],
    "int": lambda text: int(text.replace("_", "")),
    "float": _to_float,
}


class ValueOrigin(NamedTuple):
    """Where a value was written: a file and its line, or an option such as `--set TRAIN.LR`."""

    source: str
    line: int = 0

    def __str__(self) -> str:
        return f"{self.source}:{self.line}" if self.line else self.source


class Finding(NamedTuple):
    origin: ValueOrigin
    text: str

    def __str__(self) -> str:
        return f"{self.origin}: {self.text}"


@dataclass
class ConfigLayer:
    """Values of one source (nested mappings with text keys), and where each was written."""

    values: dict[str, Any] = field(default_factory=dict)
    origins: dict[KeyPath, ValueOrigin] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)


def dotted(path: KeyPath) -> str:
    """`("DATA", "MEAN", 1)` as `DATA.MEAN[1]`."""
    words = (p if isinstance(p, int) or p.isprintable() else repr(p) for p in path)
    return "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in words).lstrip(".")


def show_value(value: Any) -> str:
    """A value as a message shows it: the YAML word for null, true and false; never long."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    text = repr(list(value) if isinstance(value, tuple) else value)
    return text if len(text) <= 60 else f"{text[:57]}..."


class _YamlLoader(yaml.SafeLoader):
    """A SafeLoader that knows the scalars above and no others."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 (PyYAML's own name)


class _Writer(yaml.SafeDumper):
    """Quotes whatever a YAML 1.1 or 1.2 reader would take for something else than text."""

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def represent_sequence(
        self, tag: str, sequence: Any, flow_style: bool | None = None
    ) -> yaml.SequenceNode:
        return super().represent_sequence(tag, sequence, flow_style=True)


for _tag, _pattern, _first in _SCALARS:
    for _class in (_YamlLoader, _Writer):
        # PyYAML looks an empty scalar up under the empty text.
        _class.add_implicit_resolver(_tag, re.compile(_pattern), [*_first, ""])


def read_yaml(path: Path, shown: str) -> ConfigLayer:
    """Read a YAML file whose root is a mapping; `shown` is how messages call it.

    Duplicate keys and unusable values are in the layer's findings, so that the caller can
    report them together with its own.

    Raises:
        ConfigError: the file cannot be read, is not YAML, or its root is not a mapping.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ConfigError(f"{shown}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{shown}: cannot be read: it is not UTF-8 text") from error
    converter = _TreeConverter(shown, numbered=True)
    root = converter.compose(text)
    if root is None or root.tag == "tag:yaml.org,2002:null":
        raise ConfigError(f"{shown}: the file is empty; it must hold a mapping of KEY: value")
    if not isinstance(root, yaml.MappingNode):
        origin = converter.origin(root)
        raise ConfigError(f"{origin}: the file must hold a mapping of KEY: value")
    values = converter.value(root, ())
    converter.layer.values = {} if values is _UNREADABLE else values
    return converter.layer


def read_assignment(path: tuple[str, ...], text: str, source: str) -> ConfigLayer:
    """One value of the command line, given as YAML (`3e-4`, `[LASOT, COCO17]`), put at `path`.

    Raises:
        ConfigError: it is not YAML; the message begins with `source`.
    """
    converter = _TreeConverter(source, numbered=False)
    layer = converter.layer
    layer.origins = {path[: i + 1]: ValueOrigin(source) for i in range(len(path))}
    root = converter.compose(text)
    value: Any = None if root is None else converter.value(root, path)
    if value is _UNREADABLE:
        return layer
    for key in reversed(path):
        value = {key: value}
    layer.values = value
    return layer


def write_yaml(values: Mapping[str, Any]) -> str:
    """YAML text that `read_yaml` reads back as the same values, keys in the given order."""
    return yaml.dump(dict(values), Dumper=_Writer, sort_keys=False, allow_unicode=True, width=100)


class _TreeConverter:
    """Turns YAML nodes into plain values and notes the line of each."""

    def __init__(self, source: str, numbered: bool) -> None:
        self.source = source
        self.numbered = numbered
        self.layer = ConfigLayer()
        self.count = 0

    def origin(self, node: yaml.Node) -> ValueOrigin:
        return ValueOrigin(self.source, node.start_mark.line + 1 if self.numbered else 0)

    def compose(self, text: str) -> yaml.Node | None:
        try:
            reader = _YamlLoader(text)
            return reader.get_single_node()
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            origin = ValueOrigin(self.source, mark.line + 1 if mark and self.numbered else 0)
            parts = [" ".join(part.split()) for part in (error.context, error.problem) if part]
            hint = "; indent with spaces, not tabs" if "'\\t'" in (error.problem or "") else ""
            raise ConfigError(f"{origin}: not valid YAML: {', '.join(parts)}{hint}") from error
        # The last two: a character or a version whose number is impossible.
        except (yaml.YAMLError, ValueError, OverflowError) as error:
            reason = " ".join(str(error).split())
            raise ConfigError(f"{self.source}: not valid YAML: {reason}") from error
        except RecursionError as error:
            raise ConfigError(f"{self.source}: nested too deeply") from error

    def value(self, node: yaml.Node, path: KeyPath) -> Any:
        """The value of `node`, or `_UNREADABLE` and a finding in the layer that says why.

        Raises:
            ConfigError: there are too many values, such as aliases of aliases of lists.
        """
        self.count += 1
        if self.count > _MOST_VALUES:
            raise ConfigError(f"{self.origin(node)}: more than {_MOST_VALUES} values")
        if len(path) > _DEEPEST:
            # An alias may point to a node that contains it.
            self._report(node, path, f"nested more than {_DEEPEST} levels deep")
            return _UNREADABLE
        self.layer.origins.setdefault(path, self.origin(node))
        kind = node.tag.removeprefix("tag:yaml.org,2002:")
        if isinstance(node, yaml.MappingNode) and kind == "map":
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode) and kind == "seq":
            items = [self.value(item, (*path, i)) for i, item in enumerate(node.value)]
            return [item for item in items if item is not _UNREADABLE]
        if isinstance(node, yaml.ScalarNode) and kind in _CONSTRUCTORS:
            try:
                return _CONSTRUCTORS[kind](node.value)
            except (ValueError, KeyError):
                self._report(node, path, f"cannot be read as {kind} {show_value(node.value)}")
                return _UNREADABLE
        self._report(node, path, f"the tag {node.tag!r} is not supported")
        return _UNREADABLE

    def _mapping(self, node: yaml.MappingNode, path: KeyPath) -> dict[str, Any]:
        values: dict[str, Any] = {}
        lines: dict[str, ValueOrigin] = {}
        for key_node, value_node in node.value:
            key = key_node.value
            if not (isinstance(key_node, yaml.ScalarNode) and isinstance(key, str) and key):
                self._report(key_node, path, "a key must be a word")
                continue
            here = (*path, key)
            if key in lines:
                first = f", the first time at line {lines[key].line}" if self.numbered else ""
                self._report(key_node, here, f"given again{first}; keep one")
                continue
            lines[key] = self.origin(key_node)
            self.layer.origins[here] = lines[key]
            value = self.value(value_node, here)
            if value is not _UNREADABLE:
                values[key] = value
        return values

    def _report(self, node: yaml.Node, path: KeyPath, text: str) -> None:
        prefix = f"{dotted(path)}: " if path else ""
        self.layer.findings.append(Finding(self.origin(node), f"{prefix}{text}"))
