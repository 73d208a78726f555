"""`vot.py`: workspaces, runs that stop or do not start, and numbers; the toolkit is a stand-in."""

import configparser
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from lib.commands.entry import run
from lib.config.loader import load_config
from lib.config.paths import ALPHA_REFINE_FOLDER, repository_root
from lib.config.schema import PUBLISHED_CONFIGS
from lib.utils.errors import ConfigError
from lib.vot.entry import DEFAULT_TRACKERS, find_entry, made_of
from lib.vot.run import why
from lib.vot.sequences import VotSequence
from lib.vot.stacks import STACKS, find_stack
from lib.vot.toolkit import TOOLKIT_VERSION, is_plain
from lib.vot.workspace import arguments_of, open_workspace
from tests.helpers.vot_setup import (
    STACK_FILE,
    make_sequences,
    make_toolkit,
    mini_stack,
    write_static_results,
)

pytest.importorskip("trax", reason="vot-trax is not installed; it is in the dev extra")
WEIGHTS = repository_root() / "checkpoints/train/seqtrack/seqtrack_tiny/SEQTRACK.pth.tar"


class Place:
    """A save folder with a workspace of the kit's stack, and a stand-in for the toolkit."""

    def __init__(self, root: Path) -> None:
        self.save, self.root = root / "save", root / "ws"
        self.calls = make_toolkit(root / "toolkit")

    def vot(self, action: str, *words: str) -> int:
        common = ["--workspace", str(self.root), "--save_dir", str(self.save)]
        return run("lib.commands.vot", [action, *common, *words])

    def prepare(self, *trackers: str, sequences: bool = True) -> None:
        assert self.vot("init", "--stack", str(STACK_FILE), "--trackers", *trackers) == 0
        if sequences:
            make_sequences(self.root / "sequences")

    def results(self, name: str) -> list[Path]:
        return sorted((self.root / "results" / name).glob("*/*/*.bin"))


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.setenv("SEQTRACK_VOT_VENV", str(tmp_path / "toolkit"))
    return Place(tmp_path)


def one_line(capsys: pytest.CaptureFixture[str]) -> str:
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1, error
    return error


# --- init


@pytest.mark.parametrize(
    ("stack", "folder", "key"),
    [
        ("vot2020/shortterm", "vot20", "VOT20"),
        ("vot2021/shortterm", "vot21", "VOT21"),
        ("vot2022/shortterm", "vot22_sts", "VOT22"),
        ("vot2022/shorttermbox", "vot22_stb", "VOT22"),
    ],
)
def test_every_stack_has_a_workspace_and_all_trackers(
    tmp_path: Path, stack: str, folder: str, key: str
) -> None:
    words = ["init", "--stack", stack, "--save_dir", str(tmp_path), "--nodownload"]
    assert run("lib.commands.vot", words) == 0
    root = tmp_path / "external" / folder / "seqtrack"
    content = yaml.safe_load((root / "config.yaml").read_text())
    assert content == {"registry": ["./trackers.ini"], "stack": stack}
    workspace = open_workspace(root)
    sections = workspace.trackers()
    assert tuple(sections) == DEFAULT_TRACKERS
    assert len(sections) == 16
    for name, section in sections.items():
        words = arguments_of(section)
        assert words[0] == name
        assert words[words.index("--update-rule") + 1] == key
        assert section["python"] == sys.executable
        assert section["timeout"] == "180"


def test_sections_are_what_the_toolkit_reads(tmp_path: Path) -> None:
    """Its reader: keys in lower case, a percent sign is special, paths from the ini file."""
    save = tmp_path / "50% o'clock"
    words = ["init", "--save_dir", str(save), "--nodownload", "--trackers", "seqtrack_b256_ar"]
    assert run("lib.commands.vot", words) == 0
    parser = configparser.ConfigParser()
    parser.read(save / "external/vot20/seqtrack/trackers.ini")
    section = parser["seqtrack_b256_ar"]
    assert section["env_omp_num_threads"] == "1"
    assert (Path(section["paths"]) / "lib/commands/vot.py").is_file()
    assert str(save) in arguments_of(dict(section))
    compile(section["command"], "command", "exec")


