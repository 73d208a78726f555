"""The parts of the report: packed figures, segments, pictures within a budget, safe markup."""

import base64
import hashlib
import re
from pathlib import Path

import cv2
import numpy as np
import pytest

from lib.analysis.compare import TrackerResults, compare, read_tracked
from lib.analysis.conventions import convention_named
from lib.analysis.findings import work_out
from lib.analysis.frames import TrackedSequence
from lib.analysis.metrics import OVERLAP_THRESHOLDS, score_sequence
from lib.datasets.sequence import ImageFiles, Video
from lib.report.build import Part, build_report
from lib.report.page import build_page
from lib.report.pictures import embedded_sample, linked_frames
from lib.report.segments import (
    Segment,
    lowest_segment,
    picture_order,
    spread_order,
    widest_segment,
)
from lib.report.series import (
    MISSING,
    Track,
    frame_overlaps,
    pack,
    read_track,
)
from lib.report.summary import dataset_tree
from lib.results.files import read_column
from lib.results.find import ResultFiles
from lib.utils.errors import ResultsError
from lib.utils.files import atomic_write_text
from tests.helpers.report_files import DrawnFrames, blocks_of, drawn_dataset, truth_of, unpacked

NAN = float("nan")


def test_figures_survive_packing() -> None:
    rng = np.random.default_rng(0)
    truth = rng.uniform(-50, 4000, (40, 4)).round(1)
    boxes = rng.integers(-9, 3000, (40, 4)).astype(float)
    boxes[3] = NAN
    truth[7] = NAN
    overlap, confidence = rng.uniform(0, 1, 40), rng.uniform(0, 40, 40)
    overlap[5] = NAN
    tracks = [Track(boxes, overlap, confidence), Track(boxes + 1, overlap)]
    rows = unpacked(pack(truth, tracks), 40).astype(float)
    rows[rows == MISSING] = NAN
    assert len(rows) == 4 + 6 + 5
    np.testing.assert_allclose(rows[:4].T / 10, truth, atol=1e-9)
    np.testing.assert_array_equal(rows[4:8].T / 10, boxes)
    np.testing.assert_allclose(rows[8] / 1000, overlap, atol=5e-4)
    np.testing.assert_allclose(rows[9] / 1000, confidence, atol=5e-4)
    np.testing.assert_array_equal(rows[10:14].T / 10, boxes + 1)


def test_the_player_shows_the_file_that_was_scored(tmp_path: Path) -> None:
    """`ball_001` is another sequence, not a repetition of `ball`, whose file has a capital."""
    atomic_write_text(tmp_path / "Ball.txt", "1,2,3,4\n" * 2)
    atomic_write_text(tmp_path / "ball_001.txt", "5,6,7,8\n" * 2)
    video = Video("ball", ImageFiles(tmp_path, ("1.jpg", "2.jpg")), np.full((2, 4), 5.0))
    convention = convention_named("seqtrack_lib_test")
    track = read_track(video, ResultFiles(tmp_path, ("ball", "ball_001")), "otb", convention)
    assert track.boxes.tolist() == [[1, 2, 3, 4]] * 2


def test_wild_figures_keep_their_side_and_their_neighbours() -> None:
    boxes = np.array([[1e12, -1e12, 5, 5], [2, 2, 5, 5], [NAN, 2, 5, 5], [4, 2, 5, 5.0]])
    rows = unpacked(pack(boxes, []), 4)
    assert rows[0].tolist() == [2**30, 20, MISSING, 40]
    assert rows[1].tolist() == [-(2**30), 20, 20, 20]


def test_figures_of_a_smooth_track_are_short() -> None:
    """The reason for all the shuffling: 30 long sequences have to leave room for pictures."""
    truth = np.stack([np.sin(np.arange(2500) / (20 + i)) * 200 + 300 for i in range(4)], axis=1)
    assert len(pack(truth, [])) < 2500 * 4 * 2


def moved(boxes: np.ndarray, right: float) -> np.ndarray:
    return boxes + np.array([right, 0, 0, 0])


