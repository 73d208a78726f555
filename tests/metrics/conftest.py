"""Finds the evaluation kit; `kit_case` becomes one test id per case and convention."""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

DEFAULT_KIT = Path(__file__).parents[1] / "kits" / "eval"


@dataclass(frozen=True)
class KitCase:
    """One thing to check: a convention of a file, or a text of the one about readers."""

    file: str
    name: str
    content: dict[str, Any]


def kit_folder() -> Path:
    """The folder in SEQTRACK_EVAL_KIT, by default the one in the repository."""
    return Path(os.environ.get("SEQTRACK_EVAL_KIT") or DEFAULT_KIT)


def find_cases(folder: Path) -> list[KitCase]:
    """All cases of the JSON files in `folder`, in order."""
    found = []
    for path in sorted(folder.glob("*.json")):
        content = json.loads(path.read_text(encoding="utf-8"))
        found += [KitCase(path.stem, name, content) for name in content.get("expected", ())]
        found += [KitCase(path.stem, text["case"], text) for text in content.get("cases", ())]
    return found


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Without a case there is no id, and `test_kit_is_complete` fails."""
    if "kit_case" in metafunc.fixturenames:
        cases = find_cases(kit_folder())
        metafunc.parametrize("kit_case", cases, ids=[f"{one.file}-{one.name}" for one in cases])


@pytest.fixture
def kit() -> Path:
    """The kit's folder."""
    return kit_folder()


@pytest.fixture
def is_default_kit(kit: Path) -> bool:
    """Whether the kit is the repository's own, which must be complete."""
    return kit.resolve() == DEFAULT_KIT.resolve()
