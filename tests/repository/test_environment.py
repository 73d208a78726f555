"""The set-up scripts, with a stand-in for Python that records what it is asked to do."""

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")

# Knows the few questions that the scripts ask. The environment variables of `Machine.run` say
# how it behaves; `cv2_works` in a virtual environment marks the headless OpenCV.
FAKE_PYTHON = r"""#!/bin/bash
here=$(dirname "$0")
echo "$*" | tr '\n' ' ' >>"$FAKE_LOG"; echo >>"$FAKE_LOG"
case "$*" in
  *_base_executable*) echo "$FAKE_HOME/python3" ;;
  *"sys.version, "*) echo "${FAKE_VERSION:-3.11.7}" ;;
  "-m venv "*) mkdir -p "$3/bin"; touch "$3/pyvenv.cfg"; cp "$FAKE_HOME/python3" "$3/bin/python" ;;
  *"import cv2"*)
    [ -z "$FAKE_NO_GL" ] || [ -e "$here/cv2_works" ] && exit 0
    echo "ImportError: $FAKE_NO_GL"; exit 1 ;;
  *'version("opencv-python")'*) echo 9.8.7 ;;
  "-m pip install opencv-python-headless==9.8.7 "*) touch "$here/cv2_works" ;;
  "-m pip install -e "*)
    rm -f "$here/cv2_works"
    [ -z "$FAKE_PIP" ] || { echo "$FAKE_PIP"; exit 1; } ;;
  "-m pip check")
    [ ! -e "$here/cv2_works" ] ||
      { echo "seqtrack 0.1.0 requires opencv-python, which is not installed."; bad=1; }
    [ -z "$FAKE_CHECK" ] || { echo "$FAKE_CHECK"; bad=1; }
    exit ${bad:-0} ;;
  *"torch.cuda.is_available"*) exit 1 ;;
  "-m mypy"*) exit "${FAKE_MYPY:-0}" ;;
esac
"""
NO_GL = "libGL.so.1: cannot open shared object file: No such file or directory"
EDITABLE = "-m pip install -e .[dev] -c constraints.txt"
IN_PARALLEL = "-n auto --dist worksteal --durations 15"


@dataclass
class Machine:
    """A checkout with a space in its path, and the stand-in as its only Python."""

    root: Path
    home: Path

    def run(self, script: str, *arguments: str, **settings: str) -> tuple[int, str, list[str]]:
        """Exit status, output, and what Python was asked during this run."""
        log = self.home / "log"
        log.write_text("")
        keep = {k: v for k, v in os.environ.items() if not k.startswith(("SEQTRACK", "PYTHON"))}
        path = f"{self.home}{os.pathsep}{keep['PATH']}"
        own = {"PATH": path, "FAKE_LOG": str(log), "FAKE_HOME": str(self.home)}
        done = subprocess.run(
            ["bash", str(self.root / script), *arguments],
            cwd=self.home,
            env={**keep, **own, "XDG_CACHE_HOME": str(self.home / "cache"), **settings},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=60,
            check=False,
        )
        return done.returncode, done.stdout, [line.strip() for line in log.read_text().splitlines()]

    def test(self, **settings: str) -> tuple[int, str, list[str]]:
        return self.run("scripts/test.sh", **settings)

    @property
    def stamp(self) -> list[str]:
        file = self.root / ".venv/.seqtrack-environment"
        return file.read_text().splitlines() if file.exists() else []


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    root, home = tmp_path / "a checkout", tmp_path / "home"
    shutil.copytree(ROOT / "scripts", root / "scripts")
    shutil.copytree(ROOT / ".ci", root / ".ci")
    for name in ("pyproject.toml", "setup.py", "constraints.txt"):
        shutil.copy(ROOT / name, root)
    home.mkdir()
    (home / "python3").write_text(FAKE_PYTHON)
    (home / "python3").chmod(0o755)
    return Machine(root, home)


def test_first_run_makes_the_environment(machine: Machine) -> None:
    code, said, asked = machine.test()
    assert code == 0, said
    assert f"-m venv {machine.root}/.venv" in asked
    assert EDITABLE in asked
    assert machine.stamp[1:] == ["extra dev"]
    assert not (machine.root / ".venv.lock").is_symlink()


