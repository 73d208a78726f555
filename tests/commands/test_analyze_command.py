"""`analysis_results.py`: table, files, and how wrong results end."""

import csv
import io
import json
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lib.commands.analyze import build_parser
from lib.commands.entry import run
from lib.datasets.text.boxes import read_boxes
from tests.helpers.dataset_files import (
    flags_column,
    make_got10k_val,
    write_got10k,
    write_lasot,
    write_otb,
    write_text,
)

NAMES = ("first", "second", "third")
FRAMES = 4


class Place:
    """A data set of three sequences and a save folder for results on it."""

    def __init__(self, root: Path) -> None:
        self.data, self.save = root / "videos", root / "save"
        for name in NAMES:
            write_otb(self.data / name, FRAMES)

    def results(self, config: str, tracker: str = "seqtrack", dataset: str = "videos") -> Path:
        return self.save / "test" / "tracking_results" / tracker / config / dataset

    def track(self, config: str, tracker: str = "seqtrack", shift: int = 0) -> Path:
        """Write the ground truth, from the second frame on shifted to the right, as results."""
        folder = self.results(config, tracker)
        for name in NAMES:
            boxes = read_boxes(self.data / name / "groundtruth_rect.txt")
            boxes[1:, 0] += shift
            rows = ("\t".join(map(str, row)) + "\n" for row in boxes.astype(int).tolist())
            write_text(folder / f"{name}.txt", "".join(rows))
        return folder

    def analyze(self, *arguments: str) -> int:
        common = ["--dataset", str(self.data), "--save_dir", str(self.save)]
        return run("lib.commands.analyze", [*arguments, *common])

    def scores(self, dataset: str = "videos") -> dict:
        path = self.save / "test" / "analysis" / f"{dataset}.json"
        return json.loads(path.read_text())


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_table_json_and_csv_agree(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    place.track("good")
    place.track("default", tracker="static_box", shift=15)
    assert place.analyze("--config", "good", "static_box/default") == 0
    shown = capsys.readouterr()
    assert shown.err == ""
    lines = shown.out.splitlines()
    assert "videos: 3 sequences, protocol otb" in lines[0]
    assert lines[2].split() == ["good", "95.24*", "100.00*", "100.00*", "100.00*", "100.00*"]
    # Frame 0 is above 20 thresholds; sharing 15 of 30 pixels, 1/3, is above 7: 41 of 4 * 21.
    assert lines[3].split()[:3] == ["static_box/default", "48.81", "25.00"]
    scores = place.scores()["videos"]
    assert list(scores) == ["good", "static_box/default"]
    assert scores["good"]["AUC"] == pytest.approx(95.238095)
    other = scores["static_box/default"]
    assert other["Precision"] == 100
    assert other["NormPrecision"] == 25
    assert {name: one["OP50"] for name, one in other["sequences"].items()} == dict.fromkeys(
        NAMES, 25
    )
    text = (place.save / "test" / "analysis" / "videos.csv").read_text()
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [(row["tracker"], row["sequence"]) for row in rows[:2]] == [
        ("good", "(all)"),
        ("good", "first"),
    ]
    assert len(rows) == 2 * (1 + len(NAMES))
    assert float(rows[4]["AUC"]) == pytest.approx(other["AUC"])


def test_single_tracker_is_not_marked(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    place.track("good")
    assert place.analyze("--config", "good") == 0
    assert "*" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "label"),
    [
        pytest.param(["--config", "a"], "a", id="configuration of seqtrack"),
        pytest.param(["seqtrack", "a"], "a", id="the spelling of test.py"),
        pytest.param(["--config", "experiments/a.yaml"], "a", id="path of a configuration"),
        pytest.param(["--config", "seqtrack/a", "a"], "a", id="named twice"),
        pytest.param(["--config", "other/a"], "other/a", id="another tracker"),
        pytest.param(["other", "a"], "other/a", id="another tracker, positional"),
        pytest.param(["--config", "a", "--runid", "7"], "a_007", id="numbered run"),
    ],
)
def test_ways_to_name_results(place: Place, arguments: list[str], label: str) -> None:
    place.track("a")
    place.track("a_007")
    place.track("a", tracker="other")
    assert place.analyze(*arguments) == 0
    assert list(place.scores()["videos"]) == [label]


def test_parser_takes_both_spellings_of_the_data_set() -> None:
    args = build_parser().parse_args(["--config", "a", "b", "--dataset_name", "lasot", "otb"])
    assert (args.config, args.dataset) == (["a", "b"], ["lasot", "otb"])


