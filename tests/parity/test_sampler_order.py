"""The frames of SAMPLER_MODE order come as often as the reference's."""

import numpy as np
import pytest

from lib.train.data.sampler import choose_frames

from .conftest import kit_cases

TOLERANCE = 0.01


def shares(frames, length):
    return np.bincount(frames, minlength=length) / len(frames)


@pytest.mark.parametrize("case", kit_cases("sampler_order*.json"))
def test_frame_statistics(case):
    _, want = case
    visible = np.array(want["visible"], bool)
    templates, length = want["num_template"], len(visible)
    rng = np.random.default_rng(1)
    draws = np.array(
        [
            choose_frames(rng, visible, templates, "order", want["max_gap"])
            for _ in range(want["draws"])
        ]
    )
    assert draws.shape == (want["draws"], templates + want["num_search"])
    columns = [f"template{i}" for i in range(templates)] + ["search"]
    for column, key in enumerate(columns):
        np.testing.assert_allclose(shares(draws[:, column], length), want[key], atol=TOLERANCE)
    span = draws.max(1) - draws.min(1)
    ours = {
        "p_non_decreasing": np.mean((np.diff(draws, axis=1) >= 0).all(1)),
        "p_template1_equals_search": np.mean(draws[:, 1] == draws[:, templates]),
        "span": shares(span, len(want["span"])),
    }
    for key, value in ours.items():
        np.testing.assert_allclose(value, want[key], atol=TOLERANCE, err_msg=key)
