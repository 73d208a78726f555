"""Pictures of training samples: what the network is shown, what it predicts, where it looks."""

import contextlib
import math
from collections.abc import Iterator

import cv2
import numpy as np
import torch
from torch import Tensor

from lib.models.decoder import DecoderAttention
from lib.models.pixels import Normaliser
from lib.models.seqtrack import SeqTrack
from lib.models.tokens import BoxTokenizer
from lib.train.data.loader import Batch
from lib.train.model import Prediction
from lib.utils.drawing import PREDICTION_COLOUR, TRUTH_COLOUR, Colour, draw_box

_PANEL = 192
# What the four tokens mean, by DATA.SEQ_FORMAT.
_LABELS = {
    "xywh": ("centre x", "centre y", "width", "height"),
    "whxy": ("width", "height", "centre x", "centre y"),
    "corner": ("left", "top", "right", "bottom"),
}


@torch.no_grad()
def predict(
    network: SeqTrack, tokenizer: BoxTokenizer, normalise: Normaliser, batch: Batch
) -> Prediction:
    """Track in every sample of a batch on the network's device, in evaluation mode.

    Attention is how much each token's decoder step attends to the parts of the search region, mean
    of the last layer's heads; there is none where the decoder reads one mean token.
    """
    images = normalise(batch.templates), normalise(batch.search)
    last = network.decoder.body.layers[-1].multihead_attn
    with record_attention(last) as maps:
        past = tokenizer.history(batch.history) if network.history else None
        found = network.generate(
            *images, tokenizer, template_boxes=batch.template_boxes, history=past
        )
    boxes = tokenizer.decode(found.tokens).cpu().numpy()
    boxes[:, :2] -= boxes[:, 2:] / 2
    if network.feature_type == "token":
        return Prediction(boxes)
    cells = network.encoder.body.search_tokens
    side = math.isqrt(cells)
    # The first step also read the tokens of boxes before, which predict nothing.
    attention = torch.cat([one[:, -1:, :cells] for one in maps], dim=1).unflatten(-1, (side, side))
    return Prediction(boxes, attention.float().cpu().numpy(), _LABELS[tokenizer.seq_format])


@contextlib.contextmanager
def record_attention(attention: DecoderAttention) -> Iterator[list[Tensor]]:
    """A list that every call inside `with` appends its weights `(B, L, N)` to, mean of the heads.

    The module itself never has them: it uses the fused attention. They are computed again here.
    """
    maps: list[Tensor] = []

    def record(module: DecoderAttention, inputs: tuple, output: Tensor) -> None:
        queries, keys = inputs[:2]
        scores = queries @ keys.transpose(-2, -1) / math.sqrt(queries.shape[-1])
        maps.append(scores.softmax(dim=-1).mean(dim=1))

    handle = attention.register_forward_hook(record)
    try:
        yield maps
    finally:
        handle.remove()


def draw_samples(batch: Batch, prediction: Prediction | None) -> np.ndarray:
    """One row per sample: templates, search region with the true (green) and the predicted (red)
    box, and one panel per map of attention.

    Returns:
        `(H, W, 3)` uint8 RGB.
    """
    rows = []
    images = zip(batch.templates.numpy(), batch.search.numpy(), strict=True)
    boxes = zip(batch.template_boxes.numpy(), batch.boxes.numpy(), strict=True)
    for i, ((templates, search), (template_boxes, box)) in enumerate(
        zip(images, boxes, strict=True)
    ):
        panels = [
            _with_box(_panel(template), template_box, TRUTH_COLOUR)
            for template, template_box in zip(templates, template_boxes, strict=True)
        ]
        panels.append(_with_box(_panel(search), box, TRUTH_COLOUR))
        if prediction is not None:
            _with_box(panels[-1], prediction.boxes[i], PREDICTION_COLOUR)
            if prediction.attention is not None:
                for weights, label in zip(prediction.attention[i], prediction.labels, strict=True):
                    panels.append(_with_attention(_panel(search), weights, label))
        rows.append(np.hstack(panels))
    return np.vstack(rows)


def _panel(image: np.ndarray) -> np.ndarray:
    return cv2.resize(image, (_PANEL, _PANEL), interpolation=cv2.INTER_LINEAR)


def _with_box(panel: np.ndarray, box: np.ndarray, colour: Colour) -> np.ndarray:
    draw_box(panel, box * (_PANEL - 1), colour)
    return panel


def _with_attention(panel: np.ndarray, weights: np.ndarray, label: str) -> np.ndarray:
    """`weights` `(side, side)` as warm colours over the picture, the strongest one full."""
    heat = (255 * weights / max(float(weights.max()), 1e-12)).astype(np.uint8)
    heat = cv2.resize(heat, (_PANEL, _PANEL), interpolation=cv2.INTER_NEAREST)
    warm = cv2.cvtColor(cv2.applyColorMap(heat, cv2.COLORMAP_INFERNO), cv2.COLOR_BGR2RGB)
    mixed = cv2.addWeighted(panel, 0.4, warm, 0.6, 0)
    return cv2.putText(
        mixed, label, (6, 18), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (255, 255, 255), 1, cv2.LINE_AA
    )