def test_second_run_keeps_it_but_installs_the_project(machine: Machine) -> None:
    machine.test()
    _, _, asked = machine.test()
    assert not [line for line in asked if "venv " in line]
    assert EDITABLE in asked


def test_quickstart_shares_the_environment(machine: Machine) -> None:
    """Neither script remakes what the other has made, and the extra stays recorded."""
    machine.test()
    code, said, asked = machine.run("scripts/quickstart.sh")
    assert code == 0, said
    assert "-m pip install -e . -c constraints.txt" in asked
    assert machine.stamp[1:] == ["extra dev"]


def test_quickstart_without_set_up(machine: Machine) -> None:
    """`python` is taken as it is, and what is after -- goes to the training."""
    (machine.home / "python").symlink_to(machine.home / "python3")
    words = ["--", "--set", "TRAIN.EPOCH=1"]
    settings = {"SEQTRACK_NO_SETUP": "1", "SEQTRACK_QUICKSTART": "else where"}
    code, said, asked = machine.run("scripts/quickstart.sh", *words, **settings)
    assert code == 0, said
    assert len(asked) == 9 and all("else where" in line for line in asked)
    # First of all somebody sees a tracker that works.
    assert (
        asked[0].startswith("tracking/video_demo.py") and "--out else where/shipped.gif" in asked[0]
    )
    assert "else where/shipped.gif" in said.partition("== 2.")[0]
    train = "tracking/train.py --config seqtrack_scratch --save-dir else where --set TRAIN.EPOCH=1"
    assert asked[1] == train
    scores, page = (
        line for line in asked if "--config seqtrack_scratch seqtrack_nano stat" in line
    )
    assert scores.startswith("tracking/analysis_results.py")
    assert page.startswith("tracking/report.py") and "--out else where/report.html" in page
    assert machine.run("scripts/quickstart.sh", "--set")[0] == 2


def test_quickstart_that_is_stopped_says_how_to_go_on(machine: Machine) -> None:
    python = machine.home / "python"
    python.write_text('#!/bin/sh\ncase "$*" in *train.py*) exit 130 ;; esac\n')
    python.chmod(0o755)
    code, said, _ = machine.run("scripts/quickstart.sh", SEQTRACK_NO_SETUP="1")
    assert code == 130 and "== 3." not in said
    assert said.endswith(
        "Stopped. What was done is kept: bash scripts/quickstart.sh goes on from here.\n"
    )


@pytest.mark.parametrize(
    "change",
    [
        pytest.param("pyproject.toml", id="a dependency"),
        pytest.param("constraints.txt", id="a pin"),
        pytest.param("python", id="another Python"),
        pytest.param("stamp", id="never finished"),
    ],
)
def test_stale_environment_is_remade(machine: Machine, change: str) -> None:
    machine.test()
    leftover = machine.root / ".venv/leftover"
    leftover.touch()
    if change == "stamp":
        (machine.root / ".venv/.seqtrack-environment").unlink()
    elif change != "python":
        with open(machine.root / change, "a") as stream:
            stream.write("# changed\n")
    code, said, _ = machine.test(FAKE_VERSION="3.12.0" if change == "python" else "")
    assert code == 0
    assert "remaking" in said
    assert not leftover.exists()


def test_folder_that_is_no_environment_is_left_alone(machine: Machine) -> None:
    precious = machine.root / ".venv/precious"
    precious.parent.mkdir()
    precious.touch()
    code, said, _ = machine.test()
    assert code == 2
    assert "is no virtual environment" in said
    assert precious.exists()


def test_opencv_is_exchanged_and_stays_so(machine: Machine) -> None:
    code, said, asked = machine.test(FAKE_NO_GL=NO_GL)
    assert code == 0, said
    assert "libGL.so.1" in said and "opencv-python-headless 9.8.7" in said
    order = [
        EDITABLE,
        "-m pip uninstall --yes opencv-python opencv-python-headless",
        "-m pip install opencv-python-headless==9.8.7 -c constraints.txt",
        "-m pip install --no-deps -e .",
    ]
    assert [line for line in asked if line in order] == order
    assert machine.stamp[1:] == ["extra dev", "headless"]
    _, _, again = machine.test(FAKE_NO_GL=NO_GL)
    assert order[3] in again and EDITABLE not in again and order[1] not in again


