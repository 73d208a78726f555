"""`analysis_results.py --zoo`: the model zoo's table from the save folder, and what it lacks."""

import csv
import io
import json
import re
from pathlib import Path

import pytest

from lib.analysis.zoo.published import COLUMNS, MODELS
from lib.commands.entry import run
from tests.helpers.dataset_files import boxes_text, numbered, write_frames, write_text

FRAMES = 4
NAMES = ("Arrow_video_ZZ04_done", "INF_womanpink", "test_015_Sord_video_Q01_done")
PERFECT = 100 * 20 / 21


class Trees:
    """A TNL2K of three sequences, and a save folder."""

    def __init__(self, root: Path) -> None:
        self.data, self.save = root / "data", root / "save"
        self.results = self.save / "test" / "tracking_results" / "seqtrack"
        for name in NAMES:
            folder = self.data / "tnl2k" / name
            write_frames(folder / "imgs", numbered(FRAMES, "%05d.png"))
            write_text(folder / "groundtruth.txt", boxes_text(FRAMES))

    def track(
        self, config: str, ours: bool = True, root: Path | None = None, shift: int = 0
    ) -> Path:
        """Results on all sequences: the ground truth, off by `shift` pixels after frame 0."""
        folder = (root or self.results) / config / "tnl2k"
        for name in NAMES:
            rows = boxes_text(FRAMES, separator="\t").splitlines(keepends=True)
            moved = boxes_text(FRAMES - 1, separator="\t", first=1 + shift)
            write_text(folder / f"{name}.txt", rows[0] + moved)
        if ours:
            self.record(folder)
        return folder

    def record(self, folder: Path, **made_of: object) -> None:
        """What made the results, as far as a test cares."""
        write_text(folder / "run.json", json.dumps(made_of))

    def zoo(self, *arguments: str) -> int:
        common = ["--zoo", "--data_dir", str(self.data), "--save_dir", str(self.save)]
        return run("lib.commands.analyze", [*common, *arguments])


@pytest.fixture
def trees(tmp_path: Path) -> Trees:
    return Trees(tmp_path)


def cells(text: str) -> dict[str, dict[str, str]]:
    """The Markdown table, by model and column title."""
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[:6]]
    header = rows[0][1:]
    return {row[0]: dict(zip(header, row[1:], strict=True)) for row in rows[2:]}


def test_empty_trees_give_an_empty_table_and_36_reasons(
    trees: Trees, capsys: pytest.CaptureFixture[str]
) -> None:
    assert trees.zoo() == 0
    shown = capsys.readouterr()
    table = cells(shown.out)
    assert list(table) == list(MODELS)
    for row in table.values():
        assert row == dict.fromkeys([column.title for column in COLUMNS], "-")
    gaps = shown.out[shown.out.index("Empty cells") :].splitlines()[1:]
    assert len(gaps) == 36
    assert "SeqTrack-B256, TNL2K AUC: no results" in gaps


def test_scored_typed_and_measured_cells(trees: Trees, capsys: pytest.CaptureFixture[str]) -> None:
    trees.track("seqtrack_b256")
    write_text(
        trees.save / "scores.yaml",
        "seqtrack_b256_got: {got10k_test: 74.2}\n"
        "seqtrack_l384: {trackingnet: 85.1, vot2020_mask: 55.0}\n",
    )
    write_text(
        trees.save / "external/vot20/seqtrack/scores.json",
        json.dumps({"seqtrack_b384": {"eao": 0.3114}, "seqtrack_l384_ar": {"eao": 0.5}}),
    )
    assert trees.zoo() == 0
    shown = capsys.readouterr()
    table = cells(shown.out)
    assert table["SeqTrack-B256"]["TNL2K AUC"] == f"{PERFECT:.1f}"
    assert table["SeqTrack-B256"]["GOT-10k AO"] == "74.2"
    assert table["SeqTrack-L384"]["TrackingNet AUC"] == "85.1"
    assert table["SeqTrack-B384"]["VOT2020-bbox EAO"] == "31.1"
    assert table["SeqTrack-L384"]["VOT2020-mask EAO"] == "55.0", "what is typed goes first"
    filled = [cell for row in table.values() for cell in row.values() if cell != "-"]
    assert len(filled) == 5
    assert "SeqTrack-B384, VOT2020-bbox EAO: from external/vot20/seqtrack/scores.json" in shown.out


def test_published_numbers_beside(trees: Trees, capsys: pytest.CaptureFixture[str]) -> None:
    trees.track("seqtrack_b256")
    assert trees.zoo("--reference", "published") == 0
    table = cells(capsys.readouterr().out)
    assert table["SeqTrack-B256"]["TNL2K AUC"] == f"{PERFECT:.1f} ({PERFECT - 54.9:+.1f})"
    assert table["SeqTrack-B384"]["TNL2K AUC"] == "-"


