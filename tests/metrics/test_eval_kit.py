"""Every number that established toolkits gave for the kit's cases, to 1e-4 of the file's unit.

The kit's README defines the fields. Its folder is SEQTRACK_EVAL_KIT, by default tests/kits/eval.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lib.analysis.conventions import GOT10K_CONVENTIONS, OpeConvention, convention_named
from lib.analysis.frames import TrackedSequence
from lib.analysis.metrics import DatasetScore, OpeScore, OverlapScore, score_dataset
from lib.datasets.text.boxes import read_boxes_text
from lib.utils.errors import DataError, ResultsError
from tests.metrics.conftest import KitCase, find_cases

TOLERANCE = 1e-4
# The kit's name for rule 1 of one-pass evaluation on GOT-10k's data, which is our default rule.
SAME_AS = {"pytracking_style": "seqtrack_lib_test"}
# What the repository's own kit must hold; any other kit may hold any subset.
EXPECTED_FILES = (
    "got10k_val30_*.json",
    "lasot_real_gt_*.json",
    "lasotext_kind_*.json",
    "otb_subset_*.json",
    "uav20l_*.json",
    "syn_absent_*.json",
    "syn_first_frame_*.json",
    "syn_got10k_*.json",
    "syn_long_pred_*.json",
    "syn_nan_gt_*.json",
    "syn_nan_pred*.json",
    "syn_negative_size_*.json",
    "syn_nonpositive_xy_*.json",
    "syn_perfect*.json",
    "syn_short_pred_*.json",
    "syn_text_reading*.json",
    "syn_threshold_ties*.json",
    "syn_zero_gt_*.json",
    "syn_zero_size_*.json",
)

Values = dict[str, Callable[[OpeScore, float], Any]]
# Value of the kit -> ours; the second argument is the unit, 100 for percent.
OPE_VALUES: Values = {
    "AUC": lambda s, unit: unit * s.auc,
    "OP50": lambda s, unit: [unit * s.fractions()["OP50"]],
    "OP75": lambda s, unit: [unit * s.fractions()["OP75"]],
    "Precision20": lambda s, unit: unit * s.fractions()["Precision"],
    "NormPrec02": lambda s, unit: unit * s.fractions()["NormPrecision"],
    "NormPrecAUC_0_05": lambda s, unit: unit * s.norm_precision.mean(),
    "success_curve": lambda s, unit: unit * s.success,
    "precision_curve": lambda s, unit: unit * s.precision,
    "norm_precision_curve": lambda s, unit: unit * s.norm_precision,
    # LaSOT's MATLAB toolkit
    "success_AUC": lambda s, unit: unit * s.auc,
    "precision20": lambda s, unit: unit * s.fractions()["Precision"],
    "norm_precision_at_0_2": lambda s, unit: unit * s.fractions()["NormPrecision"],
    # GOT-10k's toolkit on other benchmarks
    "success_score": lambda s, unit: unit * s.auc,
    "success_rate": lambda s, unit: unit * s.fractions()["OP50"],
    "precision_score": lambda s, unit: unit * s.fractions()["Precision"],
    "norm_precision_score": lambda s, unit: unit * s.fractions()["NormPrecision"],
    "norm_precision_score_mean": lambda s, unit: unit * s.norm_precision.mean(),
}
SEQUENCE_VALUES: Values = {
    "AUC": lambda s, unit: unit * s.auc,
    "P20": lambda s, unit: unit * s.fractions()["Precision"],
    "NP02": lambda s, unit: unit * s.fractions()["NormPrecision"],
}


def test_recorded_case(kit_case: KitCase) -> None:
    if "sequences" in kit_case.content:
        _check_scores(kit_case.content, kit_case.name)
    else:
        _check_reader(kit_case.content)


def test_kit_is_complete(kit: Path, is_default_kit: bool) -> None:
    files = {path.stem for path in kit.glob("*.json")}
    assert files, f"no evaluation case in {kit} (set SEQTRACK_EVAL_KIT or restore the folder)"
    empty = files - {case.file for case in find_cases(kit)}
    assert not empty, f"nothing to check in {', '.join(sorted(empty))}"
    missing = [pattern for pattern in EXPECTED_FILES if not list(kit.glob(pattern))]
    assert not (is_default_kit and missing), f"the kit lost {', '.join(missing)}"


def _check_scores(case: dict, name: str) -> None:
    expected = case["expected"][name]
    tracked = _sequences(case)
    convention = SAME_AS.get(name, name)
    if "raises" in expected:
        with pytest.raises((ResultsError, DataError)):
            score_dataset(tracked, case["dataset_kind"], convention)
        return
    assert expected, "a case without values proves nothing"
    score = score_dataset(tracked, case["dataset_kind"], convention)
    if name in GOT10K_CONVENTIONS:
        found = _got10k_values(score)
    else:
        found = _ope_values(score, name)
        _add_mean_overlaps(found, tracked, score)
    for key, value in expected.items():
        assert key in found, f"{key}: no such value; known: {', '.join(found)}"
        _assert_close(found[key], value, key)
    for used, fresh in zip(tracked, _sequences(case), strict=True):
        np.testing.assert_array_equal(used.predicted, fresh.predicted, "scoring changed its input")
        np.testing.assert_array_equal(used.ground_truth, fresh.ground_truth)


def _check_reader(text: dict) -> None:
    """The kit records what old readers did; ours takes each text that any of them could read."""
    readable = [one for one in text["expected"].values() if "raises" not in one]
    if not readable:
        with pytest.raises(DataError, match=r"^file\.txt(:\d+)?: "):
            read_boxes_text(text["text"], "file.txt")
        return
    boxes = read_boxes_text(text["text"], "file.txt", allow_nan=True)
    assert boxes.shape == (len(text["text"].strip().splitlines()), 4)
    np.testing.assert_array_equal(boxes[0], _boxes([readable[0]["first"]])[0])
    if np.isnan(boxes).any():
        with pytest.raises(DataError, match=r"^file\.txt:\d+: "):
            read_boxes_text(text["text"], "file.txt")


def _sequences(case: dict) -> list[TrackedSequence]:
    return [
        TrackedSequence(
            name=one["name"],
            ground_truth=_boxes(one["gt"]),
            predicted=_boxes(one["pred"]),
            visible=_flags(one.get("visible")),
            cover=_flags(one.get("cover")),
            resolution=tuple(one["resolution"]) if one.get("resolution") else None,
        )
        for one in case["sequences"]
    ]


def _ope_values(score: DatasetScore, convention: str) -> dict[str, Any]:
    unit = 1.0 if convention.startswith("got10k_toolkit") else 100.0
    total = score.total
    assert isinstance(total, OpeScore)
    found = {key: value(total, unit) for key, value in OPE_VALUES.items()}
    found["per_sequence"] = {
        name: {key: value(one, unit) for key, value in SEQUENCE_VALUES.items()}
        for name, one in score.sequences.items()
        if isinstance(one, OpeScore)
    }
    return found


def _add_mean_overlaps(
    found: dict[str, Any], tracked: list[TrackedSequence], score: DatasetScore
) -> None:
    """The mean IoU of the valid frames, which no protocol reports."""
    rules = convention_named(score.convention)
    assert isinstance(rules, OpeConvention)
    for one in tracked:
        errors = rules.errors(one, score.kind)
        valid = errors.overlap[errors.valid]
        mean = float(valid.mean()) if len(valid) else float("nan")
        found["per_sequence"][one.name]["mean_overlap_valid"] = mean
    rows = found["per_sequence"].values()
    found["mean_overlap"] = float(np.mean([row["mean_overlap_valid"] for row in rows]))


def _got10k_values(score: DatasetScore) -> dict[str, Any]:
    total = score.total
    assert isinstance(total, OverlapScore)
    rows = [one.percentages() for one in score.sequences.values()]
    means = {key: float(np.mean([row[key] for row in rows])) / 100 for key in rows[0]}
    return {
        "ao": total.ao,
        "sr50": total.sr50,
        "sr75": total.sr75,
        "succ_curve": total.success,
        "seq_mean_ao": means["AO"],
        "seq_mean_sr50": means["SR50"],
        "seq_mean_sr75": means["SR75"],
        "seq": {
            name: [one.ao, one.sr50, one.sr75]
            for name, one in score.sequences.items()
            if isinstance(one, OverlapScore)
        },
    }


def _assert_close(found: Any, expected: Any, where: str) -> None:
    if isinstance(expected, dict):
        assert isinstance(found, dict), where
        for key, value in expected.items():
            assert key in found, f"{where}: no {key}"
            _assert_close(found[key], value, f"{where} {key}")
        return
    wanted = np.array(expected, dtype=np.float64)
    assert np.shape(found) == wanted.shape, where
    np.testing.assert_allclose(found, wanted, rtol=0, atol=TOLERANCE, err_msg=where)


def _boxes(rows: list) -> np.ndarray:
    # null in the kit is NaN, and numpy turns None into NaN for float64.
    return np.array(rows, dtype=np.float64).reshape(-1, 4)


def _flags(values: list | None) -> np.ndarray | None:
    return None if values is None else np.array(values, dtype=np.int64)