def test_script_finds_its_repository_from_anywhere(tmp_path: Path) -> None:
    script = Path(__file__).parents[2] / "tracking" / "analysis_results.py"
    command = [sys.executable, str(script), "--help"]
    shown = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "--skip-missing" in shown.stdout
    assert "exit codes: 0 done" in shown.stdout


def test_out_names_another_folder(place: Place, tmp_path: Path) -> None:
    place.track("a")
    assert place.analyze("--config", "a", "--out", str(tmp_path / "elsewhere")) == 0
    written = sorted(path.name for path in (tmp_path / "elsewhere").iterdir())
    assert written == ["videos.csv", "videos.json"]
    assert not (place.save / "test" / "analysis").exists()


def test_unwritable_out_is_one_line(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    place.track("a")
    assert (
        place.analyze("--config", "a", "--out", str(place.data / "first" / "img" / "0001.jpg")) == 2
    )
    assert "cannot write the scores" in one_line(capsys)


def test_missing_files_are_listed(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    folder = place.track("a")
    other = place.track("b")
    (folder / "first.txt").unlink()
    (other / "third.txt").unlink()
    assert place.analyze("--config", "a", "b") == 2
    error = capsys.readouterr().err
    assert error.startswith("error: videos: 2 result files are missing\n")
    assert f"{folder / 'first.txt'}: missing" in error
    assert f"{other / 'third.txt'}: missing" in error
    assert "--skip-missing" in error
    assert not (place.save / "test" / "analysis").exists()


def test_long_lists_are_cut(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    for i in range(20):
        write_otb(place.data / f"extra{i}", 1)
    place.track("a")
    assert place.analyze("--config", "a") == 2
    error = capsys.readouterr().err
    assert error.count("missing, the results of a") == 10
    assert "... and 10 more" in error


def test_skipped_sequences_leave_all_trackers(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = place.track("a")
    place.track("b")
    (folder / "second.txt").unlink()
    assert place.analyze("--config", "a", "b", "--skip-missing") == 0
    shown = capsys.readouterr()
    assert "left out for all trackers" in shown.err
    assert "2 sequences (1 left out)" in shown.out
    for tracker in place.scores()["videos"].values():
        assert list(tracker["sequences"]) == ["first", "third"]
        assert tracker["left_out"] == ["second"]


def test_many_skipped_sequences_are_not_all_named(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    place.track("a")
    for i in range(20):
        write_otb(place.data / f"other{i}", 1)
    assert place.analyze("--config", "a", "--skip-missing") == 0
    assert "and 10 more (the JSON file names all)\n" in capsys.readouterr().err
    assert len(place.scores()["videos"]["a"]["left_out"]) == 20


def test_skipping_everything_is_an_error(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    place.results("a").mkdir(parents=True)
    assert place.analyze("--config", "a", "--skip-missing") == 2
    assert "no sequence has results of every tracker" in one_line(capsys)


@pytest.mark.parametrize(
    ("text", "where", "problem"),
    [
        pytest.param("", "second.txt", "empty", id="empty file"),
        pytest.param("1\t2\t3\t4\nnan\t2\t3\t4\n", "second.txt:2", "NaN", id="nan"),
        pytest.param("1\t2\t3\t4\n1\t2\tx\t4\n", "second.txt:2", "'x'", id="letters"),
        pytest.param("1\t2\t3\n", "second.txt:1", "3 values", id="column count"),
        pytest.param("1;2;3;4\n", "second.txt:1", "1;2;3;4", id="semicolons"),
        pytest.param(
            "1\t2\t3\t4\n\t1\t2\t-3\t4\n", "second.txt:2", "negative size", id="negative size"
        ),
    ],
)
def test_malformed_results_name_file_and_line(
    place: Place, capsys: pytest.CaptureFixture[str], text: str, where: str, problem: str
) -> None:
    folder = place.track("a")
    write_text(folder / "second.txt", text)
    assert place.analyze("--config", "a") == 2
    message = one_line(capsys)
    assert f"error: {folder / where}" in message
    assert problem in message


def test_short_and_long_results_are_scored_with_a_warning(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = place.track("a")
    lines = (folder / "first.txt").read_text().splitlines(keepends=True)
    write_text(folder / "first.txt", "".join(lines[:2]))
    write_text(folder / "second.txt", "".join([*lines, *lines]))
    assert place.analyze("--config", "a") == 0
    warnings = capsys.readouterr().err.splitlines()
    assert warnings == [
        f"warning: {folder / 'first.txt'}: 2 rows for 4 frames; "
        "the frames without a result count as lost",
        f"warning: {folder / 'second.txt'}: 8 rows for 4 frames; the surplus is cut off",
    ]
    found = place.scores()["videos"]["a"]
    assert [found["sequences"][name]["OP50"] for name in NAMES] == [50, 100, 100]
    assert found["short"] == ["first"]


@pytest.mark.parametrize("form", ["text", "markdown", "latex"])
def test_tables_name_the_short_results(
    place: Place, capsys: pytest.CaptureFixture[str], form: str
) -> None:
    """A score travels without the warnings of its command."""
    folder = place.track("a")
    lines = (folder / "first.txt").read_text().splitlines(keepends=True)
    write_text(folder / "first.txt", "".join(lines[:2]))
    assert place.analyze("--config", "a", "--format", form) == 0
    words = "1 sequence with fewer results than frames: first"
    assert words in capsys.readouterr().out
    assert words in (place.save / "test" / "analysis" / "videos.csv").read_text()


def test_lasot_refuses_short_results(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = Place(tmp_path)
    shutil.rmtree(place.data)
    write_lasot(place.data / "bird-1", FRAMES)
    folder = place.results("a")
    write_text(folder / "bird-1.txt", "10,20,30,40\n")
    assert place.analyze("--config", "a") == 2
    assert f"{folder / 'bird-1.txt'}: 1 rows for 4 frames" in one_line(capsys)
    assert place.analyze("--config", "a", "--protocol", "otb") == 0, "by OTB's rules it is padded"


def test_convention_is_a_choice(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    place.track("a")
    write_text(place.data / "first" / "groundtruth_rect.txt", "0\t20\t30\t40\n" * FRAMES)
    assert place.analyze("--config", "a", "--convention", "pytracking") == 0
    found = place.scores()["videos"]["a"]
    assert found["convention"] == "pytracking"
    assert found["sequences"]["first"]["AUC"] == 0
    assert place.analyze("--config", "a", "--convention", "lasot_matlab_port") == 0


def test_got10k_val_has_its_own_scores(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    val = tmp_path / "data" / "got10k" / "val"
    write_text(val / "list.txt", "GOT-10k_Val_000001\n")
    folder = val / "GOT-10k_Val_000001"
    write_got10k(folder, FRAMES)
    write_text(folder / "cover.label", flags_column([8, 8, 0, 8]))
    write_text(folder / "absence.label", flags_column([0, 0, 1, 0]))
    place = Place(tmp_path)
    results = place.results("a", dataset="got10k_val") / "GOT-10k_Val_000001.txt"
    # The frames are 32 x 24: the last box lies outside, the hidden frame does not count.
    write_text(results, "1,1,1,1\n11,20,30,40\n0,0,5,5\n500,500,5,5\n")
    arguments = ["--data_dir", str(tmp_path / "data"), "--save_dir", str(place.save)]
    assert (
        run("lib.commands.analyze", ["--config", "a", "--dataset", "got10k_val", *arguments]) == 0
    )
    found = place.scores("got10k_val")["got10k_val"]["a"]
    assert (found["AO"], found["SR50"], found["SR75"]) == (50, 50, 50)
    assert found["sequences"]["GOT-10k_Val_000001"] == {"AO": 50, "SR50": 50, "SR75": 50}
    write_text(results, "1,1,1,1\n")
    capsys.readouterr()
    assert (
        run("lib.commands.analyze", ["--config", "a", "--dataset", "got10k_val", *arguments]) == 2
    )
    assert f"{results}: 1 rows for 4 frames" in one_line(capsys)


def test_private_ground_truth_is_scored_by_its_server(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    test = tmp_path / "data" / "got10k" / "test"
    write_text(test / "list.txt", "GOT-10k_Test_000001\n")
    write_got10k(test / "GOT-10k_Test_000001", FRAMES, rows=1)
    place = Place(tmp_path)
    place.results("a", dataset="got10k").mkdir(parents=True)
    place.track("a")
    arguments = ["--config", "a", "--data_dir", str(tmp_path / "data")]
    only_private = [*arguments, "--dataset", "got10k_test", "--save_dir", str(place.save)]
    assert run("lib.commands.analyze", only_private) == 2
    assert "evaluation server" in one_line(capsys)
    # With another data set beside it, that one is scored, and the exit code tells the difference.
    assert place.analyze(*arguments, "--dataset", "got10k_test") == 1
    assert "evaluation server" in one_line(capsys)
    assert "a" in place.scores()["videos"]


def test_first_box_only_cannot_be_scored(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    """One video without ground truth leaves the others' scores alone; none with it is an error."""
    place.track("a")
    write_text(place.data / "first" / "groundtruth_rect.txt", "10\t20\t30\t40\n")
    assert place.analyze("--config", "a") == 0
    assert "first" in one_line(capsys)
    assert list(place.scores()["videos"]["a"]["sequences"]) == list(NAMES[1:])
    for name in NAMES[1:]:
        write_text(place.data / name / "groundtruth_rect.txt", "10\t20\t30\t40\n")
    assert place.analyze("--config", "a") == 2
    assert "one box for 4 frames" in capsys.readouterr().err


def test_advice_fits_what_is_there(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    place.track("b")
    place.track("default", tracker="static_box")
    assert place.analyze("--config", "b", "--runid", "4") == 2
    assert "without --runid" in one_line(capsys)
    assert place.analyze("--config", "static_box") == 2
    assert "static_box is a tracker, write static_box/default" in one_line(capsys)
    assert place.analyze("--config", "new_one", "--runid", "4") == 2
    assert "seqtrack new_one" in (line := one_line(capsys)) and "--runid 4 --save-dir" in line


@pytest.mark.parametrize("command", ["analyze", "report"])
def test_the_advised_command_makes_what_is_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    """Pasted as it is, in the folders that were given."""
    data, save = tmp_path / "my data", tmp_path / "save"
    make_got10k_val(data)
    words = ["--config", "static_box/default", "--dataset", "got10k_val", "--runid", "4"]
    words += ["--data_dir", str(data), "--save_dir", str(save)]
    words += ["--out", str(tmp_path / "page.html")] if command == "report" else []
    assert run(f"lib.commands.{command}", words) == 2
    advised = shlex.split(one_line(capsys).split("`")[1])
    assert advised[:2] == ["python", "tracking/test.py"]
    assert run("lib.commands.test", advised[2:]) == 0
    assert run(f"lib.commands.{command}", words) == 0


def test_what_was_not_given_is_not_advised(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    make_got10k_val(tmp_path)
    monkeypatch.setenv("SEQTRACK_DATA", str(tmp_path))
    monkeypatch.setenv("SEQTRACK_SAVE", str(tmp_path / "save"))
    assert run("lib.commands.analyze", ["--config", "a", "--dataset", "got10k_val"]) == 2
    assert "`python tracking/test.py seqtrack a --dataset got10k_val`" in one_line(capsys)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param([], "nothing to score", id="no tracker"),
        pytest.param(
            ["seqtrack"], "'seqtrack' alone names no configuration", id="half a positional"
        ),
        pytest.param(["--config", "seqtrakc"], "did you mean 'seqtrack_a'?", id="typo"),
        pytest.param(["--config", "a/b/c"], "'a/b/c' names no results", id="too many parts"),
        pytest.param(["--config", "../b"], "names no results", id="path"),
        pytest.param(
            ["--config", "seqtrack_a", "--convention", "pytrack"],
            "did you mean 'pytracking'?",
            id="convention",
        ),
        pytest.param(
            ["--config", "seqtrack_a", "--protocol", "lasott"],
            "did you mean 'lasot'",
            id="protocol",
        ),
        pytest.param(["--config", "seqtrack_a", "--dataset", "lasott"], "lasott", id="data set"),
        pytest.param(
            ["--config", "seqtrack_a", "--dataset", "a/../videos"], "does not exist", id="folder"
        ),
    ],
)
def test_wrong_input_is_one_line(
    place: Place, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    place.track("seqtrack_a")
    assert place.analyze(*arguments) == 2
    assert message in one_line(capsys)
    assert not (place.save / "test" / "analysis").exists()


def test_data_sets_of_one_name_are_not_mixed(
    place: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place.track("a")
    write_otb(tmp_path / "more" / "videos" / "first", FRAMES)
    assert place.analyze("--config", "a", "--dataset", str(tmp_path / "more" / "videos")) == 2
    assert "two data sets are called 'videos'" in one_line(capsys)


def one_line(capsys: pytest.CaptureFixture[str]) -> str:
    """What was printed on the error stream, which must be a single line."""
    error = capsys.readouterr().err
    assert error.count("\n") == 1, error
    return error