def test_what_is_wrong_with_a_cell_is_said(
    trees: Trees, capsys: pytest.CaptureFixture[str]
) -> None:
    (trees.track("seqtrack_b256") / f"{NAMES[0]}.txt").unlink()
    write_text(trees.track("seqtrack_b384") / f"{NAMES[1]}.txt", "1,2,3\n")
    write_text(trees.results / "seqtrack_b256" / "lasot" / "airplane-1.txt", "1,2,3,4\n")
    assert trees.zoo() == 1
    gaps = capsys.readouterr().out
    assert re.search(rf"SeqTrack-B256, TNL2K AUC: .*{NAMES[0]}\.txt: missing", gaps)
    assert re.search(rf"SeqTrack-B384, TNL2K AUC: .*{NAMES[1]}\.txt:1: 3 values", gaps)
    assert "SeqTrack-B256, LaSOT AUC: no ground truth: data set 'lasot': no folder" in gaps


def test_claims_of_workers_are_no_results(trees: Trees, capsys: pytest.CaptureFixture[str]) -> None:
    write_text(trees.results / "seqtrack_b256/tnl2k/.claims/a.failed", "no picture")
    assert trees.zoo() == 0
    assert "SeqTrack-B256, TNL2K AUC: no results" in capsys.readouterr().out


def test_results_that_a_server_has_not_scored(
    trees: Trees, capsys: pytest.CaptureFixture[str]
) -> None:
    write_text(trees.results / "seqtrack_b256_got/got10k/GOT-10k_Test_000001.txt", "1,2,3,4\n")
    assert trees.zoo() == 0
    gaps = capsys.readouterr().out.splitlines()
    assert "SeqTrack-B256, GOT-10k AO: no score of the server yet" in gaps


def test_several_runs_are_averaged(trees: Trees, capsys: pytest.CaptureFixture[str]) -> None:
    trees.track("seqtrack_b256_001")
    trees.track("seqtrack_b256_002", shift=500)
    assert trees.zoo() == 0
    lost = PERFECT / FRAMES
    assert cells(capsys.readouterr().out)["SeqTrack-B256"]["TNL2K AUC"] == (
        f"{(PERFECT + lost) / 2:.1f}"
    )


def test_runs_that_were_not_made_alike_are_not_averaged(
    trees: Trees, capsys: pytest.CaptureFixture[str]
) -> None:
    for runid, window in ((1, True), (2, False)):
        folder = trees.track(f"seqtrack_b256_{runid:03d}")
        trees.record(folder, settings={"TEST.WINDOW": window})
    assert trees.zoo() == 1
    shown = capsys.readouterr().out
    assert cells(shown)["SeqTrack-B256"]["TNL2K AUC"] == "-"
    lines = iter(shown.splitlines())
    reason = next(line for line in lines if line.startswith("SeqTrack-B256, TNL2K AUC: "))
    assert "seqtrack_b256_002 was not made as seqtrack_b256_001: TEST.WINDOW (True and" in reason


@pytest.mark.parametrize(
    ("made_of", "why"),
    [
        pytest.param({"max_frames": 30}, "only the first 30 frames", id="cut"),
        pytest.param(
            {"settings": {"TEST.WINDOW": True}, "checkpoint_sha256": None},
            "untrained weights",
            id="untrained",
        ),
    ],
)
def test_cut_and_untrained_runs_are_no_numbers_of_the_zoo(
    trees: Trees, capsys: pytest.CaptureFixture[str], made_of: dict, why: str
) -> None:
    trees.record(trees.track("seqtrack_b256"), **made_of)
    assert trees.zoo() == 1
    shown = capsys.readouterr().out
    assert cells(shown)["SeqTrack-B256"]["TNL2K AUC"] == "-"
    lines = iter(shown.splitlines())
    assert why in next(line for line in lines if line.startswith("SeqTrack-B256, TNL2K AUC: "))


def test_only_downloaded_results_are_said_to_be_such(
    trees: Trees, capsys: pytest.CaptureFixture[str]
) -> None:
    trees.track("seqtrack_l256", ours=False)
    assert trees.zoo() == 0
    shown = capsys.readouterr().out
    assert cells(shown)["SeqTrack-L256"]["TNL2K AUC"] == f"{PERFECT:.1f}"
    assert "SeqTrack-L256, TNL2K AUC: scored here, from raw results without run.json" in shown


