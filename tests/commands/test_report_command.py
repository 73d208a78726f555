"""`report.py`: one file, what it says about itself, and how wrong input ends."""

import builtins
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote

import pytest

from lib.commands.entry import run
from lib.commands.report import build_parser
from tests.helpers.report_files import CALM, FRAMES, WILD, World, blocks_of


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = World(tmp_path)
    world.track("good")
    world.track("default", tracker="other", lost=12, confidence=False)
    return world


def report(world: World, *arguments: str, page: str = "out/report.html") -> int:
    common = ["--dataset", str(world.data), "--save_dir", str(world.save)]
    names = ["--config", "good", "other/default"]
    return run(
        "lib.commands.report", [*names, *common, "--out", str(world.root / page), *arguments]
    )


def page_of(world: World) -> str:
    return (world.root / "out/report.html").read_text(encoding="utf-8")


def one_line(capsys: pytest.CaptureFixture[str]) -> str:
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1
    return error


def test_it_writes_one_page_with_everything(world: World, capsys) -> None:
    assert report(world) == 0
    assert [path.name for path in (world.root / "out").iterdir()] == ["report.html"]
    blocks = blocks_of(page_of(world))
    (figures,) = blocks["report"]["datasets"]
    assert figures["name"] == "videos" and figures["trackers"] == ["good", "other/default"]
    assert [row["name"] for row in figures["sequences"]] == [CALM, WILD]
    first = blocks[figures["sequences"][0]["block"]]
    assert len(first["pictures"]) == FRAMES, "there is room for all"
    assert first["confidence"] == [True, False]
    assert first["lowest"][1][:2] == [12, 17]
    out = capsys.readouterr().out
    assert "good" in out and f"{2 * FRAMES} of {2 * FRAMES} frames can be seen" in out


def test_the_same_results_give_the_same_page(world: World) -> None:
    assert report(world) == 0
    first = page_of(world)
    assert report(world) == 0
    assert page_of(world) == first


def test_a_small_page_has_fewer_pictures(world: World) -> None:
    assert report(world, "--max-mb", "0.12") == 0
    assert len(page_of(world).encode()) <= 120_000
    blocks = blocks_of(page_of(world))
    shown = [len(block["pictures"]) for name, block in blocks.items() if name != "report"]
    assert all(1 <= count < FRAMES for count in shown)


def test_a_page_without_room_for_pictures_is_written_and_says_so(world: World, capsys) -> None:
    assert report(world, "--max-mb", "0.01") == 0
    assert "warning: the page shows 0 frames of 2 sequences; --max-mb" in capsys.readouterr().err
    assert blocks_of(page_of(world))["s0-0"]["pictures"] == []


def test_frames_are_linked_from_where_the_page_lies(world: World) -> None:
    assert report(world, "--link-frames") == 0
    page = page_of(world)
    pictures = blocks_of(page)["s0-0"]["pictures"]
    assert len(pictures) == FRAMES and len(page) < 200_000
    assert pictures[4] == [4, "../videos/01%20calm/00000005.jpg"]
    assert (world.root / "out" / unquote(pictures[4][1])).is_file()


def test_title_and_several_data_sets(world: World) -> None:
    second = world.root / "more" / "clips"
    world.write_sequence(second / CALM, 0)
    for folder in (world.results("good"), world.results("default", "other")):
        (folder.parent / "clips").mkdir()
        text = (folder / f"{CALM}.txt").read_text()
        (folder.parent / "clips" / f"{CALM}.txt").write_text(text)
    assert report(world, "--dataset", str(second), "--title", "A < B & </title>") == 0
    page = page_of(world)
    assert "<title>A &lt; B &amp; &lt;/title&gt;</title>" in page
    names = [one["name"] for one in blocks_of(page)["report"]["datasets"]]
    assert names == ["videos", "clips"]


