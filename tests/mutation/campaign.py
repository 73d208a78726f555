"""Mistakes that tests should notice, one at a time: `python scripts/mutate.py --help`."""

import argparse
import importlib
import importlib.abc
import importlib.util
import os
import random
import resource
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.machinery import ModuleSpec
from importlib.metadata import entry_points
from pathlib import Path
from types import CodeType, ModuleType

from lib.utils.advice import extra
from lib.utils.console import say
from lib.utils.errors import EXIT_OK, EXIT_PARTIAL, ConfigError, MissingExtraError, did_you_mean
from tests.mutation.operators import mutants

try:
    import pytest
except ImportError:
    raise MissingExtraError(f"the tests need pytest: {extra('dev')}") from None

ROOT = Path(__file__).parents[2]
# A module, and the tests that are to notice what is wrong with it, beside its own examples; the
# quickest first.
TARGETS: Mapping[str, Sequence[str]] = {
    "lib.utils.boxes": ("tests/utils/test_boxes.py", "tests/analysis/test_properties.py"),
    "lib.utils.crop": ("tests/utils/test_crop.py", "tests/parity/test_crops_and_boxes.py"),
    "lib.models.tokens": (
        "tests/models/test_tokens.py",
        "tests/parity/test_tokens.py",
        "tests/models/test_history.py::test_tokens_of_boxes_before",
    ),
    "lib.tracker.templates": (
        "tests/tracker/test_seqtrack_tracker.py::test_update_rule",
        "tests/tracker/test_seqtrack_tracker.py::test_the_first_template_is_permanent_the_others_a_queue",
        "tests/tracker/test_seqtrack_tracker.py::test_an_answer_says_how_certain_it_is",
    ),
    "lib.tracker.gate": ("tests/tracker/test_gate.py",),
    "lib.tracker.evidence": ("tests/tracker/test_evidence.py",),
    "lib.tracker.calibration": ("tests/tracker/test_calibration_file.py",),
    "lib.evaluation.calibration": ("tests/evaluation/test_calibration.py",),
    "lib.analysis.reliability": ("tests/analysis/test_reliability.py",),
    "lib.analysis.frames": ("tests/analysis/test_frames.py",),
    "lib.analysis.metrics": ("tests/analysis/test_metrics.py", "tests/metrics/test_eval_kit.py"),
    "lib.results.files": ("tests/results/test_results.py", "tests/results/test_result_files.py"),
    "lib.results.record": ("tests/results/test_run_records.py",),
}
# Imported once, in the process that all others are forked from.
_SHARED = ("cv2", "numpy", "torch", "torchvision", "timm", "pydantic", "hypothesis.extra.numpy")
# Of the processor, for the tests of one mutant: one that never ends is noticed.
_SECONDS = 120


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--module", metavar="NAME", help="one module instead of all")
    parser.add_argument("--sample", type=int, help="so many of each at most (default: all)")
    parser.add_argument("--seed", type=int, default=0, help="chooses them (default: 0)")
    return parser


class _Instead(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports other code under the name of a module."""

    def __init__(self, name: str, code: CodeType) -> None:
        self.name, self.code = name, code

    def find_spec(self, name: str, path: object, target: object = None) -> ModuleSpec | None:
        if name != self.name:
            return None
        return importlib.util.spec_from_file_location(name, self.code.co_filename, loader=self)

    def create_module(self, spec: ModuleSpec) -> None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        exec(self.code, module.__dict__)


def prepare(modules: Sequence[str]) -> None:
    """Import once what each child would import again: modules, and the plugins of pytest."""
    for name in modules:
        importlib.import_module(name)
    for plugin in entry_points(group="pytest11"):
        plugin.load()


def passes(tests: Sequence[str], name: str, code: CodeType | None) -> bool:
    """Whether tests pass in a forked process, where a module may have other code.

    Raises:
        RuntimeError: there are none.
    """
    process = os.fork()
    if not process:
        os._exit(_tested(tests, name, code))
    status = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    if status == pytest.ExitCode.NO_TESTS_COLLECTED:
        raise RuntimeError(f"{name}: no tests in {', '.join(tests)}")
    return status == 0


def _tested(tests: Sequence[str], name: str, code: CodeType | None) -> int:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1), os.dup2(nowhere, 2)
    resource.setrlimit(resource.RLIMIT_CPU, (_SECONDS, _SECONDS))
    words = ["-x", "-q", "--doctest-modules", "--hypothesis-seed=0", "-p", "no:cacheprovider"]
    try:
        if code is not None:
            # Before pytest imports it, to run its examples.
            sys.meta_path.insert(0, _Instead(name, code))
            importlib.import_module(name)
        return int(pytest.main([*words, "-m", "not slow and not gpu", *tests]))
    except BaseException:
        return 1


def campaign(
    targets: Mapping[str, Sequence[str]], most: int | None, seed: int, tell: Callable[[str], object]
) -> tuple[int, int]:
    """Try the mutants of modules; how many were noticed, of how many."""
    noticed = tried = 0
    for name, tests in targets.items():
        file = ROOT / f"{name.replace('.', '/')}.py"
        tests = [str(file), *tests]
        some = list(mutants(file.read_text(encoding="utf-8"), str(file)))
        known = len(some)
        if most is not None and most < known:
            some = random.Random(f"{name} {seed}").sample(some, most)
        if not passes(tests, name, None):
            raise ConfigError(f"{name}: its tests fail without a mistake ({', '.join(tests)})")
        left = [one for one in some if passes(tests, name, one.code)]
        for one in left:
            tell(f"  {file.relative_to(ROOT)}:{one.line}: {one.text}")
        tell(f"{name}: {len(some) - len(left)} of {len(some)} noticed, of {known} in all")
        noticed, tried = noticed + len(some) - len(left), tried + len(some)
    return noticed, tried


def main(argv: Sequence[str] | None = None) -> int:
    options = build_parser().parse_args(argv)
    if not sys.platform.startswith("linux"):
        raise ConfigError("tests are forked, and their time limited, as on Linux")
    name = options.module
    if name is not None and name not in TARGETS:
        hint = did_you_mean(name, TARGETS)
        raise ConfigError(f"{name!r} is not tried{hint}; there are {', '.join(TARGETS)}")
    os.chdir(ROOT)
    prepare(_SHARED)
    targets = TARGETS if name is None else {name: TARGETS[name]}
    noticed, tried = campaign(targets, options.sample, options.seed, say)
    say(f"{noticed} of {tried} mistakes noticed, {100 * noticed / max(tried, 1):.1f} %")
    return EXIT_OK if noticed == tried else EXIT_PARTIAL
