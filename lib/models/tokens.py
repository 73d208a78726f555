"""Boxes as words: the vocabulary of SeqTrack.

A coordinate in [0, 1] of the search crop becomes one of `bins` tokens; two more tokens, END
and START, frame the sentence. Source: SeqTrack (CVPR 2023), section 3, and the reference
framework for the exact rounding (truncate, not round).
"""

from dataclasses import dataclass

import torch
from torch import Tensor

SEQ_FORMATS = ("xywh", "whxy", "corner")


def cut_to_crop(boxes: Tensor) -> tuple[Tensor, Tensor]:
    """Upper left and lower right corner, `(B, 2)` each in [0, 1], of xywh boxes `(B, 4)`."""
    return boxes[:, :2].clamp(0, 1), (boxes[:, :2] + boxes[:, 2:]).clamp(0, 1)


@dataclass(frozen=True)
class BoxTokenizer:
    """Turns boxes into tokens and back.

    Attributes:
        bins: number of coordinate tokens, 0 .. bins-1.
        seq_format: order of the four tokens. `xywh` is the field's word for what is really
            centre x, centre y, width, height; `whxy` is width, height, centre x, centre y;
            `corner` is left, top, right, bottom.
    """

    bins: int
    seq_format: str = "xywh"

    def __post_init__(self) -> None:
        if self.seq_format not in SEQ_FORMATS:
            raise ValueError(f"seq_format {self.seq_format!r} is not one of {SEQ_FORMATS}")
        if self.bins < 2:
            raise ValueError(f"bins must be at least 2, not {self.bins}")

    @property
    def end(self) -> int:
        """Token that closes a target sequence."""
        return self.bins

    @property
    def start(self) -> int:
        """Token that opens every decoder input."""
        return self.bins + 1

    @property
    def vocabulary_size(self) -> int:
        """Coordinate tokens, END and START."""
        return self.bins + 2

    @property
    def window_positions(self) -> tuple[int, int]:
        """Which of the four tokens the window penalty applies to.

        They are the centre tokens. For `corner` the reference penalises its first two tokens
        as well, although those are a corner; released behaviour, so it stays.
        """
        return (2, 3) if self.seq_format == "whxy" else (0, 1)

    def window(self, device: torch.device | str = "cpu") -> Tensor:
        """The window penalty as factors `(4, bins)`, float64: Hann rows, and rows of ones.

        The reference multiplies in double precision. Apple's MPS has none, so there the
        window stays on the CPU and `generate` does this product there.
        """
        place = "cpu" if torch.device(device).type == "mps" else device
        factors = torch.ones(4, self.bins, dtype=torch.float64, device=place)
        hann = torch.hann_window(self.bins, periodic=False, dtype=torch.float64, device=place)
        factors[list(self.window_positions)] = hann
        return factors

    def coordinates(self, boxes: Tensor) -> Tensor:
        """The four coordinates that a box is said by, before they are cut to whole tokens.

        A box is cut to the crop first, so the centre of a box that sticks out moves.

        Args:
            boxes: `(B, 4)` float32 xywh, normalised to the search crop; may stick out.

        Returns:
            `(B, 4)` in [0, 1], in the order of the format.

        Example:
            >>> BoxTokenizer(64).coordinates(torch.tensor([[0.5, 0.5, 1.0, 0.25]])).tolist()
            [[0.75, 0.625, 0.5, 0.25]]
        """
        low, high = cut_to_crop(boxes)
        centre, size = (low + high) / 2, high - low
        parts = {"xywh": (centre, size), "whxy": (size, centre), "corner": (low, high)}
        return torch.cat(parts[self.seq_format], dim=1)

    def encode(self, boxes: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens of training boxes.

        Args:
            boxes: `(B, 4)` float32 xywh, normalised to the search crop; may stick out.

        Returns:
            decoder input `(B, 5)` = START and four tokens, and target `(B, 5)` = four tokens
            and END, both int64.
        """
        tokens = (self.coordinates(boxes) * (self.bins - 1)).long()
        start = tokens.new_full((len(tokens), 1), self.start)
        end = tokens.new_full((len(tokens), 1), self.end)
        return torch.cat([start, tokens], dim=1), torch.cat([tokens, end], dim=1)

    def history(self, boxes: Tensor) -> Tensor:
        """Tokens of the boxes before this frame, which the decoder reads before START.

        A box that is not known is END four times: no other input of the decoder is END.

        Args:
            boxes: `(B, N, 4)` float32 xywh, normalised to the present search crop, oldest first;
                NaN where one is not known. What sticks out is cut to the crop.

        Returns:
            `(B, 4 N)` int64.
        """
        known = ~boxes.isnan().any(dim=-1, keepdim=True)
        flat = torch.where(known, boxes, 0.0).flatten(0, 1)
        tokens = (self.coordinates(flat) * (self.bins - 1)).long().unflatten(0, boxes.shape[:2])
        return torch.where(known, tokens, self.end).flatten(1)

    def decode(self, tokens: Tensor) -> Tensor:
        """Boxes that tokens say.

        Args:
            tokens: `(B, 4)` coordinate tokens, or means of them as `expected` gives.

        Returns:
            `(B, 4)` float32 cxcywh, normalised to the search crop.
        """
        if self.seq_format == "corner":
            low, high = tokens[:, :2], tokens[:, 2:]
            values = torch.cat([(low + high) / 2, (high - low).float()], dim=1)
        elif self.seq_format == "whxy":
            values = torch.cat([tokens[:, 2:], tokens[:, :2]], dim=1).float()
        else:
            values = tokens.float()
        return values / (self.bins - 1)

    def expected(self, distributions: Tensor) -> Tensor:
        """Means of the coordinate bins about the likeliest one, weighted by probability.

        Bins farther than a quarter of all from the likeliest do not count: another peak is
        another answer, and the mean of two answers is none. Nearer ones do: an uncertain size is
        skewed, its likeliest value is too small, and a tracker multiplies that from frame to frame.

        Args:
            distributions: `(B, 4, bins)` as `SeqTrack.generate` gives.

        Returns:
            `(B, 4)` float32 in units of tokens.
        """
        bins = torch.arange(self.bins, device=distributions.device)
        best = distributions.argmax(dim=-1, keepdim=True)
        near = (bins - best).abs() <= self.bins // 4
        weights = distributions.float() * near
        return (weights * bins).sum(dim=-1) / weights.sum(dim=-1).clamp_min(1e-12)
