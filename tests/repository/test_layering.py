"""The house: who may import whom, and the habits that a linter does not check."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = sorted(p for p in (ROOT / "lib").rglob("*.py"))
TOP = sorted([*(ROOT / "tracking").glob("*.py"), *(ROOT / "scripts").glob("*.py")])
MAX_LINES = 500
MAX_THIN_LINES = 40

DATA = {"lib.datasets", "lib.config", "lib.utils"}
# Layer -> what it may import of lib. The longest matching name is the layer of a module.
MAY_IMPORT = {
    "lib": {"lib"},  # lib/__init__.py, lib/cli.py
    "lib.commands": {"lib"},
    # The page and the HTTP interface are users of the API.
    "lib.serve": {
        "lib.serve",
        "lib.api",
        "lib.annotations",
        "lib.models.weights",
        "lib.tracker",
        "lib.video",
        *DATA,
    },
    "lib.vot": {"lib.vot", "lib.tracker", "lib.masks", "lib.results", *DATA},
    "lib.annotations": {"lib.annotations", "lib.datasets", "lib.utils"},
    "lib.masks": {"lib.masks", "lib.models", "lib.config.paths", "lib.utils"},
    "lib.video": {"lib.video", "lib.tracker", *DATA},
    "lib.submission": {"lib.submission", "lib.results", *DATA},
    "lib.report": {"lib.report", "lib.analysis", "lib.results", *DATA},
    "lib.analysis": {"lib.analysis", "lib.results", *DATA},
    # Which stacks of VOT have a column in the table.
    "lib.analysis.zoo": {"lib.analysis", "lib.results", "lib.vot.stacks", *DATA},
    "lib.evaluation": {"lib.evaluation", "lib.tracker", "lib.results", *DATA},
    "lib.results": {"lib.results", "lib.tracker.spec", "lib.datasets", "lib.config", "lib.utils"},
    "lib.train": {"lib.train", "lib.tracker", "lib.models", "lib.synthetic", *DATA},
    # A validation by tracking: the network tracks sequences and is scored.
    "lib.train.closed_loop": {
        "lib.train",
        "lib.tracker",
        "lib.models",
        "lib.evaluation",
        "lib.analysis",
        *DATA,
    },
    "lib.profile": {"lib.profile", "lib.tracker", "lib.models", *DATA},
    "lib.tracker": {"lib.tracker", "lib.models", "lib.config", "lib.utils"},
    "lib.models": {"lib.models", "lib.config.schema", "lib.utils"},
    "lib.synthetic": {
        "lib.synthetic",
        "lib.datasets.sequence",
        "lib.datasets.text",
        "lib.datasets.training.sample",
        "lib.utils",
    },
    "lib.datasets": {"lib.datasets", "lib.config.paths", "lib.utils"},
    # The generated test sequences are rows of the table of data sets.
    "lib.datasets.benchmarks.open": {
        "lib.datasets",
        "lib.synthetic.video.dataset",
        "lib.config.paths",
        "lib.utils",
    },
    "lib.datasets.storage": {
        "lib.datasets.storage",
        "lib.datasets.sequence",
        "lib.datasets.text",
        "lib.datasets.training",
        "lib.config.paths",
        "lib.utils",
    },
    "lib.config": {"lib.config", "lib.utils.errors", "lib.utils.files"},
    "lib.utils": {"lib.utils"},
}
CORE = {"torch", "torchvision", "timm", "cv2", "numpy", "yaml", "pydantic", "tqdm"}
# Heavy or rarely needed: imported inside the function that needs them.
# requests: gdown raises its errors.
LAZY = {
    "av",
    "safetensors",
    "gdown",
    "requests",
    "tensorboard",
    "matplotlib",
    "trax",
    "onnx",
    "onnxruntime",
    "onnxscript",
    "openvino",
    "lmdb",
    "transformers",
    "simplejpeg",
    "submitit",
    "fastapi",
    "python_multipart",
    "uvicorn",
}
OUTSIDE = {
    "lib.utils": {"numpy", "cv2", "torch"},
    "lib.config": {"yaml", "pydantic", "pydantic_core"},
    # Its command imports it, after a look whether the extra is there.
    "lib.serve": {"cv2", "numpy", "pydantic", "fastapi", "starlette"},
}


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(p) for p in FILES}


def within(name: str, prefix: str) -> bool:
    return name == prefix or name.startswith(prefix + ".")


def layer_of(module: str, table: dict[str, set[str]]) -> str | None:
    return max((k for k in table if within(module, k)), key=len, default=None)


def imports(tree: ast.AST, module: str, is_package: bool) -> list[tuple[int, str]]:
    """Every import below `tree` as (line, absolute dotted name), relative ones resolved."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = module.split(".") + (["_"] if is_package else [])
                base = ".".join([*parts[: -node.level], *([base] if base else [])])
            # `from lib.config import loader` is an import of lib.config.loader.
            for alias in node.names:
                full = f"{base}.{alias.name}"
                found.append((node.lineno, full if full in MODULES else base))
    return found