def test_extra_is_added_to_an_exchanged_environment(machine: Machine) -> None:
    """--no-deps would leave the test tools out, so the exchange is done once more."""
    machine.run("scripts/quickstart.sh", FAKE_NO_GL=NO_GL)
    assert machine.stamp[1:] == ["headless"]
    code, said, asked = machine.test(FAKE_NO_GL=NO_GL)
    assert code == 0, said
    assert EDITABLE in asked
    assert machine.stamp[1:] == ["extra dev", "headless"]


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        pytest.param({"FAKE_PIP": "no such version"}, "no such version", id="pip fails"),
        pytest.param({"FAKE_NO_GL": "numpy is broken"}, "numpy is broken", id="cv2, not libGL"),
        pytest.param({"FAKE_CHECK": "timm 1 needs x"}, "timm 1 needs x", id="pip check"),
        pytest.param(
            {"FAKE_CHECK": "timm 1 needs x", "FAKE_NO_GL": NO_GL},
            "pip check: timm 1 needs x",
            id="pip check names more than the exchanged package",
        ),
    ],
)
def test_failed_set_up_is_shown_and_not_stamped(
    machine: Machine, settings: dict[str, str], says: str
) -> None:
    code, said, asked = machine.test(**settings)
    assert code == 1
    assert says in said
    assert machine.stamp == []
    assert "-m pytest" not in " ".join(asked)


def test_no_python(machine: Machine) -> None:
    code, said, _ = machine.test(PYTHON="/nowhere/python")
    assert code == 2
    assert "error: PYTHON=/nowhere/python" in said


def test_all_stages_run_and_one_failure_counts(machine: Machine) -> None:
    code, said, asked = machine.test(FAKE_MYPY="1")
    assert code == 1
    assert "mypy: FAILED" in said and "pytest: passed" in said
    assert f"-m pytest -m not slow and not gpu and not vot {IN_PARALLEL}" in asked
    assert "minutes on 2 cores" in said


def test_ci_runs_everything_in_a_cached_environment(machine: Machine) -> None:
    code, said, asked = machine.run(".ci/run")
    assert code == 0, said
    (environment,) = (machine.home / "cache/seqtrack/environments").iterdir()
    assert f"-m venv {environment}" in asked
    assert f"-m venv {machine.home}/cache/seqtrack/vot-toolkit" in asked
    assert f"-m pytest -m not gpu {IN_PARALLEL}" in asked
    assert not (machine.root / ".venv").exists()
    _, _, again = machine.run(".ci/run")
    assert EDITABLE in again
    assert not [line for line in again if line.startswith("-m venv")]


def test_ci_fails_without_the_toolkit_but_runs_the_rest(machine: Machine) -> None:
    with open(machine.home / "python3", "a") as stream:
        stream.write('case "$*" in *vot-toolkit*) echo "no such release"; exit 1 ;; esac\n')
    code, said, asked = machine.run(".ci/run")
    assert code == 1
    assert "no such release" in said
    assert "no VOT toolkit" in said
    assert f"-m pytest -m not gpu and not vot {IN_PARALLEL}" in asked


def test_toolkit_is_set_up_once(machine: Machine) -> None:
    code, said, asked = machine.run("scripts/setup_vot.sh")
    assert code == 0, said
    assert f"-m venv {machine.root}/.venv-vot" in asked
    assert any("vot-toolkit==0.7.4" in line for line in asked)
    _, said, again = machine.run("scripts/setup_vot.sh")
    assert "there already" in said
    assert not [line for line in again if "-m pip" in line]
    _, _, asked = machine.test()
    assert f"-m pytest -m not slow and not gpu {IN_PARALLEL}" in asked, "its tests run where it is"


def test_ci_keeps_two_environments(machine: Machine) -> None:
    for version in ("3.10.1", "3.11.1", "3.12.1"):
        machine.run(".ci/run", FAKE_VERSION=version)
    assert len(list((machine.home / "cache/seqtrack/environments").iterdir())) == 2