def test_paths_are_relative_to_the_ini_file_in_a_checkout() -> None:
    from lib.vot.workspace import make_section

    root = repository_root() / "external/vot20/seqtrack"
    section = make_section("x", ["serve", "x"], root, 1)
    assert section["paths"] == os.path.join("..", "..", "..")


def test_the_update_rule_is_that_of_the_configuration() -> None:
    """Interval and threshold on VOT: two files set them, the others have the default."""
    special = {"seqtrack_b256": (1, 0.55), "seqtrack_b384": (20, 0.45)}
    for name in PUBLISHED_CONFIGS:
        test = load_config(name).test
        for key in ("VOT20", "VOT21", "VOT22"):
            rule = (test.update_interval_for(key), test.update_threshold_for(key))
            assert rule == special.get(name, (10, 0.475)), name
    made = made_of_tiny("VOT21")
    assert made.spec.update_key == "VOT21"
    assert made.record(mini_stack()).settings["TEST.UPDATE_INTERVALS"] == 10


def made_of_tiny(key: str):
    words = ["serve", "seqtrack_tiny", "--workspace", "x", "--dataset", key]
    return made_of({"command": f"run('lib.commands.vot', {words!r})"})


def test_kinds_of_trackers() -> None:
    assert find_entry("seqtrack_l384_got_ar").refiner == "alpha_refine"
    assert find_entry("seqtrack_b256_sam2").label == "SeqTrack-B256 + SAM 2"
    assert find_entry("static_box").tracker == "static_box"


def test_init_keeps_other_sections_and_results(place: Place) -> None:
    place.prepare("static_box")
    with open(place.root / "trackers.ini", "a") as stream:
        stream.write("[other]\ncommand = theirs\n")
    (place.root / "results/other").mkdir()
    place.prepare("seqtrack_tiny", sequences=False)
    assert list(open_workspace(place.root).trackers()) == ["static_box", "other", "seqtrack_tiny"]
    assert (place.root / "results/other").is_dir()


def test_results_of_two_stacks_never_mix(place: Place, capsys) -> None:
    place.prepare("static_box")
    sequences = [VotSequence(place.root / "sequences/slowdisc")]
    write_static_results(place.root / "results/x", mini_stack().experiments, sequences)
    capsys.readouterr()
    assert place.vot("init", "--stack", "vot2020/shortterm", "--nodownload") == 2
    assert "holds results on stack stack_mini.yaml" in one_line(capsys)


def test_advice_names_the_workspace_where_it_is_not_the_default(place: Place, capsys) -> None:
    """As typed, it is for this workspace and its stack."""
    assert place.vot("score") == 2
    assert f"init --workspace {place.root}` makes one" in one_line(capsys)
    place.prepare("static_box", sequences=False)
    capsys.readouterr()
    assert place.vot("run", "other") == 2
    said = f"init other --stack {place.root / 'stack_mini.yaml'} --workspace {place.root}` adds it"
    assert said in one_line(capsys)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        pytest.param(["--stack", "vot2020"], "'vot2020/shortterm' since", id="old name"),
        pytest.param(["--stack", "vot2020/shortem"], "did you mean 'vot2020/", id="typo"),
        pytest.param(["--stack", "vot2018/longterm"], "not supported: long-term", id="long-term"),
        pytest.param(["--stack", "vots2024/main"], "not supported: several targets", id="targets"),
        pytest.param(["--stack", "VOT2022/RGBD"], "not supported: images with depth", id="depth"),
        pytest.param(["--stack", "vot2019/rgbtir"], "not supported: thermal", id="thermal"),
        pytest.param(["--stack", "vot2018/shortterm"], "not supported: starting anew", id="old"),
        pytest.param(["--stack", "none.yaml"], "no stack file none.yaml", id="no file"),
        pytest.param(["--trackers", "seqtrack_b265"], "did you mean 'seqtrack_b256'", id="tracker"),
        pytest.param(["--dataset", "VOT21"], "contradicts stack", id="another update rule"),
        pytest.param(["--checkpoint", "x"], "of one model", id="weights of many"),
    ],
)
def test_wrong_input_of_init(place: Place, capsys, words: list[str], says: str) -> None:
    assert place.vot("init", *words) == 2
    assert says in one_line(capsys)
    assert not place.root.exists()


