"""`bash scripts/gpu_check.sh`: its parts, records and time limits, without a GPU."""

import importlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from benchmarks import gpu_check
from benchmarks.gpu_run import Check, Part, PartFailed, PartSkipped, claim, run_parts

ROOT = Path(__file__).parents[2]
ABOUT = {"commit": "abc", "device": "cpu"}


def outcomes(out: Path) -> dict[str, tuple[str, str]]:
    rows = [line.split(" | ") for line in (out / "summary.md").read_text().splitlines()]
    return {row[0].strip("| "): (row[1], row[3].strip("| ")) for row in rows if len(row) == 4}


class Script:
    """Parts that do what they are told, and how often each was run."""

    def __init__(self, **runs: Callable[[Check], str]) -> None:
        self.ran: list[str] = []
        self.parts = [Part(name, 60, self.noting(name, run)) for name, run in runs.items()]

    def noting(self, name: str, run: Callable[[Check], str]) -> Callable[[Check], str]:
        def noted(check: Check) -> str:
            self.ran.append(name)
            return run(check)

        return noted

    def run(self, out: Path, minutes: float = 25) -> int:
        return run_parts(Check(out, "cpu", gpu_check.QUICK), self.parts, minutes, ABOUT)


def good(check: Check) -> str:
    check.table += ["| a |", "|---|", "| 1 |"]
    return "all is well"


def fail(check: Check) -> str:
    raise PartFailed("the boxes | differ")


def skip(check: Check) -> str:
    raise PartSkipped("one card only")


