"""The sandbox finds what a reader must not do; a campaign that finds nothing means something."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# Readers that do each of these, in a process with one thread and little in it.
CODE = """
import contextlib, os, shutil, sys, threading
from pathlib import Path
from lib.utils.errors import DataError
from tests.fuzz.sandbox import Parser, outcomes

def writes_outside(folder, file):
    with contextlib.suppress(Exception):
        (folder.parent / "x").write_bytes(b"")

def reads_outside(folder, file):
    (folder.parent / "secret").read_bytes()

def removes_outside(folder, file):
    (folder.parent / "secret").unlink()

def runs(folder, file):
    os.system("true")

def fails(folder, file):
    return [][0]

def eats(folder, file):
    return len(bytes(1 << 40))

def crashes(folder, file):
    os.abort()

def ends(folder, file):
    os.kill(os.getpid(), 14)

def refuses(folder, file):
    raise DataError(f"{file.name}: no good")

def breaks_the_line(folder, file):
    raise DataError("a\\nb")

def reads(folder, file):
    (folder / "cache").write_bytes(file.read_bytes())

def removes_its_own(folder, file):
    (folder / "b" / "c").mkdir(parents=True)
    (folder / "b" / "c" / "d").write_bytes(b"")
    shutil.rmtree(folder / "b")
    assert not (folder / "b").exists()

def lets_a_thread_write(folder, file):
    thread = threading.Thread(target=writes_outside, args=(folder, file))
    thread.start()
    thread.join()

def hangs(folder, file):
    while True:
        pass

folder = Path(sys.argv[1]) / "files"
folder.mkdir()
(folder.parent / "secret").write_bytes(b"")
import tests.fuzz.sandbox as sandbox
sandbox.SECONDS = 1
readers = (writes_outside, reads_outside, removes_outside, runs, fails, eats, crashes, refuses,
           breaks_the_line, reads, removes_its_own, lets_a_thread_write, hangs)
for reader in readers:
    parser = Parser(reader.__name__, lambda folder: [], reader)
    found = outcomes(parser, folder, [(folder / "a", b"0123")], 3)
    # After a reader that ends its process, the next input is read by another.
    print(reader.__name__, *(next(found)[1] for _ in range(2)))
    found.close()
"""
EXPECTED = """\
writes_outside escape escape
reads_outside escape escape
removes_outside escape escape
runs escape escape
fails IndexError IndexError
eats MemoryError MemoryError
crashes crash crash
refuses refused refused
breaks_the_line message message
reads value value
removes_its_own value value
lets_a_thread_write escape escape
hangs hang hang
"""

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="the limits of a process are those of Linux"
)


def test_every_misdeed_has_its_name(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", CODE, str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == EXPECTED, done.stderr
    assert not (tmp_path / "x").exists() and (tmp_path / "secret").exists()