def test_attributes_beside_the_sequences(world: World) -> None:
    rows = ["sequence,FM,odd <b>", f"{CALM},1,0", '"' + WILD.replace('"', '""') + '",1,1']
    (world.data / "attributes.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    assert report(world) == 0
    (figures,) = blocks_of(page_of(world))["report"]["datasets"]
    found = {row["name"]: (row["meaning"], row["sequences"]) for row in figures["attributes"]}
    assert found == {"FM": ("fast motion", 2), "odd <b>": ("", 1)}
    assert [row["attributes"] for row in figures["sequences"]] == [["FM"], ["FM", "odd <b>"]]


def test_results_of_another_program_and_several_runs(world: World) -> None:
    """Flat files with commas; of the runs the page shows the first, and how far they spread."""
    raw = world.root / "raw"
    raw.mkdir()
    for path in world.results("default", "other").glob("*.txt"):
        (raw / path.name).write_text(path.read_text().replace("\t", ","))
    for number in (1, 2):
        world.track(f"good_{number:03d}", lost=10 * number)
    page = world.root / "a.html"
    words = ["--config", "good", "--runid", "1", "2", "--results", f"<Other>={raw}"]
    words += ["--dataset", str(world.data), "--save_dir", str(world.save), "--out", str(page)]
    assert run("lib.commands.report", words) == 0
    blocks = blocks_of(page.read_text(encoding="utf-8"))
    (figures,) = blocks["report"]["datasets"]
    assert figures["trackers"] == ["good (2 runs)", "<Other>"]
    assert figures["runs"] == [2, 1]
    assert figures["totals"][0][0]["spread"] is not None
    assert figures["totals"][1][0]["spread"] is None
    assert blocks["s0-0"]["lowest"][0][:2] == [10, 15]
    assert blocks["s0-0"]["confidence"] == [True, False]


def test_malformed_attributes_end_in_one_line(world: World, capsys) -> None:
    (world.data / "attributes.csv").write_text(f"sequence,FM\n{CALM},yes\n", encoding="utf-8")
    assert report(world) == 2
    assert "attributes.csv:2:" in one_line(capsys)


def test_a_folder_of_results_is_listed_once(
    tmp_path: Path, capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not once for each sequence: a benchmark has hundreds, and a folder may be on a server."""
    world = World(tmp_path, tuple(f"clip{i}" for i in range(6)))
    for tracker in ("seqtrack", "other"):
        folder = world.track("good" if tracker == "seqtrack" else "default", tracker)
        for name in world.names:
            (folder / f"{name}.txt").rename(folder / f"{name}_001.txt")
    listed: list[str] = []
    real = os.listdir
    monkeypatch.setattr(os, "listdir", lambda path: listed.append(str(path)) or real(path))
    assert report(world) == 0
    # Once to score it, once for the page.
    assert listed.count(str(folder)) == 2


def test_plots_for_papers(world: World, capsys) -> None:
    pytest.importorskip("matplotlib")
    plots = world.root / "figures"
    assert report(world, "--plots", str(plots)) == 0
    names = sorted(path.name for path in plots.iterdir())
    kinds = ("norm_precision", "precision", "success")
    assert names == [f"videos_{kind}.{form}" for kind in kinds for form in ("pdf", "png")]
    assert (plots / "videos_success.png").read_bytes().startswith(b"\x89PNG")
    pdf = (plots / "videos_success.pdf").read_bytes()
    assert pdf.startswith(b"%PDF")
    assert "6 plots" in capsys.readouterr().out
    assert report(world, "--plots", str(plots)) == 0
    assert (plots / "videos_success.pdf").read_bytes() == pdf


def test_tables_beside_the_page(world: World, capsys) -> None:
    tables = world.root / "tables"
    assert report(world, "--tables", str(tables)) == 0
    rows = (tables / "videos.csv").read_text(encoding="utf-8").splitlines()
    assert rows[1].startswith("videos,good,(all),")
    scores = json.loads((tables / "videos.json").read_text(encoding="utf-8"))["videos"]
    assert set(scores) == {"good", "other/default"}
    assert "| good |" in (tables / "videos.md").read_text(encoding="utf-8")
    assert r"\begin{tabular}" in (tables / "videos.tex").read_text(encoding="utf-8")
    assert f"tables in {tables}" in capsys.readouterr().out


def test_plots_of_names_that_look_like_formulas(world: World) -> None:
    pytest.importorskip("matplotlib")
    world.track("$x_{2")
    assert report(world, "--config", "$x_{2", "--plots", str(world.root / "figures")) == 0


def test_without_matplotlib_the_hint_comes_before_the_work(
    world: World, capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = builtins.__import__

    def without(name: str, *rest: object):
        if name.partition(".")[0] == "matplotlib":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    assert report(world, "--plots", str(world.root / "figures")) == 2
    assert one_line(capsys) == 'error: plots need matplotlib: pip install -e ".[plots]"\n'
    assert not (world.root / "out/report.html").exists()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        pytest.param(["--out", "page.pdf"], "call it page.html", id="suffix"),
        pytest.param(["--max-mb", "0"], "'0' is no size", id="size zero"),
        pytest.param(["--max-mb", "much"], "'much' is no size", id="size of letters"),
        pytest.param(["--config", "goood"], "did you mean 'good'", id="no such results"),
        pytest.param(["--dataset", "lasott"], "did you mean 'lasot'", id="no such data set"),
        pytest.param(["--protocol", "otbb"], "did you mean 'otb'", id="no such protocol"),
        pytest.param(["--convention", "x"], "unknown scoring convention", id="no such convention"),
    ],
)
def test_wrong_input_ends_in_one_line(
    world: World, arguments: list[str], says: str, capsys
) -> None:
    try:
        assert report(world, *arguments) == 2
    except SystemExit as ending:
        assert ending.code == 2
    assert says in one_line(capsys)
    assert not (world.root / "out/report.html").exists()


def test_missing_results_are_named_or_left_out(world: World, capsys) -> None:
    (world.results("good") / f"{CALM}.txt").unlink()
    assert report(world) == 2
    assert f"{CALM}.txt: missing, the results of good on sequence {CALM}" in one_line(capsys)
    assert report(world, "--skip-missing") == 0
    (figures,) = blocks_of(page_of(world))["report"]["datasets"]
    assert figures["leftOut"] == [CALM]
    assert [row["name"] for row in figures["sequences"]] == [WILD]


def test_a_frame_that_cannot_be_read_is_a_warning(world: World, capsys) -> None:
    frame = world.data / CALM / "00000003.jpg"
    frame.write_bytes(b"")
    assert report(world) == 0
    captured = capsys.readouterr()
    assert f"warning: {frame}: the image file is empty" in captured.err
    assert f"{2 * FRAMES - 1} of {2 * FRAMES} frames" in captured.out


def test_a_malformed_confidence_names_file_and_line(world: World, capsys) -> None:
    path = world.results("good") / f"{CALM}_confidence.txt"
    path.write_text("0.5\n?\n")
    assert report(world) == 2
    assert f"{path}:2: '?' is not a number" in one_line(capsys)


def test_an_existing_page_survives_a_failure(world: World) -> None:
    assert report(world) == 0
    before = page_of(world)
    (world.results("good") / f"{CALM}.txt").write_text("1\t2\n")
    assert report(world) == 2
    assert page_of(world) == before


def test_help_and_entry_point(world: World) -> None:
    done = subprocess.run(
        [sys.executable, "tracking/report.py", "--help"],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0 and "--link-frames" in done.stdout
    assert re.search(r"--max-mb MB\s+size of the page", done.stdout)
    assert build_parser().parse_args(["--dataset", "otb"]).out == "report.html"