def broken(check: Check) -> str:
    return str(1 // 0)


def test_each_part_is_said_also_after_one_that_fails(tmp_path: Path) -> None:
    script = Script(first=fail, second=broken, third=skip, fourth=good)
    assert script.run(tmp_path) == 1
    assert outcomes(tmp_path) | {"part": ()} == {
        "part": (),
        "first": ("FAILED", "the boxes \\| differ"),
        "second": ("FAILED", "ZeroDivisionError: integer division or modulo by zero"),
        "third": ("skipped", "one card only"),
        "fourth": ("passed", "all is well"),
    }
    summary = (tmp_path / "summary.md").read_text()
    assert "- commit: abc\n" in summary and "## fourth\n\n| a |\n|---|\n| 1 |\n" in summary


def test_a_second_start_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def ctrl_c(check: Check) -> str:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Script(one=good, two=fail, three=ctrl_c, four=good).run(tmp_path)
    script = Script(one=good, two=fail, three=good, four=good)
    assert script.run(tmp_path) == 1
    assert script.ran == ["three", "four"]
    assert "two: FAILED earlier: the boxes | differ" in capsys.readouterr().out
    claim(tmp_path, ABOUT, again=True)
    script = Script(one=good, two=good, three=good, four=good)
    assert script.run(tmp_path) == 0
    assert script.ran == ["two"]


def test_records_of_another_commit_are_not_gone_on_with(tmp_path: Path) -> None:
    claim(tmp_path, ABOUT, again=False)
    claim(tmp_path, ABOUT, again=False)
    with pytest.raises(SystemExit) as ended:
        claim(tmp_path, {**ABOUT, "commit": "def"}, again=False)
    assert ended.value.code == 2


def test_when_the_time_is_over_the_rest_is_said_not_to_have_run(tmp_path: Path) -> None:
    script = Script(one=good, two=good)
    (tmp_path / "records").mkdir()
    record = {"part": "one", "outcome": "passed", "words": "", "seconds": 61.0, "table": []}
    (tmp_path / "records/one.json").write_text(json.dumps(record))
    assert script.run(tmp_path, minutes=1) == 1
    assert script.ran == [] and script.run(tmp_path, minutes=2) == 0


def test_a_command_that_hangs_is_ended_with_its_part(tmp_path: Path) -> None:
    def hang(check: Check) -> str:
        check.call("-c", "import time; time.sleep(600)")
        return "done"

    check = Check(tmp_path, "cpu", gpu_check.Sizes())
    assert run_parts(check, [Part("hang", 1, hang)], 25, ABOUT) == 1
    outcome, words = outcomes(tmp_path)["hang"]
    assert outcome == "FAILED" and words.startswith("not done in the time it has")


def test_a_command_that_fails_is_quoted(tmp_path: Path) -> None:
    def call(check: Check) -> str:
        check.call("-c", "import sys; print('error: no such card'); print('bye'); sys.exit(3)")
        return "done"

    assert Script(call=call).run(tmp_path) == 1
    assert outcomes(tmp_path)["call"][1] == "the command ended with 3: error: no such card"
    assert "error: no such card\nbye\n" in (tmp_path / "logs/call.log").read_text()


# Stands in for a training that is stopped after its first epoch.
TRAINING = """\
import pathlib, sys, time
file = pathlib.Path(sys.argv[1]); file.parent.mkdir(parents=True); file.touch()
try:
    time.sleep(600)
except KeyboardInterrupt:
    sys.exit(130)
"""


class Pretended(Check):
    """Every command is parsed by its own parser, and leaves what the part looks at."""

    shift = 0.0
    equal = True

    def start(self, *words: object, **settings: str) -> subprocess.Popen[bytes]:
        args = parsed(words)
        file = (
            f"{args.save_dir}/checkpoints/train/seqtrack/seqtrack_scratch/SEQTRACK_ep0001.pth.tar"
        )
        return super().start("-c", TRAINING, file, **settings)

    def call(self, *words: object, **settings: str) -> None:
        with open(self.out / "logs" / f"{self.part}.log", "a") as log:
            log.write("the last line\n")
        if words[0] == "-m":
            return
        if words[0] == "bash":
            parsed(["tracking/train.py", "--config", "seqtrack_scratch", *words[3:]])
            scores = Path(settings["SEQTRACK_QUICKSTART"]) / "test/analysis/scores.csv"
            scores.parent.mkdir(parents=True)
            scores.touch()
            return
        args = parsed(words)
        assert not getattr(args, "compile", False) or settings["TORCHINDUCTOR_CACHE_DIR"]
        if words[0] == "tracking/test.py":
            self.results(Path(args.save_dir), args.device == "cpu" and args.batch_size == 8)
        elif words[0] == "tracking/train.py":
            folder = Path(args.save_dir)
            (folder / "logs").mkdir(parents=True)
            (folder / "logs/seqtrack-seqtrack_scratch.log").write_text("AUC: 0.1\nAUC: 0.2\n")
            final = folder / "checkpoints/train/seqtrack/seqtrack_scratch/SEQTRACK.pth.tar"
            final.parent.mkdir(parents=True, exist_ok=True)
            final.touch()
        else:
            self.measured(args.json)

    def results(self, save: Path, truth: bool) -> None:
        folder = save / "test/tracking_results/seqtrack/seqtrack_tiny/videos"
        folder.mkdir(parents=True, exist_ok=True)
        rows = np.tile([10.0, 10.0, 20.0, 20.0], (6, 1))
        rows[3:, 0] += 0 if truth else self.shift
        np.savetxt(folder / "a.txt", rows, delimiter="\t")
        for beside in ("time", "confidence", "certainty"):
            np.savetxt(folder / f"a_{beside}.txt", rows[:, 0])

    def measured(self, target: str) -> None:
        row = {"situation": "equal", "what": "torch", "median_ms": 2.5, "frames_per_s": 400}
        row |= {"samples_per_s": 7, "ratio_to_reference": 2.0, "box_px_max": 0.0, "ties": []}
        record = {"rows": [{"what": "matrix product"}, row], "ratio_to_reference": 2.0}
        Path(target).write_text(json.dumps(record))
        if not self.equal:
            raise PartFailed("tokens equal: NO")


def parsed(words: object):
    script, *rest = map(str, words)
    name = Path(script).stem
    module = "benchmarks.command" if name == "benchmark" else f"lib.commands.{name}"
    assert (ROOT / script).is_file()
    return importlib.import_module(module).build_parser().parse_args(rest)


def pretend(out: Path, **changes: object) -> tuple[int, dict[str, tuple[str, str]]]:
    check = Pretended(out, "cpu", gpu_check.QUICK, quick=True)
    for name, value in changes.items():
        setattr(check, name, value)
    return run_parts(check, gpu_check.plan(gpu_check.QUICK), 25, ABOUT), outcomes(out)


def test_all_parts_say_what_their_commands_left(tmp_path: Path) -> None:
    code, seen = pretend(tmp_path)
    assert code == 0, seen
    names = {f"track-{p}-{n}" for p in ("fp32", "bf16") for n in (1, 3, 128)}
    names |= {"tests", "track-cpu", "train-fp32", "train-bf16", "compile", "two-ranks", "step"}
    assert names | {"frame-seqtrack_tiny", "race", "quickstart", "part"} == seen.keys()
    assert seen["train-fp32"][1] == "stopped in epoch 2, went on, done; AUC 0.1, 0.2"
    summary = (tmp_path / "summary.md").read_text()
    assert "| seqtrack_tiny | equal | torch | 2.5 | 400 | 2.0 |  |" in summary
    assert "| seqtrack_tiny | 2 | torch | 2.5 | 7 | 2.0 |" in summary


def test_boxes_and_tokens_that_differ_fail_their_parts_only(tmp_path: Path) -> None:
    """Half of the boxes are half a pixel off: too much for fp32, and nothing for bf16."""
    code, seen = pretend(tmp_path, shift=0.5, equal=False)
    assert code == 1
    failed = {name for name, (outcome, _) in seen.items() if outcome == "FAILED"}
    wrong = {f"track-fp32-{n}" for n in (1, 3, 128)}
    assert failed == wrong | {"frame-seqtrack_tiny", "step", "race"}
    assert seen["track-fp32-3"][1].startswith("boxes differ from the CPU's: 3 rows within 0.01 px")
    # The figures are there all the same.
    assert "| seqtrack_tiny | equal | torch | 2.5 |" in (tmp_path / "summary.md").read_text()


def test_boxes_far_off_fail_in_bf16_too(tmp_path: Path) -> None:
    _, seen = pretend(tmp_path, shift=15.0)
    assert "mean overlap with the CPU's boxes below 0.9" in seen["track-bf16-1"][1]


def test_packages_that_are_missing_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_check, "find_spec", lambda name: None if name in ("av", "cv2") else 1)
    assert gpu_check.missing_packages() == ["opencv-python", "av"]
    monkeypatch.setattr(gpu_check, "find_spec", lambda name: 1)
    assert gpu_check.missing_packages() == []