def tracked(truth: np.ndarray, predicted: np.ndarray, **flags: object) -> TrackedSequence:
    return TrackedSequence("x", truth, predicted, **flags)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("kind", "convention"), [("otb", "seqtrack_lib_test"), ("lasot", "lasot_matlab_port")]
)
def test_overlaps_are_those_that_were_scored(kind: str, convention: str) -> None:
    truth = truth_of(0)
    visible = np.ones(len(truth), bool)
    visible[4:8] = False
    sequence = tracked(truth, moved(truth, 3), visible=visible)
    overlap = frame_overlaps(sequence, kind, convention_named(convention))
    score = score_sequence(sequence, kind, convention)
    shares = (overlap[:, None] > OVERLAP_THRESHOLDS).mean(axis=0)
    np.testing.assert_allclose(shares, score.success)
    assert np.isnan(overlap[4:8]).all() and np.isfinite(np.delete(overlap, range(4, 8))).all()


def test_overlaps_of_got10k_lack_the_first_and_hidden_frames() -> None:
    truth = truth_of(0)
    cover = np.full(len(truth), 8)
    cover[[5, 9]] = 0
    sequence = tracked(truth, moved(truth, 3), cover=cover, resolution=(96, 64))
    overlap = frame_overlaps(sequence, "got10k_val", convention_named("cover_bound"))
    assert np.flatnonzero(np.isnan(overlap)).tolist() == [0, 5, 9]
    score = score_sequence(sequence, "got10k_val", "cover_bound")
    assert np.nanmean(overlap) == pytest.approx(score.ao)  # type: ignore[union-attr]


def test_overlaps_end_where_a_convention_cuts_to_the_shorter() -> None:
    truth = truth_of(0)
    convention = convention_named("got10k_toolkit_OPE_otb")
    overlap = frame_overlaps(tracked(truth, truth[:20]), "otb", convention)
    assert np.isfinite(overlap[:20]).all() and np.isnan(overlap[20:]).all()


@pytest.mark.parametrize(
    ("text", "values"),
    [
        pytest.param("0.5\n0.25\n1\n", [0.5, 0.25, 1], id="plain"),
        pytest.param("0.5\r\n0.25\r\n", [0.5, 0.25, NAN], id="short, Windows"),
        pytest.param("1\n2\n3\n4\n", [1, 2, 3], id="long"),
        pytest.param("inf\nnan\n1\n", [NAN, NAN, 1], id="not finite"),
    ],
)
def test_confidences(tmp_path: Path, text: str, values: list[float]) -> None:
    path = tmp_path / "a_confidence.txt"
    path.write_bytes(text.encode())
    np.testing.assert_array_equal(read_column(path, 3), values)


def test_a_confidence_that_is_no_number_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a_confidence.txt"
    path.write_text("0.5\nhigh\n")
    with pytest.raises(ResultsError, match=rf"^{path}:2: 'high' is not a number$"):
        read_column(path, 3)


def test_the_lowest_segment_is_found_and_unknown_frames_do_not_count() -> None:
    values = np.ones(100)
    values[40:52] = 0.1
    assert lowest_segment(values) == Segment(40, 50, pytest.approx(0.1))
    values[40:46] = NAN
    found = lowest_segment(values)
    assert found is not None and found.mean == pytest.approx(0.1)
    assert found.start >= 40 and found.end <= 57
    assert lowest_segment(np.full(9, NAN)) is None
    assert lowest_segment(np.array([0.5])) == Segment(0, 1, 0.5)


def test_the_widest_segment_is_where_trackers_differ() -> None:
    good, bad = np.ones(100), np.ones(100)
    bad[70:80] = 0.2
    assert widest_segment([good, bad, good]) == Segment(70, 80, pytest.approx(0.8))
    assert widest_segment([good]) is None