def test_ours_go_before_downloaded_results(
    trees: Trees, capsys: pytest.CaptureFixture[str]
) -> None:
    trees.track("seqtrack_b256_001")
    trees.track("seqtrack_b256", ours=False, shift=500)
    assert trees.zoo() == 0
    assert cells(capsys.readouterr().out)["SeqTrack-B256"]["TNL2K AUC"] == f"{PERFECT:.1f}"


@pytest.mark.parametrize("form", ["text", "markdown", "latex", "csv", "json"])
def test_formats_and_file(
    trees: Trees, tmp_path: Path, capsys: pytest.CaptureFixture[str], form: str
) -> None:
    trees.track("seqtrack_b256")
    out = tmp_path / "tables" / "zoo.out"
    assert trees.zoo("--format", form, "--out", str(out)) == 0
    shown = capsys.readouterr()
    text = out.read_text()
    assert shown.out.startswith(text)
    assert f"written: {out}" in shown.err
    if form == "csv":
        rows = list(csv.DictReader(io.StringIO(text)))
        assert rows[0]["model"] == "SeqTrack-B256" and rows[0]["TNL2K AUC"] == f"{PERFECT:.1f}"
    if form == "json":
        cell = json.loads(text)["SeqTrack-B256"]["tnl2k"]
        assert (cell["value"], cell["published"]) == (round(PERFECT, 6), 54.9)
        assert json.loads(shown.out), "nothing else is printed there"
    if form in ("csv", "json", "latex"):
        assert "Empty cells" in shown.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(["--config", "seqtrack_b256"], "leave --config", id="a configuration"),
        pytest.param(["--dataset", "lasot"], "leave --config, --dataset", id="a data set"),
        pytest.param(["--convention", "pytracking"], "own protocols", id="a convention"),
        pytest.param(["--mixed-runs"], "leave --protocol", id="mixed runs"),
        pytest.param(["--results", "a=."], "and --results out", id="results"),
    ],
)
def test_arguments_without_use(
    trees: Trees, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert trees.zoo(*arguments) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


@pytest.mark.parametrize(
    ("made_of", "why"),
    [
        pytest.param({"stack": "mini.yaml", "sequences": 2}, "mini.yaml, sequences: 2", id="both"),
        pytest.param({"stack": "vot2021/shortterm", "sequences": 60}, "vot2021", id="another year"),
        pytest.param({"stack": "vot2020/shortterm", "sequences": 59}, "sequences: 59", id="part"),
        pytest.param({"sequences": 2}, "sequences: 2", id="no stack"),
        pytest.param({"stack": "vot2020/shortterm", "sequences": 60}, "", id="the challenge"),
        pytest.param({}, "", id="typed by hand"),
    ],
)
def test_an_eao_of_other_data_is_no_number_of_the_challenge(
    trees: Trees, capsys: pytest.CaptureFixture[str], made_of: dict, why: str
) -> None:
    file = trees.save / "external/vot20/seqtrack/scores.json"
    write_text(file, json.dumps({"seqtrack_b256": {"eao": 0.91, **made_of}}))
    assert trees.zoo() == 0
    shown = capsys.readouterr().out
    cell = cells(shown)["SeqTrack-B256"]["VOT2020-bbox EAO"]
    assert cell == ("-" if why else "91.0")
    (line,) = re.findall(r"^SeqTrack-B256, VOT2020-bbox EAO: (.*)$", shown, re.MULTILINE)
    assert why in line and ("this column is about vot2020/shortterm" in line) == bool(why)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("{", r"scores\.json:1: cannot be read as JSON", id="no JSON"),
        pytest.param("[]", "holds no trackers", id="a list"),
        pytest.param('{"seqtrack_b256": 0.3}', "seqtrack_b256: eao is None", id="no mapping"),
        pytest.param('{"a": {"eao": 29.1}}', r"eao is 29\.1, not a fraction", id="percent"),
        pytest.param('{"a": {"eao": true}}', "eao is True", id="boolean"),
    ],
)
def test_malformed_eao_is_one_line(
    trees: Trees, capsys: pytest.CaptureFixture[str], text: str, message: str
) -> None:
    write_text(trees.save / "external/vot20/seqtrack/scores.json", text)
    assert trees.zoo() == 2
    error = capsys.readouterr().err
    assert re.search(message, error) and error.count("\n") == 1


def test_malformed_scores_name_the_line(trees: Trees, capsys: pytest.CaptureFixture[str]) -> None:
    write_text(trees.save / "scores.yaml", "seqtrack_b256:\n  trackingnet: 0.833\n")
    assert trees.zoo() == 2
    assert "scores.yaml:2: seqtrack_b256.trackingnet: must be in percent" in capsys.readouterr().err
