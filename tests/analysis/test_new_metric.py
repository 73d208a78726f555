"""A new metric is one row: tables, files, statistics and the page have it without another line."""

import json
from collections.abc import Mapping

import numpy as np
import pytest

from lib.analysis import metrics
from lib.analysis.compare import Comparison
from lib.analysis.export import documents
from lib.analysis.findings import sequence_values, work_out
from lib.analysis.frames import FrameErrors, TrackedSequence
from lib.analysis.metrics import DatasetScore, OpeMetric, score_dataset
from lib.report.summary import dataset_tree


def area_error(errors: FrameErrors) -> np.ndarray:
    """How many times too large or too small a box is, less one; inf where nothing counts."""
    ours, truth = (boxes[:, 2] * boxes[:, 3] for boxes in (errors.predicted, errors.truth))
    error = np.maximum(ours / truth, truth / ours) - 1
    return np.where(errors.valid, error, np.inf)


# The one file that a new metric costs holds this.
SIZE = OpeMetric(
    title="Size",
    axis="Area wrong by up to",
    values=area_error,
    passes=np.less_equal,
    thresholds=np.arange(11) / 10,
    headlines={"Size20": 2, "SizeAUC": None},
    in_plot="at 0.2",
)


@pytest.fixture
def comparison(monkeypatch: pytest.MonkeyPatch) -> Comparison:
    """Two trackers on two sequences of four frames, boxes of 10 x 10; two boxes are too large."""
    table: Mapping[str, OpeMetric] = {**metrics.OPE_METRICS, "size": SIZE}
    monkeypatch.setattr(metrics, "OPE_METRICS", table)
    truth = np.array([[5.0, 5, 10, 10]] * 4)
    large = truth + np.array([0, 0, 1.5, 0])
    huge = truth + np.array([0, 0, 10, 0])

    def scored(third: np.ndarray) -> DatasetScore:
        rows = {"one": truth, "two": np.stack([truth[0], truth[1], large[2], third[3]])}
        return score_dataset([TrackedSequence(n, truth, boxes) for n, boxes in rows.items()], "otb")

    return Comparison("videos", "otb", "seqtrack_lib_test", {"a": scored(truth), "b": scored(huge)})


def test_it_is_scored(comparison: Comparison) -> None:
    total = comparison.scores["b"].total.percentages()
    assert list(total)[:5] == ["AUC", "OP50", "OP75", "Precision", "NormPrecision"]
    # One of eight boxes is twice as large; another one by 15 %, which two thresholds refuse.
    assert total["Size20"] == pytest.approx(100 * 7 / 8)
    assert total["SizeAUC"] == pytest.approx(100 * (6 + 9 / 11 + 1 / 11) / 8)
    values, weights = sequence_values(comparison.scores["b"], "Size20")
    assert values.tolist() == [100, 75] and weights.tolist() == [1, 1]


def test_it_is_in_tables_files_and_the_page(comparison: Comparison) -> None:
    findings = work_out(comparison)
    texts = documents(findings)
    for ending in (".csv", ".md", ".tex"):
        assert "Size20" in texts[ending]
    found = json.loads(texts[".json"])["videos"]["b"]
    assert found["Size20"] == 87.5 and "Size20" in found["intervals"]
    tree = dataset_tree(findings)
    assert "Size20" in tree["metrics"]
    curve = tree["curves"][-1]
    assert (curve["id"], curve["title"], curve["mark"]) == ("size", "Size", 0.2)
    assert curve["headline"] == [100, 87.5] and len(curve["x"]) == 11
