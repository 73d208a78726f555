"""Pictures of training samples: what the network is shown, what it says, where it looks."""

import contextlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor

from lib.models.decoder import Attention
from lib.models.pixels import normalise
from lib.models.seqtrack import SeqTrack
from lib.models.tokens import BoxTokenizer
from lib.utils.drawing import PREDICTION_COLOUR, TRUTH_COLOUR, Colour, draw_box

_PANEL = 192
# What the four tokens mean, by DATA.SEQ_FORMAT.
_WORDS = {
    "xywh": ("centre x", "centre y", "width", "height"),
    "whxy": ("width", "height", "centre x", "centre y"),
    "corner": ("left", "top", "right", "bottom"),
}


@dataclass(frozen=True)
class Answer:
    """What the network says about B samples.

    Attributes:
        boxes: `(B, 4)` xywh, normalised to the search crop.
        attention: `(B, 4, side, side)` how much each token's decoder step attends to the parts of
            the search region, mean of the last layer's heads; None where the decoder reads one
            mean token.
    """

    boxes: np.ndarray
    attention: np.ndarray | None


@torch.no_grad()
def ask(
    network: SeqTrack,
    tokenizer: BoxTokenizer,
    templates: Tensor,
    search: Tensor,
    template_boxes: Tensor,
    mean: Sequence[float],
    std: Sequence[float],
) -> Answer:
    """Let the network read the boxes out, as it would while tracking, and watch it.

    Args:
        network: in evaluation mode.
        tokenizer: turns tokens into boxes.
        templates: `(B, T, S_z, S_z, 3)` uint8 on the network's device.
        search: `(B, S_x, S_x, 3)` uint8.
        template_boxes: `(B, T, 4)` xywh normalised to the template crops.
        mean: of the channels.
        std: standard deviation of the channels.
    """
    images = normalise(templates, mean, std), normalise(search, mean, std)
    last = network.decoder.body.layers[-1].multihead_attn
    with watched(last) as maps:
        said = network.generate(*images, tokenizer, template_boxes=template_boxes)
    boxes = tokenizer.decode(said.tokens).cpu().numpy()
    boxes[:, :2] -= boxes[:, 2:] / 2
    if network.feature_type == "token":
        return Answer(boxes, None)
    cells = network.encoder.body.search_tokens
    side = math.isqrt(cells)
    attention = torch.cat(maps, dim=1)[..., :cells].unflatten(-1, (side, side))
    return Answer(boxes, attention.float().cpu().numpy())


@contextlib.contextmanager
def watched(attention: Attention) -> Iterator[list[Tensor]]:
    """A list that every call inside `with` appends its weights `(B, L, N)` to, mean of the heads.

    The module itself never has them: it uses the fused attention. They are computed again here.
    """
    maps: list[Tensor] = []

    def record(module: Attention, inputs: tuple, output: Tensor) -> None:
        queries, keys = module.queries(inputs[0]), inputs[1][0]
        scores = queries @ keys.transpose(-2, -1) / math.sqrt(queries.shape[-1])
        maps.append(scores.softmax(dim=-1).mean(dim=1))

    handle = attention.register_forward_hook(record)
    try:
        yield maps
    finally:
        handle.remove()


def draw_samples(
    templates: np.ndarray,
    template_boxes: np.ndarray,
    search: np.ndarray,
    boxes: np.ndarray,
    answer: Answer,
    seq_format: str,
) -> np.ndarray:
    """One row per sample: templates, search region with the true (green) and the read-out (red)
    box, and one panel per token with its attention.

    Args:
        templates: `(B, T, S_z, S_z, 3)` uint8 RGB.
        template_boxes: `(B, T, 4)` xywh, normalised to the template crops.
        search: `(B, S_x, S_x, 3)` uint8 RGB.
        boxes: `(B, 4)` xywh, normalised to the search crop.
        answer: what the network says about them.
        seq_format: DATA.SEQ_FORMAT, for the words on the panels.

    Returns:
        `(H, W, 3)` uint8 RGB.
    """
    rows = []
    for i, region in enumerate(search):
        panels = [
            _with_box(_panel(template), box, TRUTH_COLOUR)
            for template, box in zip(templates[i], template_boxes[i], strict=True)
        ]
        shown = _with_box(_panel(region), boxes[i], TRUTH_COLOUR)
        panels.append(_with_box(shown, answer.boxes[i], PREDICTION_COLOUR))
        if answer.attention is not None:
            for weights, word in zip(answer.attention[i], _WORDS[seq_format], strict=True):
                panels.append(_with_attention(_panel(region), weights, word))
        rows.append(np.hstack(panels))
    return np.vstack(rows)


def _panel(image: np.ndarray) -> np.ndarray:
    return cv2.resize(image, (_PANEL, _PANEL), interpolation=cv2.INTER_LINEAR)


def _with_box(panel: np.ndarray, box: np.ndarray, colour: Colour) -> np.ndarray:
    """The panel with a normalised xywh box."""
    draw_box(panel, box * (_PANEL - 1), colour)
    return panel


def _with_attention(panel: np.ndarray, weights: np.ndarray, word: str) -> np.ndarray:
    """`weights` `(side, side)` as warm colours over the picture, the strongest one full."""
    heat = (255 * weights / max(float(weights.max()), 1e-12)).astype(np.uint8)
    heat = cv2.resize(heat, (_PANEL, _PANEL), interpolation=cv2.INTER_NEAREST)
    warm = cv2.cvtColor(cv2.applyColorMap(heat, cv2.COLORMAP_INFERNO), cv2.COLOR_BGR2RGB)
    mixed = cv2.addWeighted(panel, 0.4, warm, 0.6, 0)
    return cv2.putText(
        mixed, word, (6, 18), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (255, 255, 255), 1, cv2.LINE_AA
    )
