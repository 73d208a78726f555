"""What the tests of VOT share: the kit's tiny data set, raw results, and a toolkit that is none."""

import struct
import sys
from pathlib import Path
from types import ModuleType

import numpy as np

from lib.vot.sequences import VotSequence, read_names
from lib.vot.stacks import Experiment, Stack, read_stack
from tests.helpers.kit_scripts import import_script

KIT = Path(__file__).parents[1] / "kits" / "vot"
STACK_FILE = KIT / "mask" / "stack_mini.yaml"


def kit_script(name: str) -> ModuleType:
    """A script of the kit as a module."""
    return import_script(KIT / f"{name}.py")


def make_sequences(folder: Path, kind: str = "mask") -> list[VotSequence]:
    """The kit's three sequences with masks (or boxes) as truth."""
    kit_script("make_dataset").main(str(folder), kind)
    return [VotSequence(folder / name) for name in read_names(folder)]


def mini_stack() -> Stack:
    """The kit's stack: VOT2020's with the EAO from frame 10 to 40."""
    return read_stack(STACK_FILE, "VOT20")


def write_regions(path: Path, regions: list) -> None:
    """A `.bin` file: an int is a special region, four numbers a box, an array a mask."""
    parts = [struct.pack("<hI", 1, len(regions))]
    for region in regions:
        if isinstance(region, int):
            parts.append(struct.pack("<BI", 0, region))
        elif isinstance(region, np.ndarray):
            height, width = region.shape
            edges = np.flatnonzero(np.diff(region.ravel().astype(int))) + 1
            runs = np.diff([0, *edges, region.size]).tolist()
            runs = [0, *runs] if region.flat[0] else runs
            head = struct.pack("<BhhHHH", 3, 0, 0, width, height, len(runs))
            parts.append(head + struct.pack(f"<{len(runs)}H", *runs))
        else:
            parts.append(struct.pack("<B4f", 1, *region))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(parts))


def tight_box(sequence: VotSequence, frame: int) -> tuple[float, float, float, float]:
    """The box around the truth of a frame."""
    left, top, right, bottom = sequence.truth[frame].bounds
    return float(left), float(top), float(right - left + 1), float(bottom - top + 1)


def write_static_results(
    results: Path, experiments: tuple[Experiment, ...], sequences: list[VotSequence]
) -> None:
    """Raw results of a tracker that repeats the box it was given."""
    for experiment in experiments:
        for sequence in sequences:
            for run in sequence.runs(experiment):
                box = tight_box(sequence, run.frames[0])
                path = results / experiment.name / sequence.name / f"{run.stem}.bin"
                write_regions(path, [1, *[box] * (len(run.frames) - 1)])
                times = "0.01\n" * len(run.frames)
                path.with_name(f"{run.stem}_time.value").write_text(times)


# Does what the toolkit does with files: it writes the results of a static tracker, as far as
# FAKE_LIMIT allows and FAKE_SLEEP seconds after each, and keeps what is there.
_PROGRAM = """
import os, sys, time
sys.path.insert(0, {root!r})
from pathlib import Path
words = sys.argv[1:]
if words[:1] == ["-c"]:
    print(os.environ.get("FAKE_VERSION", "0.7.4"))
    sys.exit(0)
words = words[2:]
with open({log!r}, "a") as stream:
    stream.write(" ".join(words) + "\\n")
if words[0] == "evaluate":
    from lib.vot.results import run_files
    from lib.vot.workspace import open_workspace
    from tests.helpers.vot_setup import tight_box, write_regions
    workspace = open_workspace(Path(words[2]))
    names = words[words.index("--experiments") + 1].split(",")
    limit = int(os.environ.get("FAKE_LIMIT", "1000"))
    sequences = {{one.name: one for one in workspace.sequences()}}
    experiments = workspace.stack.chosen(names)
    for file in run_files(workspace.results_dir(words[3]), experiments, list(sequences.values())):
        if file.find() is None:
            if limit == 0:
                print("Tracker interrupted, it did not reply in 180 seconds")
                sys.exit(0)
            limit -= 1
            sequence, run = sequences[file.folder.name], file.run
            box = tight_box(sequence, run.frames[0])
            write_regions(file.folder / (run.stem + ".bin"), [1, *[box] * (len(run.frames) - 1)])
            times = file.folder / (run.stem + "_time.value")
            times.write_text("0.01\\n" * len(run.frames))
            time.sleep(float(os.environ.get("FAKE_SLEEP", "0")))
"""


def make_toolkit(folder: Path) -> Path:
    """An environment whose interpreter only pretends to have the toolkit; returns its log."""
    log = folder / "calls"
    program = folder / "program.py"
    (folder / "bin").mkdir(parents=True)
    root = str(Path(__file__).parents[2])
    program.write_text(_PROGRAM.format(root=root, log=str(log)))
    python = folder / "bin" / "python"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{program}" "$@"\n')
    python.chmod(0o755)
    return log
