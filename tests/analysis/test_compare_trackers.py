"""`analysis_results.py` with several trackers: other people's results, runs, tests, attributes."""

import csv
import io
import json
import re
from pathlib import Path

import pytest

from lib.commands.entry import run
from lib.datasets.text.boxes import read_boxes
from tests.helpers.dataset_files import (
    boxes_text,
    flags_column,
    write_got10k,
    write_otb,
    write_text,
)

NAMES = ("first", "second", "third", "fourth")
FRAMES = 8
SEPARATORS = {"comma": ",", "tab": "\t", "space": " ", "comma and space": ", "}


class Place:
    """A data set of four sequences and places for results on it."""

    def __init__(self, root: Path) -> None:
        self.root, self.data, self.save = root, root / "videos", root / "save"
        for name in NAMES:
            write_otb(self.data / name, FRAMES)

    def track(
        self, folder: str, lost: int = 0, separator: str = "\t", file: str = "{0}.txt"
    ) -> Path:
        """Results that lose the target for the last `lost` frames, more in later sequences."""
        for i, name in enumerate(NAMES):
            boxes = read_boxes(self.data / name / "groundtruth_rect.txt")
            boxes[FRAMES - min(FRAMES - 1, lost * i) :, 0] += 500
            rows = (separator.join(f"{value:g}" for value in row) + "\n" for row in boxes.tolist())
            write_text(self.root / folder / file.format(name), "".join(rows))
        return self.root / folder

    def ours(self, config: str, lost: int = 0) -> Path:
        return self.track(f"save/test/tracking_results/seqtrack/{config}/videos", lost)

    def analyze(self, *arguments: str) -> int:
        common = ["--dataset", str(self.data), "--save_dir", str(self.save)]
        return run("lib.commands.analyze", [*arguments, *common])

    def scores(self) -> dict:
        return json.loads((self.save / "test" / "analysis" / "videos.json").read_text())["videos"]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@pytest.mark.parametrize("separator", SEPARATORS.values(), ids=SEPARATORS.keys())
@pytest.mark.parametrize(
    "file",
    [
        pytest.param("{0}.txt", id="flat"),
        pytest.param("{0}/{0}_001.txt", id="GOT-10k"),
        pytest.param("{0}_001.txt", id="GOT-10k, flat"),
        pytest.param("videos/{0}.txt", id="a folder for each data set"),
        pytest.param("VIDEOS/{0}/{0}_001.txt", id="both"),
    ],
)
def test_results_of_other_trackers(place: Place, separator: str, file: str) -> None:
    place.ours("a")
    raw = place.track("raw", lost=1, separator=separator, file=file)
    assert place.analyze("--config", "a", "--results", f"Other={raw}") == 0
    scores = place.scores()
    assert list(scores) == ["a", "Other"]
    assert scores["a"]["OP50"] == 100
    # 0, 1, 2 and 3 of 8 frames are lost.
    assert scores["Other"]["OP50"] == pytest.approx(100 * (1 - 6 / 32))