@pytest.mark.parametrize(
    ("stack", "hint"),
    [
        ("vot2020/shortem", "; did you mean 'vot2020/shortterm'?"),
        ("VOT2022/shorttermbx", "; did you mean 'vot2022/shorttermbox'?"),
        ("vot2023/shortterm", ""),
        ("vot2021/longtime", ""),
        ("lasot", ""),
    ],
)
def test_only_slips_of_the_pen_are_corrected(stack: str, hint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        find_stack(stack)
    assert str(caught.value).startswith(f"there is no stack {stack!r}{hint}; choose of vot2020/")


def test_capitals_of_a_stack_do_not_matter() -> None:
    assert find_stack("VOT2020/ShortTerm") is STACKS["vot2020/shortterm"]


def test_init_counts_what_is_in_the_file(place: Place, capsys) -> None:
    place.prepare("static_box", sequences=False)
    assert "\n1 tracker in trackers.ini\n" in capsys.readouterr().out
    place.prepare("seqtrack_tiny", sequences=False)
    assert "\n2 trackers in trackers.ini, 1 of them written now\n" in capsys.readouterr().out


def test_offline_init_leaves_a_workspace_that_works_when_filled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    """The default stack on a clean clone: without the toolkit, then without network."""
    monkeypatch.setenv("SEQTRACK_VOT_VENV", str(tmp_path / "none"))
    words = ["init", "--save_dir", str(tmp_path), "--trackers", "static_box"]
    assert run("lib.commands.vot", words) == 1
    error = one_line(capsys)
    assert "scripts/setup_vot.sh" in error and "description.json" in error
    root = tmp_path / "external/vot20/seqtrack"
    make_toolkit(tmp_path / "toolkit")  # downloads nothing
    monkeypatch.setenv("SEQTRACK_VOT_VENV", str(tmp_path / "toolkit"))
    assert run("lib.commands.vot", words) == 1
    error = one_line(capsys)
    assert "could not be downloaded from https://data.votchallenge.net/vot2020" in error
    assert open_workspace(root).stack == STACKS["vot2020/shortterm"], "config.yaml is back"
    make_sequences(root / "sequences")
    command = ["--save_dir", str(tmp_path), "static_box"]
    assert run("lib.commands.vot", ["run", *command]) == 0
    assert run("lib.commands.vot", ["score", *command]) == 0
    assert "3 sequences of the 60" in capsys.readouterr().out


def test_a_list_is_written_for_sequences_that_are_all_there(place: Place, capsys) -> None:
    place.prepare("static_box")
    (place.root / "sequences/list.txt").unlink()
    assert len(open_workspace(place.root).sequences()) == 3
    assert (place.root / "sequences/list.txt").read_text().split()[0] == "fastellipse"
    shutil.rmtree(place.root / "sequences/slowdisc")
    assert place.vot("run", "static_box") == 2
    assert "list.txt names it" in one_line(capsys)


def test_an_unfinished_download_is_not_taken_for_the_data(tmp_path: Path, capsys) -> None:
    words = ["--save_dir", str(tmp_path)]
    run("lib.commands.vot", ["init", *words, "--nodownload", "--trackers", "static_box"])
    make_sequences(tmp_path / "external/vot20/seqtrack/sequences")
    (tmp_path / "external/vot20/seqtrack/sequences/list.txt").unlink()
    capsys.readouterr()
    assert run("lib.commands.vot", ["score", *words]) == 2
    assert "3 of the 60 sequences" in one_line(capsys)


# --- run


def test_run_score_and_zoo(place: Place, capsys) -> None:
    place.prepare("static_box", "seqtrack_b256")
    assert place.vot("run") == 0, "the one with weights"
    assert "left out, as they have no weights: seqtrack_b256" in capsys.readouterr().out
    assert len(place.results("static_box")) == 21
    assert json.loads((place.root / "results/static_box/run.json").read_text())["stack"]
    assert place.vot("score") == 0
    assert "0.2617" in capsys.readouterr().out
    rows = json.loads((place.root / "scores.json").read_text())
    assert rows["static_box"]["eao"] == pytest.approx(0.2616651881, abs=1e-10)
    target = place.save / "external/vot20/seqtrack/scores.json"
    target.parent.mkdir(parents=True)
    official = {"stack": "vot2020/shortterm", "sequences": 60}
    target.write_text(json.dumps({"seqtrack_b256": rows["static_box"] | official}))
    assert run("lib.commands.analyze", ["--zoo", "--save_dir", str(place.save)]) == 0
    assert "26.2" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("seconds", "own", "said"),
    [
        (31, "", "timeout: disc: Tracker interrupted, it did not reply in 30 seconds"),
        (3, "", "the toolkit (exit code 0) says: Error, sequence disc: Tracker interrupted, it did "
         "not reply in 30 seconds, but less time went by: the tracker's process ended"),
        (3, "error: no such weights", "the tracker stopped: no such weights"),
    ],
)  # fmt: skip
def test_a_timeout_is_one_only_after_its_time(tmp_path: Path, seconds, own, said) -> None:
    """The toolkit says so of every process that ends before its clock ticks."""
    log = tmp_path / "toolkit.log"
    log.write_text("Error, sequence disc: Tracker interrupted, it did not reply in 30 seconds\n")
    if own:
        (tmp_path / "mine").mkdir()
        (tmp_path / "mine" / "1.log").write_text(own)
    place = SimpleNamespace(logs_dir=tmp_path)
    assert why(place, "mine", log, time.time() - seconds, 0) == said


