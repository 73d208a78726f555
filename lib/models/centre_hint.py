"""What the encoder thinks the centre is, told to the decoder with its first word.

A departure from SeqTrack for training from scratch (MODEL.CENTRE_HINT): the decoder's attention
finds out by itself which of the tokens to read, but it takes thousands of batches to do so; the
encoder knows much sooner. The map is trained by TRAIN.CENTRE_WEIGHT, and through the words.
Source of the idea: soft arg-max (integral regression, Sun et al., ECCV 2018).
"""

from torch import Tensor, nn

from lib.models.positions import grid_table


class CentreHint(nn.Module):
    """A map of where the centre may be, and what START says of it.

    Args:
        dim: channels D of the decoder, a multiple of 4.
        side: search tokens along a side.
    """

    def __init__(self, dim: int, side: int) -> None:
        super().__init__()
        # No bias: softmax over the tokens does not see what is added to all of them.
        self.where = nn.Linear(dim, 1, bias=False)
        self.what = nn.Linear(dim, dim)
        self.place = nn.Linear(dim, dim)
        self.register_buffer("grid", grid_table(side, dim), persistent=False)

    def map(self, memory: Tensor) -> Tensor:
        """Logits `(B, L_x)` of where the centre is, from `(B, M, D)`, search tokens first."""
        return self.where(memory[:, : len(self.grid)]).squeeze(-1)

    def forward(self, memory: Tensor) -> Tensor:
        """`(B, M, D)`, search tokens first -> `(B, D)` to add to START."""
        share = self.map(memory).softmax(dim=-1)[:, None]  # (B, 1, L_x)
        what, place = share @ memory[:, : len(self.grid)], share @ self.grid
        return self.what(what[:, 0]) + self.place(place[:, 0])
