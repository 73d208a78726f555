"""Long-term measures: against figures worked out by hand, and only where a certainty is known."""

import json
from dataclasses import replace

import numpy as np
import pytest

from lib.analysis.compare import Comparison, comparable, read_tracked_file
from lib.analysis.conventions import convention_named
from lib.analysis.export import documents
from lib.analysis.findings import work_out
from lib.analysis.frames import TrackedSequence
from lib.analysis.longterm import THRESHOLDS, certain_frames, precision_recall_f
from lib.analysis.metrics import DatasetScore, OpeScore, score_dataset
from lib.datasets.sequence import Video
from lib.evaluation.sequence import Trace
from lib.report.summary import dataset_tree
from lib.results.files import ResultsFolder

TRUTH = np.array([[5.0, 5, 10, 10]] * 5)
# Right, right, half a box off (IoU 1/3), and away.
FOUND = TRUTH + np.array([[0.0, 0, 0, 0]] * 3 + [[5.0, 0, 0, 0], [0, 0, 0, 0]])
VISIBLE = np.array([True, True, True, True, False])
SURE = np.array([1.0, 0.9, 0.9, 0.3, 0.1])


class Frames:
    """Five frames that nobody looks at."""

    def __len__(self) -> int:
        return 5

    def read(self, index: int) -> np.ndarray:
        return np.zeros((40, 40, 3), np.uint8)

    def describe(self, index: int) -> str:
        return f"frame {index}"


def tracked(name: str = "one", certainty: np.ndarray | None = SURE) -> TrackedSequence:
    return TrackedSequence(name, TRUTH, FOUND, VISIBLE, certainty=certainty)


def test_precision_counts_answers_and_recall_counts_targets() -> None:
    precision, recall, f = precision_recall_f([certain_frames(tracked())])
    place = {x: int(np.abs(THRESHOLDS - x).argmin()) for x in (0.0, 0.2, 0.5, 1.0)}
    # All four are answered; one of them has no target.
    assert precision[place[0.0]] == pytest.approx((1 + 1 + 1 / 3) / 4)
    assert recall[place[0.0]] == pytest.approx((1 + 1 + 1 / 3) / 3)
    assert precision[place[0.2]] == pytest.approx((1 + 1 + 1 / 3) / 3)
    assert (precision[place[0.5]], recall[place[0.5]]) == pytest.approx((1, 2 / 3))
    assert (precision[place[1.0]], recall[place[1.0]], f[place[1.0]]) == (1, 0, 0)


def test_the_best_threshold_gives_the_headline() -> None:
    score = score_dataset([tracked()], "lasot").total.fractions()
    # Of answers from 0.5 on all are right, and two thirds of the frames have one.
    assert [score[f"LT-{name}"] for name in ("Precision", "Recall", "F")] == pytest.approx(
        [1, 2 / 3, 0.8]
    )
    good, said = np.array([1, 1, 0, 0]), SURE[1:]
    assert score["Calibrated"] == pytest.approx(
        1 - (2 * abs(good[0] - said[0]) + said[2] + said[3]) / 4
    )


def test_a_truth_without_numbers_is_left_out_unless_the_target_is_known_to_be_away() -> None:
    truth = TRUTH.copy()
    truth[2] = truth[4] = np.nan
    found = certain_frames(TrackedSequence("x", truth, FOUND, VISIBLE, certainty=SURE))
    assert found.certainty.tolist() == [0.9, 0.3, 0.1]
    assert found.present.tolist() == [True, True, False]


def test_without_a_certainty_nothing_is_added() -> None:
    assert certain_frames(tracked(certainty=None)) is None
    plain = score_dataset([tracked(certainty=None)], "lasot").total.percentages()
    assert list(plain) == ["AUC", "OP50", "OP75", "Precision", "NormPrecision"]


def test_one_tracker_without_a_certainty_takes_it_from_the_comparison() -> None:
    sure = score_dataset([tracked()], "lasot").total
    blind = replace(sure, certain=())
    kept = comparable({"a": {"one": [sure]}, "b": {"one": [sure]}})
    assert kept["a"]["one"][0].certain
    dropped = comparable({"a": {"one": [sure]}, "b": {"one": [blind]}})
    assert isinstance(dropped["a"]["one"][0], OpeScore) and not dropped["a"]["one"][0].certain


def test_it_is_in_tables_files_and_the_page() -> None:
    score: DatasetScore = score_dataset([tracked("one"), tracked("two")], "lasot")
    findings = work_out(Comparison("videos", "lasot", "seqtrack_lib_test", {"a": score}))
    texts = documents(findings)
    assert all("LT-F" in texts[ending] for ending in (".csv", ".md", ".tex"))
    assert "LT-Recall" in json.loads(texts[".json"])["videos"]["a"]
    curves = {curve["id"]: curve for curve in dataset_tree(findings)["curves"]}
    assert len(curves["longterm"]["x"]) == len(THRESHOLDS)
    line = curves["reliability"]["lines"][0]
    assert line[9] == 100 and line[3] == 0 and line[5] is None


@pytest.mark.parametrize("calibrated", [True, False])
def test_a_certainty_is_kept_where_somebody_calibrated_it(tmp_path, calibrated: bool) -> None:
    video = Video("one", Frames(), TRUTH, VISIBLE)
    trace = Trace(video)
    for box, certainty in zip(FOUND.tolist(), SURE.tolist(), strict=True):
        answer = {"target_bbox": box, "confidence": 9.0, "certainty": certainty}
        trace.add(answer | ({"calibrated": True} if calibrated else {}), 0.1)
    folder = ResultsFolder(tmp_path)
    folder.write("one", trace.result())
    assert folder.certainty_file("one").is_file() == calibrated
    read = read_tracked_file(
        video, folder.boxes_file("one"), convention_named("seqtrack_lib_test")
    ).certainty
    assert read.tolist() == SURE.tolist() if calibrated else read is None
    # Another run without one leaves none behind.
    folder.write("one", replace(trace.result(), certainties=None))
    assert not folder.certainty_file("one").exists()