def test_a_stopped_run_goes_on(place: Place, capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is lost, what was left half-written runs anew, what is complete is not touched."""
    place.prepare("static_box")
    capsys.readouterr()
    monkeypatch.setenv("FAKE_LIMIT", "5")
    assert place.vot("run", "static_box") == 1
    error = one_line(capsys)
    assert "16 of 21 runs are missing, from baseline/fastellipse_00000047" in error
    assert "did not reply in 180 seconds" in error
    there = {path: path.stat().st_mtime_ns for path in place.results("static_box")}
    assert len(there) == 5
    cut, late = list(there)[:2]
    cut.write_bytes(cut.read_bytes()[:-3])
    late.with_name(late.stem + "_time.value").write_text("0.1\n")
    monkeypatch.setenv("FAKE_LIMIT", "1000")
    assert place.vot("run", "static_box") == 0
    said = capsys.readouterr().out
    assert said.count("half-written") == 2
    assert all(path.stat().st_mtime_ns == there[path] for path in list(there)[2:])
    assert len(place.results("static_box")) == 21
    assert place.vot("run", "static_box") == 0
    assert "all 21 runs are there already" in capsys.readouterr().out
    assert place.calls.read_text().count("evaluate") == 2


def test_ctrl_c_ends_the_toolkit_too(place: Place) -> None:
    place.prepare("static_box")
    command = [sys.executable, str(repository_root() / "tracking/vot.py"), "run", "static_box"]
    process = subprocess.Popen(
        [*command, "--workspace", str(place.root)],
        env={**os.environ, "FAKE_SLEEP": "300"},
        stderr=subprocess.PIPE,
        text=True,
    )
    end = time.monotonic() + 120
    while not place.results("static_box") and time.monotonic() < end:
        time.sleep(0.1)
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130
    assert error.startswith("interrupted: finished runs are kept")
    assert len(place.results("static_box")) == 1
    assert not [name for name in command_lines() if str(place.root).encode() in name]
    assert place.vot("run", "static_box") == 0
    assert len(place.results("static_box")) == 21


def command_lines() -> list[bytes]:
    """Those of all processes, where the system has them as files."""
    lines = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            lines.append(path.read_bytes())
    return lines


def test_results_of_other_weights_are_never_reused(place: Place, capsys) -> None:
    from safetensors.torch import save_file

    from lib.utils.checkpoint import read_state_dict

    place.prepare("seqtrack_tiny")
    assert place.vot("run", "seqtrack_tiny") == 0
    assert place.vot("score") == 0
    before = place.results("seqtrack_tiny")
    other = place.root.parent / "other.safetensors"
    weights = read_state_dict(WEIGHTS)
    save_file({key: value.clone() for key, value in weights.items()}, other)
    words = ["--trackers", "seqtrack_tiny", "--checkpoint", str(other)]
    assert place.vot("init", "--stack", str(STACK_FILE), *words) == 0
    capsys.readouterr()
    assert place.vot("run", "seqtrack_tiny") == 2
    error = one_line(capsys)
    assert "checkpoint_sha256 was" in error and "--overwrite" in error
    assert place.results("seqtrack_tiny") == before
    assert place.vot("check", "--quick", "seqtrack_tiny") == 1
    assert "checkpoint_sha256 was" in capsys.readouterr().out
    assert place.vot("run", "--overwrite", "seqtrack_tiny") == 0
    assert "seqtrack_tiny" not in json.loads((place.root / "scores.json").read_text())


@pytest.mark.parametrize(
    ("name", "folder", "file"),
    [
        pytest.param("static_box_ar", ALPHA_REFINE_FOLDER, "any.pth.tar", id="Alpha-Refine"),
        pytest.param("static_box_sam2", "external/sam2", "config.json", id="SAM 2"),
    ],
)
def test_mask_weights_of_the_save_folder(place: Place, capsys, name, folder, file) -> None:
    """They are the ones that count, and results of others are noticed."""
    place.prepare(name)
    capsys.readouterr()
    assert place.vot("run", name) == 2
    assert f"tried {place.save / folder}" in one_line(capsys)
    weights = place.save / folder / file
    weights.parent.mkdir(parents=True)
    weights.write_text("before")
    (section,) = open_workspace(place.root).trackers().values()
    assert made_of(section).refiner_weights in (weights, weights.parent)
    assert place.vot("run", name) == 0
    assert place.vot("check", "--quick", name) == 0
    weights.write_text("after")
    capsys.readouterr()
    assert place.vot("run", name) == 2
    error = one_line(capsys)
    assert "refiner_sha256 was" in error and "--overwrite" in error


def test_results_of_nobody_knows_what_are_left_alone(place: Place, capsys) -> None:
    """Such as downloaded ones: they can be scored, and are not run over."""
    place.prepare("static_box")
    sequences = open_workspace(place.root).sequences()
    write_static_results(place.root / "results/static_box", mini_stack().experiments, sequences)
    assert place.vot("score", "static_box") == 0
    capsys.readouterr()
    assert place.vot("run", "static_box") == 2
    assert "no run.json" in one_line(capsys)


def test_truth_that_is_cut_short_is_named_before_a_run(place: Place, capsys) -> None:
    place.prepare("static_box")
    assert place.vot("run", "static_box") == 0
    truth = place.root / "sequences/slowdisc/groundtruth.txt"
    lines = truth.read_text().splitlines(keepends=True)
    truth.write_text("".join(lines[:25]))
    calls = place.calls.read_text()
    capsys.readouterr()
    assert place.vot("run", "--overwrite", "static_box") == 2
    said = f"{truth}: 25 rows for {len(lines)} frames"
    assert said in one_line(capsys)
    assert place.calls.read_text() == calls and place.results("static_box"), "nothing was started"
    assert place.vot("check", "--quick") == 1
    assert f"WRONG  {said}" in capsys.readouterr().out
    assert place.vot("score", "static_box") == 0
    assert f"note: {said}; frames without truth count as misses" in capsys.readouterr().out


def test_frames_that_are_missing_are_named_before_a_run(place: Place, capsys) -> None:
    place.prepare("static_box")
    folder = place.root / "sequences/slowdisc"
    last = sorted((folder / "color").iterdir())[-1]
    last.unlink()
    capsys.readouterr()
    assert place.vot("run", "static_box") == 2
    assert f"{last}: not found" in one_line(capsys)
    # Where the file does not state a length, the frames are counted.
    facts = (folder / "sequence").read_text().splitlines(keepends=True)
    (folder / "sequence").write_text("".join(x for x in facts if not x.startswith("length")))
    assert place.vot("run", "static_box") == 2
    error = one_line(capsys)
    rows = len((folder / "groundtruth.txt").read_text().splitlines())
    assert f"groundtruth.txt: {rows} rows for {rows - 1} frames" in error


def test_a_path_that_the_protocol_cannot_carry_runs_through_a_link(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEQTRACK_VOT_VENV", str(tmp_path / "M\u00fc 100%" / "toolkit"))
    place = Place(tmp_path / "M\u00fc 100%")
    place.prepare("static_box")
    assert place.vot("run", "static_box") == 0
    assert len(place.results("static_box")) == 21
    (call,) = (line for line in place.calls.read_text().splitlines() if "evaluate" in line)
    assert is_plain(call) and str(place.root) not in call
    assert not Path(call.split()[2]).exists(), "the link is gone"


def test_names_that_the_protocol_cannot_carry_are_refused(place: Place, capsys) -> None:
    place.prepare("static_box")
    folder = place.root / "sequences"
    (folder / "slowdisc").rename(folder / "lent%")
    text = (folder / "list.txt").read_text()
    (folder / "list.txt").write_text(text.replace("slowdisc", "lent%"))
    capsys.readouterr()
    assert place.vot("run", "static_box") == 2
    assert "lent%/color/00000001.jpg: the VOT toolkit needs names of ASCII" in one_line(capsys)


def test_missing_things_before_a_run(place: Place, capsys, monkeypatch) -> None:
    assert place.vot("run") == 2
    assert "no workspace of the VOT toolkit" in one_line(capsys)
    place.prepare("seqtrack_b256", "seqtrack_tiny_ar", "static_box", sequences=False)
    capsys.readouterr()
    assert place.vot("run", "static_box") == 2
    assert "no sequences; put a folder per sequence" in one_line(capsys)
    make_sequences(place.root / "sequences")
    assert place.vot("run", "static_bok") == 2
    assert "did you mean 'static_box'" in one_line(capsys)
    assert place.vot("run", "seqtrack_b256") == 2
    assert "SEQTRACK.pth.tar" in one_line(capsys)
    assert place.vot("run", "seqtrack_tiny_ar") == 2
    assert "Alpha-Refine" in one_line(capsys)
    assert place.vot("run", "--experiments", "basline", "--", "static_box") == 2
    assert "did you mean 'baseline'" in one_line(capsys)
    monkeypatch.setenv("FAKE_VERSION", "0.9.0")
    assert place.vot("run", "static_box") == 2
    assert f"0.9.0 is installed, and {TOOLKIT_VERSION} is needed" in one_line(capsys)
    monkeypatch.setenv("SEQTRACK_VOT_VENV", str(place.root / "none"))
    assert place.vot("run", "static_box") == 2
    assert "bash scripts/setup_vot.sh" in one_line(capsys)
    assert not place.results("static_box")


def test_wrong_interpreters(place: Place, capsys) -> None:
    place.prepare("static_box")
    ini = place.root / "trackers.ini"
    text = ini.read_text()
    ini.write_text(text.replace(f"python = {sys.executable}", "python = /no/such/python"))
    capsys.readouterr()
    assert place.vot("run", "static_box") == 2
    assert "/no/such/python of trackers.ini cannot be run" in one_line(capsys)
    bare = place.root.parent / "bare"
    bare.write_text("#!/bin/sh\necho \"No module named 'trax'\" >&2\nexit 1\n")
    bare.chmod(0o755)
    ini.write_text(text.replace(f"python = {sys.executable}", f"python = {bare}"))
    assert place.vot("run", "static_box") == 2
    assert "has no vot-trax" in one_line(capsys)
    assert place.vot("check", "--quick") == 1
    assert "has no vot-trax" in capsys.readouterr().out


def test_a_stack_that_is_gone(place: Place, capsys) -> None:
    place.prepare("static_box")
    (place.root / "config.yaml").write_text("stack: vot2020\nregistry: [./trackers.ini]\n")
    capsys.readouterr()
    assert place.vot("check") == 2
    assert "config.yaml: there is no stack 'vot2020'" in one_line(capsys)


def test_check_of_a_workspace_without_anything(place: Place, capsys, monkeypatch) -> None:
    place.prepare("seqtrack_b256", sequences=False)
    monkeypatch.setenv("SEQTRACK_VOT_VENV", str(place.root / "none"))
    capsys.readouterr()
    assert place.vot("check") == 1
    said = capsys.readouterr().out
    for words in ("setup_vot.sh", "no sequences", "no tracker has weights", "3 findings"):
        assert words in said


def test_analysis_that_is_not_written_is_an_error(place: Place, capsys) -> None:
    """The real toolkit ends with code 0 then."""
    place.prepare("static_box")
    assert place.vot("run", "static_box") == 0
    capsys.readouterr()
    assert place.vot("analyze") == 2
    assert "the toolkit has not written it" in one_line(capsys)
    place.results("static_box")[0].unlink()
    assert place.vot("report") == 2
    assert "1 of 21 runs are missing" in one_line(capsys)
