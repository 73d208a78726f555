"""lib/models/tokens.py: encode and decode agree within a bin; the window sits on the centre."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lib.models.tokens import SEQ_FORMATS, BoxTokenizer


@pytest.mark.parametrize("seq_format", SEQ_FORMATS)
def test_decode_inverts_encode_within_a_bin(seq_format):
    tokenizer = BoxTokenizer(1000, seq_format)
    boxes = torch.tensor([[0.1, 0.2, 0.3, 0.4], [0.0, 0.0, 1.0, 1.0], [0.5, 0.25, 0.125, 0.5]])
    inputs, targets = tokenizer.encode(boxes)
    assert (inputs[:, 0] == tokenizer.start).all() and (targets[:, -1] == tokenizer.end).all()
    assert torch.equal(inputs[:, 1:], targets[:, :-1])
    decoded = tokenizer.decode(targets[:, :-1])
    centre = boxes[:, :2] + boxes[:, 2:] / 2
    expected = torch.cat([centre, boxes[:, 2:]], dim=1)
    assert decoded.dtype == torch.float32
    np.testing.assert_allclose(decoded, expected, atol=2.01 / 999)


def test_boxes_are_cut_to_the_crop_first():
    tokenizer = BoxTokenizer(101)
    _, targets = tokenizer.encode(torch.tensor([[-0.2, 0.5, 0.4, 1.0], [1.5, 1.5, 0.2, 0.2]]))
    assert targets.tolist() == [[10, 75, 20, 50, 101], [100, 100, 0, 0, 101]]


@pytest.mark.parametrize(("seq_format", "rows"), [("xywh", [0, 1]), ("whxy", [2, 3])])
def test_window_rows(seq_format, rows):
    window = BoxTokenizer(50, seq_format).window()
    assert window.dtype == torch.float64
    for i in range(4):
        expected = np.hanning(50) if i in rows else np.ones(50)
        np.testing.assert_allclose(window[i], expected, atol=1e-15)


@pytest.mark.parametrize("arguments", [(1, "xywh"), (100, "yxhw")])
def test_bad_arguments(arguments):
    with pytest.raises(ValueError, match=r"seq_format|bins"):
        BoxTokenizer(*arguments)


SHARE = st.floats(0, 1, width=32)
TOKENIZERS = st.builds(BoxTokenizer, st.integers(2, 4000), st.sampled_from(SEQ_FORMATS))


@given(tokenizer=TOKENIZERS, box=st.tuples(*[st.floats(-1, 2, width=32)] * 4))
def test_tokens_of_any_box_are_in_the_vocabulary(tokenizer, box):
    inputs, targets = tokenizer.encode(torch.tensor([box]))
    assert inputs[0, 0] == tokenizer.start and targets[0, -1] == tokenizer.end
    assert torch.equal(inputs[:, 1:], targets[:, :-1])
    coordinates = inputs[:, 1:]
    if min(box[2:]) >= 0:
        assert coordinates.min() >= 0 and coordinates.max() <= tokenizer.bins - 1


@given(tokenizer=TOKENIZERS, corners=st.tuples(*[SHARE] * 4))
def test_decoded_boxes_are_within_a_bin(tokenizer, corners):
    left, right = sorted(corners[:2])
    top, bottom = sorted(corners[2:])
    box = torch.tensor([[left, top, right - left, bottom - top]])
    _, targets = tokenizer.encode(box)
    cx, cy, w, h = tokenizer.decode(targets[:, :-1])[0].tolist()
    found = (cx, cy, w, h)
    wanted = ((left + right) / 2, (top + bottom) / 2, right - left, bottom - top)
    assert found == pytest.approx(wanted, abs=1 / (tokenizer.bins - 1) + 1e-6)


@given(tokenizer=TOKENIZERS, shares=st.lists(SHARE, min_size=4, max_size=4))
def test_a_sure_distribution_means_its_token(tokenizer, shares):
    tokens = (torch.tensor([shares]) * (tokenizer.bins - 1)).long()
    sure = torch.nn.functional.one_hot(tokens, tokenizer.bins).float()
    assert torch.equal(tokenizer.expected(sure), tokens.float())


def test_the_words_beside_the_coordinates():
    tokenizer = BoxTokenizer(100)
    assert (tokenizer.end, tokenizer.start, tokenizer.vocabulary_size) == (100, 101, 102)
    inputs, targets = tokenizer.encode(torch.tensor([[0.25, 0.0, 0.5, 1.0]]))
    assert inputs.tolist() == [[101, 49, 49, 49, 99]]
    assert targets.tolist() == [[49, 49, 49, 99, 100]]


def test_the_window_lies_where_it_is_used_but_for_mps():
    tokenizer = BoxTokenizer(10, "corner")
    assert tokenizer.window("meta").device.type == "meta"
    # In double precision, which MPS has not.
    assert tokenizer.window("mps").device.type == "cpu"
    assert tokenizer.window_positions == (0, 1)


def test_the_mean_is_of_the_bins_near_the_likeliest():
    # Two bins to either side, a quarter of all, count; three do not.
    one = torch.tensor([0.0, 0.3, 0.1, 0.0, 0.4, 0.0, 0.2, 0.3, 0.0])
    found = BoxTokenizer(9).expected(one.expand(1, 4, 9))
    assert found.tolist()[0] == pytest.approx([(0.4 * 4 + 0.1 * 2 + 0.2 * 6) / 0.7] * 4)


def test_no_distribution_means_a_number_nevertheless():
    assert BoxTokenizer(8).expected(torch.zeros(2, 4, 8)).tolist() == [[0.0] * 4] * 2