def test_wrong_arguments(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert gpu_check.main(["--device", "cpu", "--only", "tets"]) == 2
    assert "no part 'tets'; choose of tests, track-cpu" in capsys.readouterr().err


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
def test_a_machine_without_torch(tmp_path: Path) -> None:
    (tmp_path / "scripts").mkdir()
    shutil.copy(ROOT / "scripts/gpu_check.sh", tmp_path / "scripts")
    (tmp_path / "bin").mkdir()
    for name in ("bash", "dirname"):
        (tmp_path / "bin" / name).symlink_to(shutil.which(name) or "")
    done = subprocess.run(
        ["bash", "scripts/gpu_check.sh"],
        cwd=tmp_path,
        env={"PATH": str(tmp_path / "bin")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2 and "no Python with torch" in done.stderr


@pytest.mark.slow
@pytest.mark.timeout(1620)  # The parts have 25 minutes; then the summary says which was slow.
def test_the_whole_check_rehearsed_on_the_cpu(tmp_path: Path) -> None:
    words = ["--device", "cpu", "--quick", "--minutes", "25", "--out", str(tmp_path / "out")]
    done = subprocess.run(
        ["bash", "scripts/gpu_check.sh", *words],
        cwd=ROOT,
        env={**os.environ, "PYTHON": sys.executable},
        capture_output=True,
        text=True,
        check=False,
    )
    seen = outcomes(tmp_path / "out")
    assert done.returncode == 0, (done.stdout, done.stderr)
    assert {outcome for name, (outcome, _) in seen.items() if name != "part"} == {"passed"}
    assert "| seqtrack_tiny | equal | torch |" in (tmp_path / "out/summary.md").read_text()
