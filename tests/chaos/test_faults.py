"""What a faulty file system does to a process, and that it is counted."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# One process for all: what is patched there stays patched.
CODE = """
import errno, os, sys
from pathlib import Path
from lib.utils.files import atomic_write_text
from tests.chaos.faults import Fault, FaultyFiles, ForkedWork

root = Path(sys.argv[1])
(root / "here").mkdir(), (root / "there").mkdir()

def work(fault, folder="here"):
    def write():
        files = FaultyFiles(root / "here", fault)
        try:
            atomic_write_text(root / folder / "a", "x" * 5000)
        except OSError as error:
            print(errno.errorcode[error.errno], end=" ")
        print(len(files.moments), files.count > 3 if folder == "here" else files.count)
        return 0
    code, text = ForkedWork(write).wait()
    there = (root / folder / "a").exists()
    (root / folder / "a").unlink(missing_ok=True)
    return f"{fault.kind}: {code} {text} {there}"

for fault in (Fault(), Fault("kill", 1), Fault("full", 0), Fault("short", 0, 4000),
              Fault("read-only", 0), Fault("error", 1), Fault("away", 0)):
    print(work(fault))
print(work(Fault("full", 0), "there"))
"""
EXPECTED = """\
none: 0 1 True True
kill: -9  False
full: 0 ENOSPC 0 False False
short: 0 EFBIG 0 False False
read-only: 0 EROFS 0 False False
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="processes are forked as on Linux")
def test_each_fault_strikes_below_its_folder_only(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", CODE, str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.startswith(EXPECTED), done.stdout + done.stderr
    error, away, there = done.stdout.splitlines()[-3:]
    assert error.startswith("error: 0 EIO") and away.startswith("away: 0 EIO")
    assert there == "full: 0 0 0 True", "elsewhere nothing is counted, and nothing fails"


# A launcher with workers in sessions of their own, as torchrun's; it ends when one of them does.
WORKERS = """
import random, subprocess, sys, time
from pathlib import Path
from tests.chaos.faults import ForkedWork, family

LAUNCHER = (
    "import subprocess, sys, time\\n"
    "some = [subprocess.Popen(['sleep', '60'], start_new_session=True) for _ in range(2)]\\n"
    "while all(one.poll() is None for one in some): time.sleep(0.01)\\n"
    "codes = [one.poll() for one in some]\\n"
    "[one.kill() for one in some]\\n"
    "sys.exit(codes.count(-9))\\n"
)

def launch():
    return ForkedWork(lambda: subprocess.call([sys.executable, "-c", LAUNCHER]))

def runs(process):
    status = Path(f"/proc/{process}/status")
    return status.exists() and "State:\\tZ" not in status.read_text()

one = launch()
one.kill_worker(random.Random(0), 0)
print(one.wait()[0])

all_of_it = launch()
while len(started := list(family(all_of_it.number))) < 4:
    time.sleep(0.01)
all_of_it.kill()
print(all_of_it.wait()[0])
while any(map(runs, started)):
    time.sleep(0.01)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="processes are found in /proc")
def test_workers_are_killed_one_by_one_or_all() -> None:
    done = subprocess.run(
        [sys.executable, "-c", WORKERS],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=50,
    )
    assert done.stdout.split() == ["1", "-9"], done.stdout + done.stderr
