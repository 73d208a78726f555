"""VOT with the real toolkit, in its own environment, and the tiny model."""

import json
import os
import shutil
from pathlib import Path

import pytest

from lib.commands.entry import run
from lib.vot.evaluate import read_analysis
from lib.vot.workspace import open_workspace
from tests.helpers.kit_scripts import import_script
from tests.helpers.vot_setup import STACK_FILE, make_sequences

pytestmark = [pytest.mark.vot, pytest.mark.timeout(3600)]
KITS = Path(__file__).parents[1] / "kits"
EXPERIMENTS = ("baseline", "realtime", "unsupervised")


def vot(action: str, root: Path, *words: str) -> int:
    return run("lib.commands.vot", [action, "--workspace", str(root), *words])


def make_workspace(root: Path, *words: str) -> Path:
    """A workspace of the kit's stack and sequences."""
    assert vot("init", root, "--stack", str(STACK_FILE), *words) == 0
    make_sequences(root / "sequences")
    return root


def check_equal_scores(root: Path, name: str) -> None:
    """`score` gives what the toolkit's analysis gives, in all experiments."""
    assert vot("analyze", root, name) == 0
    assert vot("score", root, name) == 0
    theirs = read_analysis(root / "analysis/latest.json")[name]
    ours = json.loads((root / "scores.json").read_text())[name]["experiments"]
    assert tuple(ours) == tuple(theirs) == EXPERIMENTS
    for experiment, row in ours.items():
        assert set(row) == ({"A"} if experiment == "unsupervised" else {"EAO", "A", "R"})
        for key, value in row.items():
            assert value == pytest.approx(theirs[experiment][key], abs=1e-9), (experiment, key)


def result_files(root: Path, name: str) -> dict[str, bytes]:
    """What the tracker said, by file; times are of the clock and left out."""
    folder = root / "results" / name
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for experiment in ("baseline", "unsupervised")
        for path in (folder / experiment).rglob("*")
        if path.is_file() and not path.name.endswith("_time.value")
    }


@pytest.fixture(scope="module")
def boxes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model on three sequences in three experiments."""
    root = make_workspace(tmp_path_factory.mktemp("boxes"), "--trackers", "seqtrack_tiny")
    assert vot("run", root, "seqtrack_tiny") == 0
    return root


def test_box_tracker_gets_the_numbers_of_the_toolkit(boxes: Path) -> None:
    check_equal_scores(boxes, "seqtrack_tiny")
    rows = json.loads((boxes / "scores.json").read_text())
    assert rows["seqtrack_tiny"]["eao"] > 0.5, "it follows drawn targets"
    assert vot("report", boxes, "seqtrack_tiny") == 0
    assert (boxes / "reports/latest/report.html").stat().st_size > 1000
    confidences = list((boxes / "results/seqtrack_tiny").rglob("*_confidence.value"))
    assert len(confidences) == 21
    logs = list((boxes / "logs/seqtrack_tiny").glob("*.log"))
    assert len(logs) == 9, "one process for all starts of a sequence in an experiment"


def test_a_process_per_start_says_the_same(boxes: Path, tmp_path: Path) -> None:
    root = make_workspace(tmp_path, "--trackers", "seqtrack_tiny", "--restart")
    words = ["--experiments", "baseline", "unsupervised", "--", "seqtrack_tiny"]
    assert vot("run", root, *words) == 0
    assert len(list((root / "logs/seqtrack_tiny").glob("*.log"))) == 12
    fresh, served = result_files(root, "seqtrack_tiny"), result_files(boxes, "seqtrack_tiny")
    assert len(fresh) == 24
    assert fresh == served


def test_a_path_with_other_letters(boxes: Path, tmp_path: Path) -> None:
    """TraX carries neither letters outside ASCII nor percent signs."""
    root = make_workspace(tmp_path / "M\u00fc 50%" / "workspace", "--trackers", "seqtrack_tiny")
    assert vot("run", root, "seqtrack_tiny") == 0
    assert result_files(root, "seqtrack_tiny") == result_files(boxes, "seqtrack_tiny")


def test_mask_tracker_gets_the_numbers_of_the_toolkit(tmp_path: Path) -> None:
    """One sequence of twelve frames with two anchors: a mask takes a second on a CPU."""
    root = tmp_path / "ws"
    words = ["--trackers", "seqtrack_tiny_ar", "--refiner-checkpoint", str(recipe(tmp_path))]
    make_workspace(root, *words)
    shorten(root / "sequences", "slowdisc", 12)
    assert vot("run", root, "seqtrack_tiny_ar") == 0
    check_equal_scores(root, "seqtrack_tiny_ar")
    assert vot("report", root, "seqtrack_tiny_ar") == 0
    rows = json.loads((root / "scores.json").read_text())
    assert 0 < rows["seqtrack_tiny_ar"]["eao"] < 1
    files = sorted((root / "results/seqtrack_tiny_ar").rglob("*.bin"))
    assert len(files) == 5
    workspace = open_workspace(root)
    (sequence,) = workspace.sequences()
    assert [len(run.frames) for run in sequence.runs(workspace.stack.experiments[0])] == [12, 12]


def recipe(folder: Path) -> Path:
    """Alpha-Refine with the weights of the kit's recipe."""
    import torch

    kit = KITS / "alpha_refine"
    module = import_script(kit / "ar_parity.py")
    case = next(iter(json.loads((kit / "cases.json").read_text()).values()))
    keys = module.load_keys(kit / "state_dict_keys.json")
    # On these frames the bias of the case gives empty masks; this one nearly fills the window.
    arrays = module.make_state_dict(keys, case["weight_seed"], mask_bias=1.5)
    tensors = {key: torch.from_numpy(one) for key, one in arrays.items()}
    path = folder / "recipe.pth.tar"
    torch.save({"net": tensors}, path)
    return path


