"""What made a result is read when it is scored: mixed, cut and untrained runs."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest

from lib.commands.entry import run
from lib.results.record import differences, is_untrained, run_cautions
from tests.helpers.report_files import FRAMES, World, blocks_of

RECORD = {
    "tracker": "seqtrack",
    "config_name": "mine",
    "settings": {"TEST.WINDOW": True, "TEST.SEARCH_FACTOR": 4.0},
    "checkpoint_sha256": "3f" * 32,
    "dataset": "videos",
    "source": "/data/videos",
    "max_frames": None,
    "float_results": False,
    "version": "1",
}
UNTRAINED = "tracked with untrained weights, so its boxes mean nothing"
CUT = f"only the first {FRAMES - 1} frames of each sequence were tracked"
CASES = {
    "settings": ({"settings": {"TEST.WINDOW": False}}, "TEST.WINDOW (True and False)"),
    "weights": ({"checkpoint_sha256": "a" * 64}, "checkpoint_sha256 (3f3f3f3f3f3f… and aaaaaaaa"),
    "no weights": ({"checkpoint_sha256": None}, "checkpoint_sha256 (3f3f3f3f3f3f… and None)"),
    "cut": ({"max_frames": 30}, "max_frames (None and 30)"),
    "data": ({"dataset": "other"}, "dataset ('videos' and 'other')"),
    "precision": (
        {"settings": {**RECORD["settings"], "ENGINE": "onnx int8"}},
        "ENGINE ('fp32' and 'onnx int8')",
    ),
    "decimals": ({"float_results": True}, "float_results (False and True)"),
}


class Runs(World):
    """Runs of a tracker on two sequences, each with a record of what made it."""

    def made(self, config: str, **changed: Any) -> Path:
        folder = self.track(config)
        self.record(folder, **changed)
        return folder

    @staticmethod
    def record(folder: Path, **changed: Any) -> None:
        (folder / "run.json").write_text(json.dumps({**RECORD, **changed}), encoding="utf-8")

    def score(self, command: str, *arguments: str) -> int:
        where = ["--dataset", str(self.data), "--save_dir", str(self.save)]
        if command == "report":
            where += ["--out", str(self.root / "page.html"), "--max-mb", "0.2"]
        return run(f"lib.commands.{command}", [*arguments, *where])

    def tree(self) -> dict[str, Any]:
        path = self.save / "test" / "analysis" / "videos.json"
        return json.loads(path.read_text(encoding="utf-8"))["videos"]


@pytest.fixture
def runs(tmp_path: Path) -> Runs:
    return Runs(tmp_path, ("one", "two"))


@pytest.mark.parametrize("command", ["analyze", "report"])
@pytest.mark.parametrize(("changed", "named"), CASES.values(), ids=CASES.keys())
def test_runs_that_were_not_made_alike_are_not_averaged(
    runs: Runs, capsys: pytest.CaptureFixture[str], command: str, changed: dict, named: str
) -> None:
    runs.made("mine_001")
    second = runs.made("mine_002", **changed)
    words = ["--config", "mine", "--runid", "1", "2"]
    assert runs.score(command, *words) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {second / 'run.json'}: mine_002 was not made as mine_001: ")
    assert named in error and error.endswith("or add --mixed-runs\n")
    assert not (runs.save / "test" / "analysis").exists()
    assert runs.score(command, *words, "--mixed-runs") == 0
    assert f"averaged over runs that differ, mine_002 was not made as mine_001: {named}" in (
        capsys.readouterr().err
    )


def test_runs_that_were_made_alike_are_averaged_without_a_word(
    runs: Runs, capsys: pytest.CaptureFixture[str]
) -> None:
    """Another version, and data that moved, change no box."""
    runs.made("mine_001")
    runs.made("mine_002", version="2", source="/mnt/videos")
    assert runs.score("analyze", "--config", "mine", "--runid", "1", "2") == 0
    shown = capsys.readouterr()
    assert shown.err == "" and "note:" not in shown.out
    assert runs.tree()["mine (2 runs)"]["cautions"] == []


def test_a_run_of_unknown_origin_is_not_averaged_with_a_known_one(
    runs: Runs, capsys: pytest.CaptureFixture[str]
) -> None:
    runs.made("mine_001")
    second = runs.track("mine_002")
    words = ["--config", "mine", "--runid", "1", "2"]
    assert runs.score("analyze", *words) == 2
    assert "run.json (there and missing)" in capsys.readouterr().err
    (second / "run.json").write_text("{", encoding="utf-8")
    assert runs.score("analyze", *words, "--mixed-runs") == 0
    error = capsys.readouterr().err
    assert "not valid JSON" in error and "what made these results is not known" in error


@pytest.mark.parametrize(
    ("changed", "caution"),
    [
        pytest.param({"max_frames": FRAMES - 1}, CUT, id="cut"),
        pytest.param({"checkpoint_sha256": None}, UNTRAINED, id="untrained"),
    ],
)
def test_what_a_score_must_not_be_quoted_without_goes_where_it_goes(
    runs: Runs, capsys: pytest.CaptureFixture[str], changed: dict, caution: str
) -> None:
    runs.made("good")
    runs.made("mine", **changed)
    words = ["--config", "good", "mine"]
    assert runs.score("analyze", *words, "--format", "markdown") == 0
    shown = capsys.readouterr()
    assert shown.err.startswith(f"warning: videos: mine: {caution}\n")
    assert f"- note: mine: {caution}\n" in shown.out
    tree = runs.tree()
    assert (tree["good"]["cautions"], tree["mine"]["cautions"]) == ([], [caution])
    text = (runs.save / "test" / "analysis" / "videos.csv").read_text(encoding="utf-8")
    noted = {(row["tracker"], row["sequence"]): row["notes"] for row in csv.DictReader(
        io.StringIO(text))}  # fmt: skip
    assert noted["mine", "(all)"] == caution and noted["good", "(all)"] == ""
    assert runs.score("report", *words) == 0
    assert f"note: mine: {caution}\n" in capsys.readouterr().out
    (figures,) = blocks_of((runs.root / "page.html").read_text())["report"]["datasets"]
    assert figures["notes"] == [[], [caution]]
    assert runs.score("analyze", *words, "--strict") == 2
    assert capsys.readouterr().err == f"error: videos: mine: {caution}\n"


@pytest.mark.parametrize(
    ("changed", "untrained"),
    [
        pytest.param({}, False, id="weights"),
        pytest.param({"checkpoint_sha256": None}, True, id="a tracker with weights, without"),
        pytest.param({"checkpoint_sha256": None, "settings": {}}, False, id="one without any"),
    ],
)
def test_who_is_untrained(changed: dict, untrained: bool) -> None:
    assert is_untrained({**RECORD, **changed}) == untrained


def test_records_of_other_versions_and_programs_are_read(tmp_path: Path) -> None:
    """A key that only one side has says nothing, but for those that have a known default."""
    assert differences(RECORD, {}) == []
    assert differences({}, {"max_frames": 5, "data_sha256": "b" * 64}) == [
        "max_frames (None and 5)"
    ]
    assert differences({"data_sha256": "a" * 64}, {"data_sha256": "b" * 64}) == [
        "data_sha256 (aaaaaaaaaaaa… and bbbbbbbbbbbb…)"
    ]
    assert differences({"data_sha256": None}, {"data_sha256": "b" * 64}) == []
    assert differences({"settings": "none"}, {"settings": ["TEST.WINDOW"]}) == []
    (tmp_path / "run.json").write_text('{"max_frames": "few", "settings": 3}')
    assert run_cautions([tmp_path]) == ()
    assert run_cautions([tmp_path / "nowhere"]) == ()
