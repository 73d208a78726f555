"""Licences of all that is installed with the project, as a table: `python scripts/licences.py`."""

import argparse
from collections.abc import Iterator, Sequence
from importlib.metadata import Distribution, PackageNotFoundError, distribution

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from lib.utils.console import say
from lib.utils.errors import EXIT_OK, EXIT_PARTIAL, ConfigError


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    text = "with those of an extra (several times for several)"
    parser.add_argument("--extra", action="append", default=[], metavar="NAME", help=text)
    return parser


def needed(root: str, extras: Sequence[str]) -> list[Distribution]:
    """A package and all that it needs in turn, as far as it is installed."""
    found: dict[str, Distribution] = {}
    seen: set[tuple[str, tuple[str, ...]]] = set()
    waiting = [(root, tuple(extras))]
    while waiting:
        name, wanted = waiting.pop()
        if (canonicalize_name(name), wanted) in seen:
            continue
        seen.add((canonicalize_name(name), wanted))
        try:
            one = found[canonicalize_name(name)] = distribution(name)
        except PackageNotFoundError:
            continue  # such as a library of another system
        waiting += [(need.name, tuple(sorted(need.extras))) for need in _needs(one, wanted)]
    return [found[name] for name in sorted(found)]


def _needs(one: Distribution, extras: Sequence[str]) -> Iterator[Requirement]:
    for line in one.requires or ():
        need = Requirement(line)
        if not need.marker or any(need.marker.evaluate({"extra": x}) for x in ("", *extras)):
            yield need


def licence_of(one: Distribution) -> str:
    """What a package says of its licence: an expression, else classifiers, else a first line."""
    facts = one.metadata
    classifiers = [text for text in facts.get_all("Classifier", []) if text.startswith("License ")]
    return (
        facts.get("License-Expression")
        or ", ".join(text.rpartition(" :: ")[2] for text in classifiers)
        or (facts.get("License") or "not said").splitlines()[0]
    )


def main(argv: Sequence[str] | None = None) -> int:
    options = build_parser().parse_args(argv)
    by_licence: dict[str, list[str]] = {}
    packages = needed("seqtrack", options.extra)
    if not packages:
        raise ConfigError("seqtrack is not installed here: pip install -e .")
    for one in packages:
        by_licence.setdefault(licence_of(one), []).append(one.name)
    say("| licence | packages |\n|---|---|")
    for licence, names in sorted(by_licence.items()):
        say(f"| {licence} | {', '.join(names)} |")
    return EXIT_PARTIAL if any("GPL" in licence for licence in by_licence) else EXIT_OK