def breaches(source: str, module: str, is_package: bool = False) -> list[str]:
    """The imports of `source` that its layer does not allow, as `line N: …`."""
    tree = ast.parse(source)
    layer = layer_of(module, MAY_IMPORT)
    found = []
    for line, name in imports(tree, module, is_package):
        if not within(name, "lib"):
            continue
        # Anyone may read lib.__version__.
        if name != "lib" and not any(within(name, ok) for ok in MAY_IMPORT[layer]):
            found.append(f"line {line}: {layer} must not import {name}")
    functions = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)]
    lazily = {line for f in functions for line, _ in imports(f, module, is_package)}
    at_top = OUTSIDE.get(layer_of(module, OUTSIDE) or "", CORE)
    for line, name in imports(tree, module, is_package):
        package = name.split(".")[0]
        if package == "lib" or package in sys.stdlib_module_names:
            continue
        if package not in (CORE | LAZY if line in lazily else at_top):
            where = "at all" if line in lazily else "at the top"
            found.append(f"line {line}: {layer} must not import {package} {where}")
    return found


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_imports_follow_the_layers(path: Path) -> None:
    found = breaches(path.read_text(encoding="utf-8"), name_of(path), path.name == "__init__.py")
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("module", "source"),
    [
        pytest.param("lib.utils.x", "import lib.config.paths", id="upwards"),
        pytest.param("lib.models.x", "from lib.config import loader", id="module of a package"),
        pytest.param("lib.models.x", "from ..config.loader import f", id="relative"),
        pytest.param(
            "lib.tracker.x", "def f():\n    from lib.train import loop", id="in a function"
        ),
        pytest.param("lib.train.x", "from lib.evaluation import plan", id="train to evaluation"),
        pytest.param("lib.evaluation.x", "from lib.commands import test", id="commands"),
        pytest.param(
            "lib.datasets.storage.x",
            "from lib.datasets.benchmarks import open",
            id="within datasets",
        ),
        pytest.param("lib.config.x", "import torch", id="torch in config"),
        pytest.param("lib.utils.x", "import tqdm", id="lazy package at the top"),
        pytest.param("lib.vot.x", "def f():\n    import pandas", id="no dependency"),
    ],
)
def test_the_check_itself_finds(module: str, source: str) -> None:
    assert breaches(source, module)


def test_the_check_itself_allows() -> None:
    source = "from lib import __version__\nfrom lib.utils import boxes\nimport numpy as np"
    assert not breaches(source, "lib.models.x")


def test_the_library_does_without_the_benchmarks() -> None:
    for path in FILES:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        assert not [n for _, n in imports(tree, name_of(path), False) if within(n, "benchmarks")]


def circles(graph: dict[str, set[str]]) -> list[str]:
    """The modules from which a way of imports leads back to them."""

    def reach(start: str) -> set[str]:
        seen: set[str] = set()
        waiting = list(graph[start])
        while waiting:
            name = waiting.pop()
            if name not in seen:
                seen.add(name)
                waiting += graph.get(name, ())
        return seen

    return sorted(name for name in graph if name in reach(name))


def test_no_module_imports_itself_round_a_circle() -> None:
    """Imports within functions count."""
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": set()}) == ["b", "c"]
    graph = {}
    for path in FILES:
        module = name_of(path)
        found = imports(ast.parse(path.read_text("utf-8")), module, path.name == "__init__.py")
        graph[module] = {name for _, name in found if name in MODULES and name != "lib"}
    assert circles(graph) == []


def test_a_class_name_has_one_meaning() -> None:
    """A leading underscore makes no other name: a search finds both."""
    places: dict[str, list[str]] = {}
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ClassDef):
                places.setdefault(node.name.lstrip("_"), []).append(name_of(path))
    assert len(places) > 100
    assert {name: where for name, where in places.items() if len(where) > 1} == {}


def test_no_layer_is_unknown() -> None:
    packages = {f"lib.{p.name}" for p in (ROOT / "lib").iterdir() if (p / "__init__.py").exists()}
    assert packages <= set(MAY_IMPORT), "a new package of lib needs its row in MAY_IMPORT"


def loaded_by(modules: list[str]) -> set[str]:
    code = f"import sys\nimport {', '.join(modules)}\nprint(*sys.modules)"
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    return set(run.stdout.split())


@pytest.mark.parametrize("package", ["results", "analysis", "report", "submission"])
def test_scoring_never_loads_torch(package: str) -> None:
    modules = sorted(m for m in MODULES if within(m, f"lib.{package}"))
    assert len(modules) > 1
    assert "torch" not in loaded_by(modules)


def test_help_of_the_command_is_quick() -> None:
    """`seqtrack --help` loads neither torch nor OpenCV nor numpy."""
    assert not {"torch", "cv2", "numpy"} & loaded_by(["lib.cli"])


def trouble(path: Path) -> list[str]:
    """Habits that this house does not have, as `line N: …`."""
    text = path.read_text(encoding="utf-8")
    found = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ExceptHandler) and node.type is None:
            found.append(f"line {node.lineno}: bare except")
        if isinstance(node, ast.ImportFrom) and node.names[0].name == "*":
            found.append(f"line {node.lineno}: star import")
        if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "cuda":
            found.append(f"line {node.lineno}: .cuda(); the device is an argument")
        if isinstance(node, ast.Assert):
            found.append(f"line {node.lineno}: assert; raise an error that explains")
        if isinstance(node, ast.FunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if length > 50:
                found.append(f"line {node.lineno}: {node.name} has {length} lines, 50 are allowed")
    if (lines := text.count("\n")) > MAX_LINES:
        found.append(f"{lines} lines, {MAX_LINES} are allowed")
    return found


@pytest.mark.parametrize("path", [*FILES, *TOP], ids=lambda p: str(p.relative_to(ROOT)))
def test_habits(path: Path) -> None:
    assert not (found := trouble(path)), "\n".join(found)


@pytest.mark.parametrize("path", TOP, ids=lambda p: str(p.relative_to(ROOT)))
def test_entry_scripts_are_thin(path: Path) -> None:
    assert path.read_text(encoding="utf-8").count("\n") < MAX_THIN_LINES