def test_names_of_other_toolkits(tmp_path: Path) -> None:
    """OTB's and UAV123's results as other toolkits call them."""
    theirs = {"Jogging_1": "Jogging-1", "Human4_2": "human4.2", "uav_bike1": "bike1"}
    for name, file in theirs.items():
        write_otb(tmp_path / "videos" / name, FRAMES)
        write_text(tmp_path / "raw" / f"{file}.txt", boxes_text(FRAMES))
    arguments = ["--results", f"theirs={tmp_path / 'raw'}", "--dataset", str(tmp_path / "videos")]
    assert run("lib.commands.analyze", [*arguments, "--save_dir", str(tmp_path)]) == 0
    found = json.loads((tmp_path / "test/analysis/videos.json").read_text())["videos"]["theirs"]
    assert {name: one["OP50"] for name, one in found["sequences"].items()} == dict.fromkeys(
        theirs, 100
    )


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        pytest.param("raw", "write NAME=FOLDER", id="no name"),
        pytest.param("=raw", "write NAME=FOLDER", id="empty name"),
        pytest.param("a=", "write NAME=FOLDER", id="empty folder"),
        pytest.param("x\ny=raw", "write NAME=FOLDER", id="name of two lines"),
        pytest.param("a=nowhere", "nowhere: no such folder", id="no folder"),
        pytest.param("a=videos", "no results on videos; looked for first.txt", id="no results"),
        pytest.param("a=raw", "two results are called 'a'", id="name taken"),
    ],
)
def test_wrong_names_of_results(
    place: Place,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    argument: str,
    message: str,
) -> None:
    place.ours("a")
    place.track("raw")
    monkeypatch.chdir(place.root)
    assert place.analyze("--config", "a", "--results", argument) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_missing_results_of_others_say_what_lies_there(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    raw = place.track("raw")
    (raw / "fourth.txt").rename(raw / "fourht.txt")
    assert place.analyze("--results", f"Other={raw}") == 2
    error = capsys.readouterr().err
    assert f"{raw / 'fourth.txt'}: missing, the results of Other on sequence fourth" in error
    assert "did you mean 'fourht'?" in error


def test_several_runs_are_averaged_with_their_spread(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    for runid, lost in ((1, 0), (2, 1), (3, 2)):
        place.ours(f"a_{runid:03d}", lost)
    place.ours("a_009", 2)
    assert place.analyze("--config", "a", "--runid", "1", "2", "3") == 0
    found = place.scores()["a (3 runs)"]
    runs = [100, 100 * (1 - 6 / 32), 100 * (1 - 12 / 32)]
    assert [one["OP50"] for one in found["runs"]] == pytest.approx(runs)
    assert found["OP50"] == pytest.approx(sum(runs) / 3)
    assert found["sequences"]["second"]["OP50"] == pytest.approx(100 * (1 - 3 / 24))
    shown = capsys.readouterr().out
    assert re.search(r"a \(3 runs\): run 2 +\S+ +81\.25 ", shown)
    assert re.search(r"a \(3 runs\): deviation +\S+ +18\.75 ", shown)


@pytest.mark.parametrize(
    ("runids", "rows"),
    [
        pytest.param((4, 7), (4, 7), id="as given"),
        pytest.param((7, 4, 7), (7, 4), id="each once, in the order given"),
        pytest.param((0, 123), (0, 123), id="any numbers"),
    ],
)
def test_runs_are_called_by_their_numbers(place: Place, capsys, runids, rows) -> None:
    """In the table and in the file, each with its own score."""
    scores = dict(zip(rows, (100, 100 * (1 - 6 / 32)), strict=True))
    for runid, lost in zip(rows, (0, 1), strict=True):
        place.ours(f"a_{runid:03d}", lost)
    assert place.analyze("--config", "a", "--runid", *map(str, runids)) == 0
    shown = capsys.readouterr().out
    found = re.findall(r"a \(2 runs\): run (\d+) +\S+ +(\d+\.\d+) ", shown)
    assert [(int(run), float(score)) for run, score in found] == list(scores.items())
    stored = place.scores()["a (2 runs)"]["runs"]
    assert {one["run"]: one["OP50"] for one in stored} == pytest.approx(scores)


def test_a_run_that_is_missing_is_named(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    place.ours("a_001")
    folder = place.ours("a_002")
    (folder / "third.txt").unlink()
    assert place.analyze("--config", "a", "--runid", "1", "2") == 2
    assert f"{folder / 'third.txt'}: missing" in capsys.readouterr().err
    assert place.analyze("--config", "a", "--runid", "1", "2", "--skip-missing") == 0
    assert len(place.scores()["a (2 runs)"]["sequences"]) == 3
    capsys.readouterr()
    assert place.analyze("--config", "a", "--runid", "1", "4") == 2
    assert "a_004" in (error := capsys.readouterr().err) and "--runid 4 --save-dir" in error
    assert "no results of run 4 of a on videos; there are --runid 1 2; make them" in error


def test_runs_where_no_number_is_given_are_named(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    place.ours("alpha_001")
    place.ours("alpha_012")
    place.ours("alpine")
    assert place.analyze("--config", "alpha") == 2
    error = capsys.readouterr().err
    assert "there are runs of it: --runid 1 12\n" in error
    assert place.analyze("--config", "alpha", "alpine", "--runid", "1", "12") == 2
    folder = place.save / "test/tracking_results/seqtrack/alpine/videos"
    assert f"--results alpine={folder})" in capsys.readouterr().err
    beside = ["--results", f"alpine={folder}", "--runid", "1", "12"]
    assert place.analyze("--config", "alpha", *beside) == 0


def test_runs_of_different_lengths(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    """One run of three stopped early in a sequence: one line, and only that run loses by it."""
    place.ours("a_001")
    place.ours("a_003")
    file = place.ours("a_002") / "third.txt"
    write_text(file, "".join(file.read_text().splitlines(keepends=True)[: FRAMES // 2]))
    runs = ["--config", "a", "--runid", "1", "2", "3"]
    assert place.analyze(*runs) == 0
    line = f"{file}: 4 rows for 8 frames; the frames without a result count as lost"
    assert capsys.readouterr().err == f"warning: {line}\n"
    found = place.scores()["a (3 runs)"]
    assert [one["OP50"] for one in found["runs"]] == [100, 87.5, 100]
    assert found["sequences"]["third"]["OP50"] == pytest.approx(100 * 5 / 6)
    assert place.analyze(*runs, "--convention", "got10k_toolkit") == 2
    error = capsys.readouterr().err
    assert f"error: {file}: 4 rows for 8 frames" in error and error.count("\n") == 1
    page = ["--dataset", str(place.data), "--save_dir", str(place.save)]
    page += ["--out", str(place.root / "page.html"), "--max-mb", "1"]
    assert run("lib.commands.report", [*runs, *page]) == 0
    assert [text for text in capsys.readouterr().err.splitlines() if "warning" in text] == [
        f"warning: {line}"
    ]
    assert line in (place.root / "page.html").read_text()


def test_short_results_are_named_before_long_ones(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(12):
        folder = place.ours(f"a_{number:03d}")
        file = folder / "first.txt"
        write_text(file, file.read_text() + "1\t2\t3\t4\n")
    short = folder / "fourth.txt"
    write_text(short, short.read_text().splitlines(keepends=True)[0])
    assert place.analyze("--config", "a", "--runid", *map(str, range(12))) == 0
    first, *_, last = capsys.readouterr().err.splitlines()
    assert first.startswith(f"warning: {short}: 1 rows") and last == "warning: 3 more like these"


def test_repetitions_of_got10k_are_runs(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    raw = place.track("raw", file="{0}/{0}_001.txt")
    place.track("raw", lost=2, file="{0}/{0}_002.txt")
    # The toolkit stops repeating a sequence that repeats itself.
    (raw / "first" / "first_002.txt").unlink()
    assert place.analyze("--results", f"Other={raw}") == 0
    found = place.scores()["Other"]
    assert [one["OP50"] for one in found["runs"]] == [100, 62.5]
    assert found["OP50"] == 81.25
    assert capsys.readouterr().err == (
        "warning: videos: Other has 2 results of some sequences and fewer of 1 others, the first "
        "is first with 1; the last one stands for the runs without one\n"
    )


def test_intervals_difference_and_sequences_are_shown(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    place.ours("good")
    place.ours("bad", lost=2)
    place.ours("worse", lost=3)
    assert place.analyze("--config", "good", "bad", "worse", "--top", "2") == 0
    shown = capsys.readouterr().out
    found = place.scores()
    low, high = found["bad"]["intervals"]["AUC"]
    assert low < found["bad"]["AUC"] < high
    assert re.search(rf"^bad +\[{low:.2f}, {high:.2f}\] ", shown, re.MULTILINE)
    differences = found["good"]["differences"]
    assert list(differences) == ["bad", "worse"]
    one = differences["bad"]
    assert one["difference"] == pytest.approx(found["good"]["AUC"] - found["bad"]["AUC"])
    assert sum(one["sequences"].values()) == pytest.approx(one["difference"])
    assert next(iter(one["sequences"])) == "fourth"
    # Three of four sequences differ: not enough to be sure of anything.
    assert one["p_value"] >= 0.25
    assert re.search(r"^good - bad +\+35\.71 +\[\S+, \S+\] +0\.\d{4}$", shown, re.MULTILINE)
    section = shown[shown.index("sequences that make the difference of +35.71") :].splitlines()
    assert [line.split()[0] for line in section[1:4]] == ["sequence", "fourth", "third"]
    assert section[4] == ""
    assert "differences" not in found["bad"]


@pytest.mark.parametrize(("lost", "top"), [(2, "0"), (0, "3")])
def test_no_sequence_is_named(
    place: Place, capsys: pytest.CaptureFixture[str], lost: int, top: str
) -> None:
    """Where none is wanted, or where both are equal on all of them."""
    place.ours("good")
    place.ours("other", lost=lost)
    assert place.analyze("--config", "good", "other", "--top", top) == 0
    assert "that make the difference" not in capsys.readouterr().out


def test_attributes(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    place.ours("good")
    place.ours("bad", lost=2)
    rows = "".join(f"{name},{int(name != 'first')},0,1\n" for name in NAMES)
    write_text(place.data / "attributes.csv", "sequence,OCC,never,all\n" + rows)
    assert place.analyze("--config", "good", "bad", "--attributes") == 0
    shown = capsys.readouterr().out
    found = place.scores()["bad"]
    assert set(found["attributes"]) == {"OCC", "all"}, "an attribute of no sequence has no score"
    assert found["attributes"]["all"]["AUC"] == pytest.approx(found["AUC"])
    occluded = [found["sequences"][name]["AUC"] for name in NAMES[1:]]
    assert found["attributes"]["OCC"]["AUC"] == pytest.approx(sum(occluded) / 3, abs=1e-5)
    assert re.search(r"^OCC occlusion \(3\) +95\.24\* +\d+\.\d\d$", shown, re.MULTILINE)


def test_asking_for_attributes_where_there_are_none(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    place.ours("good")
    assert place.analyze("--config", "good", "--attributes") == 1, "the rest is there"
    error = capsys.readouterr().err
    assert "videos: no attributes of its sequences" in error and error.count("\n") == 1
    assert place.scores()["good"]["OP50"] == 100
    write_text(place.data / "attributes.csv", "sequence,OCC\nfirst,maybe\n")
    assert place.analyze("--config", "good", "--attributes") == 2
    assert "attributes.csv:2: 'first,maybe'" in capsys.readouterr().err


def test_published_numbers(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    """By configuration, or by the name that is given to a folder; a number on TNL2K exists."""
    data = place.root / "data" / "tnl2k"
    for name in NAMES:
        write_otb(data / name, FRAMES)
        (data / name / "img").rename(data / name / "imgs")
        (data / name / "groundtruth_rect.txt").rename(data / name / "groundtruth.txt")
    own = place.root / "save" / "test" / "tracking_results" / "seqtrack" / "seqtrack_b256"
    place.track(str(own / "tnl2k"))
    raw = place.track("raw")
    arguments = ["--dataset", "tnl2k", "--reference", "published", "--save_dir", str(place.save)]
    given = ["--config", "seqtrack_b256", "--results", f"seqtrack_b384={raw}", f"Other={raw}"]
    roots = ["--data_dir", str(place.root / "data")]
    assert run("lib.commands.analyze", [*given, *arguments, *roots]) == 0
    shown = capsys.readouterr().out
    assert re.search(r"^seqtrack_b256 +95\.24 +54\.9 +\+40\.34$", shown, re.MULTILINE)
    assert re.search(r"^seqtrack_b384 +95\.24 +56\.4 +\+38\.84$", shown, re.MULTILINE)
    assert re.search(r"^Other +95\.24 +- +-$", shown, re.MULTILINE)
    odd = [*given, *arguments, *roots, "--convention", "pytracking"]
    assert run("lib.commands.analyze", odd) == 0
    assert "pytracking is not the convention of published numbers" in capsys.readouterr().out
    (raw / "third.txt").unlink()
    part = [*given, *arguments, *roots, "--protocol", "uav", "--skip-missing"]
    assert run("lib.commands.analyze", part) == 0
    shown = capsys.readouterr().out
    assert "uav is not their protocol; they are of all sequences, 1 are left out here" in shown


def test_published_numbers_where_there_are_none(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    place.ours("good")
    assert place.analyze("--config", "good", "--reference", "published") == 0
    assert "none is published for these trackers" in capsys.readouterr().out
    assert place.scores()["good"]["published"] is None


@pytest.mark.parametrize("form", ["markdown", "latex", "csv", "json"])
def test_formats(place: Place, capsys: pytest.CaptureFixture[str], form: str) -> None:
    place.ours("good")
    place.ours("bad", lost=2)
    assert place.analyze("--config", "good", "bad", "--format", form) == 0
    shown = capsys.readouterr()
    assert "written:" in shown.err and "written:" not in shown.out
    out = place.save / "test" / "analysis"
    if form == "markdown":
        assert "| good | **95.24** | **100.00** |" in shown.out
        assert (out / "videos.md").read_text().rstrip() == shown.out.rstrip()
    if form == "latex":
        assert r"good & \textbf{95.24} & \textbf{100.00} &" in shown.out
        assert (out / "videos.tex").read_text().rstrip() == shown.out.rstrip()
    if form == "csv":
        first = shown.out.split("\n\n")[0]
        rows = list(csv.DictReader(io.StringIO(first)))
        assert [(row["tracker"], row["OP50"]) for row in rows] == [
            ("good", "100.00"),
            ("bad", "62.50"),
        ]
    if form == "json":
        assert json.loads(shown.out)["videos"] == place.scores()


def test_json_of_several_data_sets_is_one_document(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    place.ours("good")
    more = place.root / "more"
    for name in NAMES:
        write_otb(more / name, FRAMES)
    place.track("save/test/tracking_results/seqtrack/good/more")
    assert place.analyze("--config", "good", "--dataset", str(more), "--format", "json") == 0
    assert set(json.loads(capsys.readouterr().out)) == {"videos", "more"}


def test_one_sequence_has_no_interval(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_otb(tmp_path / "videos" / "only", FRAMES)
    for config in ("a", "b"):
        folder = tmp_path / "test" / "tracking_results" / "seqtrack" / config / "videos"
        write_text(folder / "only.txt", "10,20,30,40\n" * FRAMES)
    given = ["--config", "a", "b", "--dataset", str(tmp_path / "videos")]
    assert run("lib.commands.analyze", [*given, "--save_dir", str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    assert re.search(r"^a - b +\+0\.00 +- +1\.0000$", shown, re.MULTILINE)
    tree = json.loads((tmp_path / "test" / "analysis" / "videos.json").read_text())
    assert tree["videos"]["a"]["intervals"]["AUC"] == [None, None]


def test_got10k_val_of_the_toolkit_itself(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """GOT-10k's own layout of results on its val part, with intervals over pooled frames."""
    val = tmp_path / "data" / "got10k" / "val"
    names = [f"GOT-10k_Val_{i:06d}" for i in (1, 2, 3)]
    write_text(val / "list.txt", "".join(f"{name}\n" for name in names))
    for i, name in enumerate(names):
        write_got10k(val / name, FRAMES)
        # Boxes inside of the frames, which are 32 x 24.
        write_text(val / name / "groundtruth.txt", "2,3,10,12\n" * FRAMES)
        write_text(val / name / "cover.label", flags_column([8] * (FRAMES - i) + [0] * i))
        write_text(val / name / "absence.label", flags_column([0] * FRAMES))
        hits = FRAMES - 3 * i
        rows = "2,3,10,12\n" * hits + "20,3,10,12\n" * (FRAMES - hits)
        write_text(tmp_path / "raw" / name / f"{name}_001.txt", rows)
        write_text(tmp_path / "raw" / name / f"{name}_time.txt", "0.1\n" * FRAMES)
    arguments = ["--results", f"X={tmp_path / 'raw'}", "--dataset", "got10k_val"]
    roots = ["--data_dir", str(tmp_path / "data"), "--save_dir", str(tmp_path)]
    assert run("lib.commands.analyze", [*arguments, *roots]) == 0
    found = json.loads((tmp_path / "test/analysis/got10k_val.json").read_text())["got10k_val"]["X"]
    # Counted are 7, 6 and 5 frames, with 7, 4 and 1 hits.
    assert found["AO"] == pytest.approx(100 * 12 / 18, abs=1e-5)
    low, high = found["intervals"]["AO"]
    assert low < found["AO"] < high
