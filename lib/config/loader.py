"""Configuration files and `--set` overrides in, one frozen `Config` out; no global state.

A file may begin with `BASE: other.yaml` (relative to it, or the name of a configuration) and
then holds only what differs. Everything that is wrong is reported at once, one line each:

    my.yaml:3: TRAIN.EPOCHS: unknown key (value 300); did you mean 'EPOCH'?
    --set TRAIN.LR: must be a number (value 'fast')
"""

import copy
import logging
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from lib.config.messages import all_keys, describe, not_a_section, unknown_override
from lib.config.paths import experiments_dir
from lib.config.schema import Config
from lib.config.schema.rules import Problem, factor_warnings, training_problems
from lib.config.yaml_source import (
    ConfigLayer,
    Finding,
    KeyPath,
    ValueOrigin,
    dotted,
    read_assignment,
    read_yaml,
    show_value,
    write_yaml,
)
from lib.utils.errors import ConfigError, did_you_mean

_BASE = "BASE"
_OPTION = "--set"
_SUFFIXES = (".yaml", ".yml")

_log = logging.getLogger(__name__)


def load_config(
    name_or_path: str | Path, overrides: Sequence[str] = (), training: bool = False
) -> Config:
    """Load a configuration by name (`seqtrack_b256`) or path; `cfg.name` is the file's stem.

    Args:
        name_or_path: a name in `experiments/`, with or without `.yaml`, or the path of a file.
        overrides: `KEY.PATH=VALUE` each, VALUE in YAML; they win over the files, the last one
            over those before it.
        training: whether it is to be trained, and has to be right for that as well.

    Raises:
        ConfigError: no such file, or everything that is wrong in it, its bases and `overrides`.
    """
    path = _find(str(name_or_path))
    merged = ConfigLayer()
    for layer in [*_read_with_bases(path), *map(_read_override, overrides)]:
        _merge(merged, layer)
    cfg, findings = _validate(merged)
    findings.update(merged.findings)
    if training and cfg is not None:
        problems = training_problems(cfg)
        findings.update(_rule_finding(merged, _paths(one), one.message) for one in problems)
    if cfg is None or findings:
        raise ConfigError("\n".join(str(finding) for finding in sorted(findings)))
    _warn_of_unused(merged)
    for problem in factor_warnings(cfg):
        _log.warning("%s", _rule_finding(merged, _paths(problem), problem.message))
    return cfg.named(path.stem)


def list_configs() -> list[str]:
    return sorted({path.stem for path in _files()})


def dump_config(cfg: Config) -> str:
    """`cfg` in full as YAML text that `load_config` reads back as an equal configuration.

    Keys without effect are left out where they hold their default.
    """
    values = cfg.model_dump(by_alias=True, mode="json")
    defaults = Config().model_dump(by_alias=True, mode="json")
    for path, _ in _unused_keys():
        if _at(values, path) == _at(defaults, path):
            _drop(values, path)
    return write_yaml(values)


def _files() -> list[Path]:
    root = experiments_dir()
    return sorted(path for suffix in _SUFFIXES for path in root.rglob(f"*{suffix}"))


def _find(text: str, beside: Path | None = None) -> Path:
    """The file that a path or a name means; a base is looked for beside its heir first."""
    path = (beside or Path()) / os.path.expanduser(text)
    has_folder, has_suffix = bool(os.path.dirname(text)), path.suffix in _SUFFIXES
    if has_folder or has_suffix or beside:
        for candidate in (path, Path(f"{path}.yaml")):
            if candidate.is_file():
                return candidate
    stem = path.stem if has_suffix else path.name
    if has_folder:
        raise ConfigError(f"no configuration file {text!r}{_hint(stem)}")
    known_as_file = has_suffix and stem not in list_configs()
    if known_as_file:
        raise ConfigError(f"no configuration file {text!r} here{_hint(stem)}")
    named = [candidate for candidate in _files() if candidate.stem == stem]
    named = [found for found in named if found.parent == experiments_dir() / "seqtrack"] or named
    if not named:
        raise ConfigError(f"unknown configuration {text!r}{_hint(stem)}")
    if len(named) > 1:
        several = ", ".join(_shown(found) for found in named)
        raise ConfigError(f"configuration {text!r} is in several places, give one path: {several}")
    return named[0]


def _hint(stem: str) -> str:
    names = list_configs()
    known = ", ".join(names) or f"none (nothing in {experiments_dir()})"
    return f"{did_you_mean(stem, names)}; known names: {known}; or give the path of a YAML file"


def _shown(path: Path) -> str:
    relative = os.path.relpath(path)
    return str(path) if relative.startswith("..") else relative


def _read_with_bases(path: Path) -> list[ConfigLayer]:
    """The file and all it inherits from, the most basic first."""
    layers: list[ConfigLayer] = []
    chain: list[Path] = []
    while True:
        layer = read_yaml(path, _shown(path))
        layers.insert(0, layer)
        chain.append(path.resolve())
        if _BASE not in layer.values:
            return layers
        base, origin = layer.values.pop(_BASE), layer.origins[(_BASE,)]
        if not isinstance(base, str):
            raise ConfigError(
                f"{origin}: {_BASE}: must be the name or path of one configuration "
                f"(value {show_value(base)})"
            )
        try:
            path = _find(base, beside=path.parent)
        except ConfigError as error:
            raise ConfigError(f"{origin}: {_BASE}: {error}") from error
        if path.resolve() in chain:
            circle = [*chain[chain.index(path.resolve()) :], path.resolve()]
            names = " -> ".join(member.name for member in circle)
            raise ConfigError(f"{origin}: {_BASE}: the files inherit in a circle: {names}")