def shorten(folder: Path, name: str, frames: int) -> None:
    """Leave one sequence with its first frames, and an anchor at either end."""
    (folder / "list.txt").write_text(f"{name}\n")
    root = folder / name
    truth = (root / "groundtruth.txt").read_text().splitlines()[:frames]
    (root / "groundtruth.txt").write_text("\n".join(truth) + "\n")
    anchors = ["1", *["0"] * (frames - 2), "-1"]
    (root / "anchor.value").write_text("\n".join(anchors) + "\n")
    facts = (root / "sequence").read_text().replace("length=60", f"length={frames}")
    (root / "sequence").write_text(facts)


def test_self_test_and_a_tracker_that_dies(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """A damaged frame ends the tracker mid-run; what was finished stays, and the run goes on."""
    root = make_workspace(tmp_path / "ws", "--trackers", "static_box")
    assert vot("check", root, "static_box") == 0
    assert "self-test" in capsys.readouterr().out
    frame = root / "sequences/fastellipse/color/00000040.jpg"
    whole = frame.read_bytes()
    frame.write_bytes(whole[: len(whole) // 2])
    words = ["--experiments", "baseline", "--", "static_box"]
    assert vot("run", root, *words) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "6 of 9 runs are missing, from baseline/fastellipse_00000000" in error
    assert "the tracker stopped" in error and "00000040.jpg" in error and "cut short" in error
    done = {path: path.read_bytes() for path in root.glob("results/*/*/*/*.bin")}
    assert len(done) == 3
    frame.write_bytes(whole)
    assert vot("run", root, *words) == 0
    assert all(path.read_bytes() == content for path, content in done.items())
    assert len(list(root.glob("results/*/*/*/*.bin"))) == 9


def test_a_tracker_that_is_killed(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """Not ours, so that nobody explains anything: the toolkit's words are passed on."""
    root = make_workspace(tmp_path / "ws", "--trackers", "static_box")
    (root / "dying.py").write_text(
        "import os, trax\n"
        "server = trax.Server(['rectangle'], ['path'], ['color'])\n"
        "request = server.wait()\n"
        "server.status([(request.objects[0][0], {})])\n"
        "server.wait()\n"
        "os.kill(os.getpid(), 9)\n"
    )
    text = (root / "trackers.ini").read_text()
    start = text.index("command = ")
    text = f"{text[:start]}command = dying\n{text[text.index('paths = ') :]}"
    before, _, after = text.partition("paths = ")
    after = after.partition("\n")[2]
    (root / "trackers.ini").write_text(f"{before}paths = .\n{after}")
    assert vot("run", root, "--experiments", "unsupervised", "--", "static_box") == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "3 of 3 runs are missing" in error and "the toolkit (exit code 0) says" in error
    assert not os.path.exists(root / "results/static_box/run.json")
    shutil.rmtree(root)