@pytest.mark.parametrize("count", [1, 2, 7, 64, 1000])
def test_the_order_of_pictures_has_every_frame_once(count: int) -> None:
    assert sorted(spread_order(count)) == list(range(count))
    end = min(count, 5)
    order = list(picture_order(count, [Segment(0, end, 0.0), Segment(count // 2, count, 0.0)]))
    assert sorted(order) == list(range(count))


def test_a_few_pictures_show_all_of_it_and_the_segment_more_closely() -> None:
    few = sorted(list(picture_order(1000, [Segment(400, 440, 0.0)]))[:30])
    assert np.diff([0, *few, 1000]).max() <= 128
    assert sum(400 <= frame < 440 for frame in few) >= 10
    assert 0 in few and 420 in few


def sides(source: str) -> tuple[int, int]:
    data = base64.b64decode(source.partition(",")[2])
    height, width = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR).shape[:2]
    return width, height


@pytest.mark.parametrize("budget", [0, 3_000, 200_000, 2_000_000])
def test_pictures_keep_to_the_budget(budget: int) -> None:
    frames = DrawnFrames(50, (800, 600))
    sample = embedded_sample(frames, range(50), budget)
    assert sample.characters <= budget
    assert [one.frame for one in sample.pictures] == list(range(len(sample.pictures)))
    if budget >= 200_000:
        assert len(sample.pictures) >= 4
        assert max(sides(sample.pictures[0].source)) in (256, 320, 400, 480, 640)


def test_pictures_are_large_where_there_is_room_and_never_enlarged() -> None:
    assert sides(embedded_sample(DrawnFrames(2, (800, 600)), [0, 1], 10**7).pictures[0].source) == (
        640,
        480,
    )
    assert sides(embedded_sample(DrawnFrames(2, (90, 60)), [0, 1], 10**7).pictures[0].source) == (
        90,
        60,
    )


def test_the_first_pictures_of_the_order_are_taken() -> None:
    order = list(picture_order(400, [Segment(100, 140, 0.0)]))
    sample = embedded_sample(DrawnFrames(400, (320, 240)), order, 400_000)
    taken = {one.frame for one in sample.pictures}
    assert taken == set(order[: len(taken)])
    assert 5 < len(taken) < 400


def test_a_damaged_frame_is_reported_and_passed_over() -> None:
    sample = embedded_sample(DrawnFrames(4, (90, 60), frozenset({0, 2})), range(4), 10**6)
    assert [one.frame for one in sample.pictures] == [1, 3]
    assert sample.problems == ("drawn 0: damaged", "drawn 2: damaged")


def test_links_are_relative_and_spelled_for_a_browser(tmp_path: Path) -> None:
    folder = tmp_path / "my data" / "50% #1?"
    folder.mkdir(parents=True)

    class Files(DrawnFrames):
        def describe(self, index: int) -> str:
            return str(folder / f"{index}.jpg")

    files = Files(2, (9, 9))
    assert linked_frames(files, tmp_path) is None, "no such file"
    (folder / "0.jpg").touch()
    sample = linked_frames(files, tmp_path / "pages")
    assert sample is not None
    assert [one.source for one in sample.pictures] == [
        "../my%20data/50%25%20%231%3F/0.jpg",
        "../my%20data/50%25%20%231%3F/1.jpg",
    ]
    assert linked_frames(DrawnFrames(2, (9, 9)), tmp_path) is None, "no files at all"


def test_no_name_leaves_its_place_in_the_page() -> None:
    wild = "</script><script>alert(1)</script><!-- {{script}} & \"'\u2028\udce9"
    page = build_page(wild, {"title": wild}, [("s0", {"name": wild})])
    assert page.count("<script") == page.count("</script") == 3
    assert "alert(1)</script" not in page and "<!--" not in page
    assert blocks_of(page) == {"report": {"title": wild}, "s0": {"name": wild}}
    page.encode("utf-8")


def test_the_policy_names_what_is_there_and_nothing_else() -> None:
    page = build_page("t", {}, [])
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]+)"', page)
    assert policy.startswith("default-src &#x27;none&#x27;;")
    assert not re.search(r"https?:", policy) and "unsafe" not in policy
    for kind in ("style", "script"):
        (text,) = re.findall(rf"<{kind}>(.*?)</{kind}>", page, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{kind}-src &#x27;sha256-{digest}&#x27;" in policy
    assert "{{" not in re.sub(r"<script>.*", "", page, flags=re.DOTALL)


def test_the_page_names_no_address_on_the_network() -> None:
    addresses = set(re.findall(r"[a-z]+://[^\s\"'`)]+", build_page("t", {}, [])))
    assert addresses == {"http://www.w3.org/2000/svg"}, "the name of SVG, which is never fetched"


def write_drawn_results(folder: Path, count: int, frames: int, shift: int) -> TrackerResults:
    for i in range(count):
        rng = np.random.default_rng(i + shift)
        boxes = truth_of(i, frames) + rng.integers(-shift, shift + 1, (frames, 4)) * (1, 1, 0, 0)
        rows = ("\t".join(map(str, row)) + "\n" for row in boxes.astype(int).tolist())
        atomic_write_text(folder / f"seq{i}.txt", "".join(rows))
        confidences = "".join(f"{value:.6f}\n" for value in rng.uniform(0, 1, frames))
        atomic_write_text(folder / f"seq{i}_confidence.txt", confidences)
    return TrackerResults(folder.name, folder)


@pytest.mark.slow
def test_thirty_sequences_stay_below_fifteen_megabytes(tmp_path: Path) -> None:
    """The length of LaSOT's, noise in all figures and pictures; each still has some to see."""
    dataset = drawn_dataset(30, 2500, (480, 360))
    trackers = [
        write_drawn_results(tmp_path / name, 30, 2500, shift)
        for name, shift in (("near", 2), ("far", 6))
    ]
    part = Part(dataset, trackers, work_out(compare(dataset, trackers)))
    built = build_report("t", [part], tmp_path)
    assert 12e6 < len(built.page.encode()) < 15e6
    assert built.frames == 30 * 2500
    shown = [len(block["pictures"]) for name, block in blocks_of(built.page).items() if "-" in name]
    assert len(shown) == 30 and min(shown) >= 8
    assert sum(shown) == built.pictures


def test_the_figures_of_a_data_set(tmp_path: Path) -> None:
    dataset = drawn_dataset(6, 40, (96, 64))
    trackers = [
        write_drawn_results(tmp_path / name, 6, 40, shift)
        for name, shift in (("near", 1), ("far", 8))
    ]
    comparison = compare(dataset, trackers)
    tree = dataset_tree(work_out(comparison))
    assert tree["metrics"][0] == "AUC" and tree["trackers"] == ["near", "far"]
    near = tree["totals"][0][0]
    assert near["value"] == pytest.approx(100 * comparison.scores["near"].total.auc, abs=1e-3)  # type: ignore[union-attr]
    assert near["low"] < near["value"] < near["high"]
    (pair,) = tree["differences"]
    assert (pair["first"], pair["second"]) == (0, 1)
    assert pair["value"] == pytest.approx(near["value"] - tree["totals"][1][0]["value"], abs=2e-3)
    assert 0 < pair["low"] and pair["p"] < 0.05
    assert [curve["id"] for curve in tree["curves"]] == ["success", "precision", "norm_precision"]
    assert [len(curve["x"]) for curve in tree["curves"]] == [21, 51, 51]
    rows = tree["sequences"]
    mean = np.mean([row["scores"][0][0] for row in rows])
    assert mean == pytest.approx(near["value"], abs=2e-3)


def test_a_track_keeps_the_boxes_of_the_file(tmp_path: Path) -> None:
    """Those of the score are repaired; the player shows what the tracker wrote, and its gaps."""
    from lib.report.series import read_track

    dataset = drawn_dataset(1, 40, (96, 64))
    folder = write_drawn_results(tmp_path / "a", 1, 40, 2).folder
    lines = (folder / "seq0.txt").read_text().splitlines(keepends=True)
    (folder / "seq0.txt").write_text("".join([*lines[:10], "3\t4\t0\t0\n", *lines[11:30]]))
    convention = convention_named("seqtrack_lib_test")
    video = dataset.load("seq0")
    files = ResultFiles(folder)
    track = read_track(video, files, "otb", convention)
    assert track.boxes[10].tolist() == [3, 4, 0, 0]
    assert np.isnan(track.boxes[30:]).all() and np.isfinite(track.boxes[:30]).all()
    scored = convention.errors(read_tracked(video, files, convention), "otb")  # type: ignore[union-attr]
    np.testing.assert_array_equal(track.overlap, scored.overlap)