def _read_override(text: str) -> ConfigLayer:
    """`TRAIN.LR=3e-4` as a layer of one value."""
    key, equals, value = text.partition("=")
    path = tuple(part.strip() for part in key.split("."))
    origin = ValueOrigin(f"{_OPTION} {dotted(path)}".rstrip())
    if not equals:
        problem = "has no '='; write KEY=VALUE, such as --set TRAIN.LR=3e-4"
    elif not all(path):
        problem = "the key is incomplete; write KEY=VALUE, such as --set TRAIN.LR=3e-4"
    elif path[0] == _BASE:
        problem = f"{_BASE} belongs in a file"
    else:
        problem = unknown_override(path, value)
    if problem:
        return ConfigLayer(findings=[Finding(origin, problem)])
    try:
        return read_assignment(path, value, origin.source)
    except ConfigError as error:
        return ConfigLayer(findings=[Finding(origin, str(error).removeprefix(f"{origin}: "))])


def _merge(below: ConfigLayer, over: ConfigLayer) -> None:
    """Put `over` on `below`: sections key by key, everything else as a whole."""
    below.origins.update(over.origins)
    below.findings += over.findings

    def put(values: dict[str, Any], new: dict[str, Any], at: KeyPath) -> None:
        for key, value in new.items():
            old, here = values.get(key), (*at, key)
            if not isinstance(old, dict):
                values[key] = value
            elif isinstance(value, dict):
                put(old, value, here)
            elif value is not None:  # an empty section changes nothing
                below.findings.append(_finding(over, here, not_a_section(value)))

    put(below.values, over.values, ())


def _validate(layer: ConfigLayer) -> tuple[Config | None, set[Finding]]:
    """The configuration if all is right, else None and what is wrong."""
    cfg, errors = _try(layer.values)
    described = [describe(error) for error in errors if error["type"] != "rules"]
    findings = {_finding(layer, path, text) for path, text in described}
    if described:
        # Rules need values of the right types: try them with the defaults of the wrong ones.
        pruned = copy.deepcopy(layer.values)
        for path, _ in described:
            _drop(pruned, path)
        _, errors = _try(pruned)
    for problem in (
        found for error in errors for found in error.get("ctx", {}).get("problems", ())
    ):
        keys = _paths(problem)
        if not any(_overlap(key, path) for key in keys for path, _ in described):
            findings.add(_rule_finding(layer, keys, problem.message))
    return cfg, findings


def _try(values: dict[str, Any]) -> tuple[Config | None, list[ErrorDetails]]:
    try:
        return Config.model_validate(values), []
    except ValidationError as error:
        return None, error.errors()


def _drop(values: dict[Any, Any], path: KeyPath) -> None:
    """Remove the key at `path`, or the one that holds the list which `path` leads into."""
    inner = values.get(path[0])
    if len(path) > 1 and isinstance(inner, dict):
        _drop(inner, path[1:])
    else:
        values.pop(path[0], None)


def _paths(problem: Problem) -> list[tuple[str, ...]]:
    return [tuple(key.split(".")) for key in problem.keys]


def _overlap(one: KeyPath, other: KeyPath) -> bool:
    return all(a == b for a, b in zip(one, other, strict=False))


def _finding(layer: ConfigLayer, path: KeyPath, text: str) -> Finding:
    """`text` about the value at `path`, with its place or that of what is nearest around it."""
    around = (path[:length] for length in range(len(path), -1, -1))
    origin = next(layer.origins[key] for key in around if key in layer.origins)
    named = origin.source == f"{_OPTION} {dotted(path)}"
    return Finding(origin, text if named else f"{dotted(path)}: {text}")


def _rule_finding(layer: ConfigLayer, keys: list[tuple[str, ...]], message: str) -> Finding:
    """A broken rule, named by the first of `keys`, at the place of the first that is given."""
    value = _at(layer.values, keys[0])
    text = message if value is None else f"{message} (value {show_value(value)})"
    given = next((key for key in keys if key in layer.origins), keys[0])
    finding = _finding(layer, given, text)
    return Finding(finding.origin, f"{dotted(keys[0])}: {text}") if given != keys[0] else finding


def _at(values: Any, path: tuple[str, ...]) -> Any:
    for key in path:
        values = values.get(key) if isinstance(values, dict) else None
    return values


def _unused_keys() -> Iterator[tuple[tuple[str, ...], str]]:
    """Path of every key that is accepted but has no effect, and why."""
    for path, field in all_keys():
        if isinstance(field.json_schema_extra, dict) and "unused" in field.json_schema_extra:
            yield path, str(field.json_schema_extra["unused"])


def _warn_of_unused(layer: ConfigLayer) -> None:
    for path, reason in _unused_keys():
        if path in layer.origins:
            _log.warning("%s", _finding(layer, path, f"has no effect: {reason}"))
