"""The same numbers as independent programs give; each is skipped, with the reason, without it."""

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

from lib.analysis.frames import TrackedSequence
from lib.analysis.metrics import score_sequence
from lib.utils.boxes import iou_xywh

# Interpreter of an environment in which `pip install got10k` was run.
GOT10K = os.environ.get("SEQTRACK_GOT10K_PYTHON", "")
SIZE = (640, 480)
# The toolkit changes its arguments where it is told the size of the pictures.
CODE = """
import json, sys
import numpy as np
from got10k.utils.metrics import rect_iou
one, two, size = json.load(sys.stdin)
one, two = np.array(one), np.array(two)
plain = rect_iou(one.copy(), two.copy())
bound = rect_iou(one.copy(), two.copy(), bound=size)
print(json.dumps([plain.tolist(), bound.tolist()]))
"""


@pytest.fixture(scope="module")
def boxes() -> tuple[np.ndarray, np.ndarray]:
    """Pairs (N, 4) that overlap in all ways, some that touch or match, some without area."""
    rng = np.random.default_rng(3)
    first = np.hstack([rng.uniform(-60, 600, (500, 2)), rng.uniform(1, 200, (500, 2))])
    second = first + rng.normal(0, 30, first.shape)
    second[:, 2:] = np.abs(second[:, 2:])
    first, second = np.vstack([first, first.round()]), np.vstack([second, second.round()])
    second[:20] = first[:20]
    second[20:40, :2] = first[20:40, :2] + first[20:40, 2:]
    second[40:60, 2] = first[50:70, 3] = 0
    return first, second


def test_overlap_is_that_of_torchvision(boxes) -> None:
    ops = pytest.importorskip("torchvision.ops")
    import torch

    first, second = (torch.from_numpy(one) for one in boxes)
    theirs = ops.box_iou(*(ops.box_convert(one, "xywh", "xyxy") for one in (first, second)))
    has_area = (boxes[0][:, 2:] > 0).all(axis=1) | (boxes[1][:, 2:] > 0).all(axis=1)
    # Without any area it divides by zero, where the protocols want 0.
    np.testing.assert_allclose(
        iou_xywh(*boxes)[has_area], theirs.diagonal().numpy()[has_area], rtol=1e-9, atol=1e-12
    )


@pytest.fixture(scope="module")
def toolkit(boxes) -> list[np.ndarray]:
    if not Path(GOT10K).is_file():
        pytest.skip(
            "the GOT-10k toolkit is not there: SEQTRACK_GOT10K_PYTHON names the Python of an "
            "environment with `pip install got10k`"
        )
    done = subprocess.run(
        [GOT10K, "-c", CODE],
        input=json.dumps([*(one.tolist() for one in boxes), SIZE]),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [np.array(row) for row in json.loads(done.stdout)]


def test_overlap_is_that_of_the_got10k_toolkit_to_the_bit(boxes, toolkit) -> None:
    np.testing.assert_array_equal(iou_xywh(*boxes), toolkit[0])


@pytest.mark.parametrize(("convention", "row"), [("no_cover_no_bound", 0), ("bound", 1)])
def test_got10k_scores_are_those_of_its_toolkit(boxes, toolkit, convention: str, row: int) -> None:
    first, second = boxes
    sequence = TrackedSequence("a", second, first, resolution=SIZE)
    score = score_sequence(sequence, "got10k_val", convention)
    overlaps = toolkit[row][1:]
    assert score.ao == pytest.approx(overlaps.mean(), abs=1e-12)
    assert score.sr50 == (overlaps > 0.5).mean() and score.sr75 == (overlaps > 0.75).mean()