def test_arguments(machine: Machine) -> None:
    _, _, asked = machine.run("scripts/test.sh", "--", "tests/utils/test_boxes.py", "-k", "a b")
    assert any(line.endswith("tests/utils/test_boxes.py -k a b") for line in asked)
    code, said, _ = machine.run("scripts/test.sh", "--al")
    assert code == 2 and "'--al'" in said


def test_set_up_waits_for_a_running_one_only(machine: Machine) -> None:
    """The lock of a process that is gone does not count."""
    gone = subprocess.Popen(["true"])
    gone.wait()
    (machine.root / ".venv.lock").symlink_to(str(gone.pid))
    code, said, _ = machine.test()
    assert code == 0
    assert "waiting" not in said


# Makes an environment of the stand-in, and installs what it is told.
FAKE_UV = r"""#!/bin/bash
echo "uv $*" >>"$FAKE_LOG"
case "$*" in
  "venv "*) mkdir -p "${!#}/bin"; cp "$FAKE_HOME/python3" "${!#}/bin/python" ;;
  *"--resolution ${FAKE_BROKEN:-none} "*) echo "error: no version fits"; exit 1 ;;
esac
"""


@pytest.fixture
def versions(machine: Machine) -> Machine:
    """The stand-in as Python 3.10 and 3.12; 9.99 is not there."""
    (machine.home / "uv").write_text(FAKE_UV)
    (machine.home / "uv").chmod(0o755)
    fake = FAKE_PYTHON.replace(
        'case "$*" in',
        """case "$*" in
  *sys.version_info\\[:2\\]*) echo 3.10 ;;
  *sys.executable*) echo "$0" ;;
  *"Python"*) echo "Python, torch 1" ;;
  *"-m pytest"*) exit "${FAKE_TESTS:-0}" ;;""",
        1,
    )
    for name in ("python3", "python3.10", "python3.12"):
        (machine.home / name).write_text(fake)
        (machine.home / name).chmod(0o755)
    return machine


def test_versions_are_tried_one_by_one(versions: Machine) -> None:
    code, said, asked = versions.run("scripts/versions.sh", "3.10", "9.99", "3.12")
    assert code == 0, said
    installs = [line for line in asked if line.startswith("uv pip install")]
    # The oldest packages on the first Python only.
    assert [line.split("--resolution ")[1] for line in installs] == [
        "highest -e .[dev,openvino] httpx>=0.27",
        "lowest-direct -e .[dev,openvino] httpx>=0.27",
        "highest -e .[dev,openvino] httpx>=0.27",
    ]
    assert len([line for line in asked if line.startswith("-m pytest")]) == 3
    passed, oldest, missing, last = said.partition("== summary\n")[2].splitlines()
    assert passed == last == "  passed, highest: Python, torch 1"
    assert "lowest-direct" in oldest and missing == "  missing: Python 9.99"


@pytest.mark.parametrize("settings", [{"FAKE_BROKEN": "lowest-direct"}, {"FAKE_TESTS": "1"}])
def test_a_version_that_fails_does_not_hide_behind_others(versions: Machine, settings) -> None:
    code, said, asked = versions.run("scripts/versions.sh", "3.10", **settings)
    assert code == 1 and "  FAILED, lowest-direct" in said
    installs = [line for line in asked if line.startswith("uv pip install")]
    tested = [line for line in asked if line.startswith("-m pytest")]
    assert len(installs) == 2 and len(tested) == (1 if "FAKE_BROKEN" in settings else 2)
    assert ("  passed, highest" in said) == ("FAKE_BROKEN" in settings)


def test_versions_that_are_not_there(versions: Machine) -> None:
    code, said, _ = versions.run("scripts/versions.sh", "9.99", "/no/python")
    assert code == 2 and said.endswith("error: none of these Pythons was found: 9.99 /no/python\n")
    assert versions.run("scripts/versions.sh", "--lowest")[0] == 2
    code, said, _ = versions.run("scripts/versions.sh", "--help")
    assert code == 0 and said.startswith("Tries the project on each Python")
