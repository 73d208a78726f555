"""What the small network adds to SeqTrack, each part switched on by a key of MODEL.

All of it departs from the paper, for training from scratch on little data; docs/tiny.md has the
worth of each part.

* `ConvStem` (ENCODER.STEM conv): tokens out of a few small convolutions.
* `lib.models.lite.LiteStem` (ENCODER.STEM lite): the first stages of a network trained on ImageNet.
* `Correlation` (CORRELATION): how every place of the search region correlates with the template.
* `TemplateBox` (TEMPLATE_BOX): where in a template the target is.
* `CentreHint` (CENTRE_HINT): where the encoder thinks the centre is, told with the first token.
* `grid_table` (GRID_POSITIONS) and `ordered_rows` (ORDERED_WORDS): what tables start from.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

STRIDE = 8  # of the stem's features, half of the tokens'
# Widths and heights, relative to the template's, at which the whole target is looked for.
_RATIOS = (0.8, 1.0, 1.25)
_REACH = 4  # cells from the middle of the target
_LONGEST = 16.0  # ratio of a grid table's longest wavelength to its shortest
_SHORTEST = 1.5  # radians per token of the shortest one
_WAVES = 31  # of the token table: down to a sixteenth of the range and less


class ConvStem(nn.Module):
    """Images to features of stride 8, and these to tokens of stride 16.

    Source: Xiao et al., Early convolutions help transformers see better, NeurIPS 2021, with batch
    norm as there; its running mean and variance are the only buffers in a checkpoint.

    Args:
        width: channels C of a token.
        channels: channels F of the features.
    """

    def __init__(self, width: int, channels: int = 48) -> None:
        super().__init__()
        self.channels = channels
        sizes = ((3, channels // 2), (channels // 2, channels), (channels, channels))
        self.layers = nn.Sequential(
            *(
                nn.Sequential(
                    nn.Conv2d(before, after, 3, stride=2, padding=1, bias=False),
                    nn.BatchNorm2d(after),
                    nn.ReLU(),
                )
                for before, after in sizes
            )
        )
        self.proj = nn.Conv2d(channels, width, kernel_size=2, stride=2)

    def features(self, images: Tensor) -> Tensor:
        """`(B, 3, S, S)` normalised images to `(B, F, S / 8, S / 8)`."""
        return self.layers(images)

    def fine(self, features: Tensor) -> Tensor:
        """What is correlated, `(B, F, S / 8, S / 8)`."""
        return features

    def tokens(self, features: Tensor) -> Tensor:
        """`(B, F, S / 8, S / 8)` to `(B, (S / 16)^2, C)`, row by row."""
        return self.proj(features).flatten(2).transpose(1, 2)

    def forward(self, images: Tensor) -> Tensor:
        """`(B, 3, S, S)` to `(B, (S / 16)^2, C)`."""
        return self.tokens(self.features(images))


def stretching(cells: int, side: int) -> Tensor:
    """Where the cells of a template lie about the centre of a target of another width.

    Args:
        cells: G along a side of the template.
        side: places S along a side of the search region.

    Returns:
        `(G * S, 3 * S)`: what a cell says of a place, as said of a centre, for three widths.
    """
    # On the CPU whatever the default, as `grid_table`.
    offset = torch.arange(cells, device="cpu") - (cells - 1) / 2
    places = torch.arange(side, device="cpu")
    ahead = places[:, None] - places  # from a centre to a place
    # A cell that falls between two places is shared between them.
    widths = [(1 - (r * offset[:, None, None] - ahead).abs()).clamp_min(0) for r in _RATIOS]
    return (torch.stack(widths, dim=2) * (ahead.abs() <= _REACH)[:, None]).flatten(2).flatten(0, 1)


def whole(maps: Tensor, along: Tensor) -> Tensor:
    """The correlation with the whole template, stretched to nine shapes.

    The maps of the single cells are added up, each shifted to the centre: first along x, then y.

    Args:
        maps: `(B, G * G, S, S)`, what each cell says of each place.
        along: from `stretching`.

    Returns:
        `(B, 9, S, S)`: three heights with three widths each.
    """
    side = maps.shape[-1]
    cells = len(along) // side
    rows = maps.unflatten(1, (cells, cells)).transpose(2, 3).flatten(3)  # (B, G, S, G * S)
    both = along.T @ (rows @ along).flatten(1, 2)
    shapes = both.unflatten(2, (-1, side)).unflatten(1, (-1, side))  # (B, 3, S, 3, S)
    return shapes.transpose(2, 3).flatten(1, 2)


class Correlation(nn.Module):
    """What the correlation with the templates adds to the search tokens.

    Attention finds out by itself that tokens of template and search region are to be compared,
    but it takes millions of samples to do so. Source of the idea: SiamFC (2016).

    Args:
        channels: channels F of the stem's features.
        width: channels C of a token.
        template_size: side of a template crop in pixels.
        search_size: side of a search crop in pixels.
        every: every so many cells of a template count, along each axis; 2 with `LiteStem`, whose
            tokens look at the odd cells. The whole template is then not looked for: attention
            finds it in such features, and it takes long.
    """

    def __init__(
        self, channels: int, width: int, template_size: int, search_size: int, every: int = 1
    ) -> None:
        super().__init__()
        self.every = every
        side = template_size // STRIDE // every
        self.cells = side * side
        stretched = every == 1
        along = (
            stretching(side, search_size // STRIDE) if stretched else torch.zeros(0, device="cpu")
        )
        self.register_buffer("along", along, persistent=False)
        self.refine = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1),
        )
        self.match = nn.Conv2d(channels, channels, 1)
        inputs = self.cells + channels + (len(_RATIOS) ** 2 if stretched else 0)
        pad = [nn.ZeroPad2d((0, 1, 0, 1))] if every > 1 else []
        self.mix = nn.Sequential(
            *pad,
            nn.Conv2d(inputs, width, 3, stride=2, padding=0 if pad else 1),
            nn.GELU(),
            nn.Conv2d(width, width, 1),
        )

    def _match(self, features: Tensor) -> Tensor:
        """`(B, F, H, W)` to vectors of length 1 along F."""
        return F.normalize(self.match(features + self.refine(features)), dim=1)

    def template_keys(self, features: Tensor, share: Tensor | None) -> tuple[Tensor, Tensor]:
        """What is kept of N templates.

        Args:
            features: `(N, F, G, G)`.
            share: `(N, G * G)` share of each cell that the target's box covers, or None where
                nobody knows the box.

        Returns:
            `(N, F, G * G)` keys, and how many cells the target covers, `(N,)`.
        """
        last = self.every - 1
        keys = self._match(features)[:, :, last :: self.every, last :: self.every].flatten(2)
        if share is None:
            return keys, torch.full_like(keys[:, 0, 0], float(self.cells))
        return keys * share[:, None], share.sum(dim=1)

    def forward(self, keys: Tensor, covered: Tensor, search: Tensor) -> Tensor:
        """Correlate and mix.

        Args:
            keys: `(B, F, G * G)` means over each target's templates.
            covered: `(B,)` likewise.
            search: `(B, F, H, W)` features of the search region.

        Returns:
            `(B, H * W / 4, C)` to add to the search tokens.
        """
        side = search.shape[2:]
        places = self._match(search).flatten(2)
        # What cell i of the template says of every place.
        maps = (keys.transpose(1, 2) @ places * 8.0).unflatten(2, side)
        # The target as one vector, compared channel by channel.
        vector = F.normalize(keys.mean(dim=2), dim=1)
        channels = (places * vector[:, :, None] * 8.0).unflatten(2, side)
        parts = [maps, channels]
        if len(self.along):
            parts.append(whole(maps, self.along) / covered.clamp_min(1.0)[:, None, None, None])
        mixed = self.mix(torch.cat(parts, dim=1))
        return mixed.flatten(2).transpose(1, 2)


def covered_share(boxes: Tensor, cells: int) -> Tensor:
    """The share of every cell of a template that the target's box covers.

    Args:
        boxes: `(..., 4)` xywh normalised to the template crop.
        cells: cells along a side.

    Returns:
        `(..., cells * cells)` in [0, 1], row by row.
    """
    edges = torch.linspace(0, 1, cells + 1, device=boxes.device, dtype=boxes.dtype)
    low, high = boxes[..., :2, None], (boxes[..., :2] + boxes[..., 2:])[..., None]
    overlap = torch.minimum(high, edges[1:]) - torch.maximum(low, edges[:-1])
    along = (overlap * cells).clamp(0.0, 1.0)  # (..., 2, cells): x, then y
    return (along[..., 1, :, None] * along[..., 0, None, :]).flatten(-2)


def log_size(boxes: Tensor) -> Tensor:
    """Logarithm of width and height `(..., 2)` of xywh boxes `(..., 4)` normalised to the crop."""
    # Floats: torch.onnx.export does not take an int beside one.
    return boxes[..., 2:].clamp(1e-2, 2.0).log()


class TemplateBox(nn.Module):
    """What every template token is told of the target's box.

    A template is a square around the target, so the shape of the box cannot be read off it.

    Args:
        width: channels C of a token.
        cells: tokens along the side of a template.
    """

    def __init__(self, width: int, cells: int) -> None:
        super().__init__()
        self.cells = cells
        self.proj = nn.Linear(3, width)

    def forward(self, boxes: Tensor) -> Tensor:
        """`(N, 4)` xywh normalised to the template crops -> `(N, L_z, C)` to add."""
        share = covered_share(boxes, self.cells)[..., None]
        size = log_size(boxes)[:, None].expand(-1, share.shape[1], -1)
        return self.proj(torch.cat([share, size], dim=-1))


class CentreHint(nn.Module):
    """A map of where the centre may be, and what is added to START because of it.

    The decoder's attention finds out by itself which of the tokens to read, but takes thousands
    of batches to do so. The map is trained by TRAIN.CENTRE_WEIGHT, and through the tokens.
    Source of the idea: soft arg-max (integral regression, Sun et al., ECCV 2018).

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


def grid_table(side: int, dim: int) -> Tensor:
    """Sinusoids of x and of y, measured from the middle: `(side * side, dim)`, row by row.

    As large as the tokens they are added to, so that where a token is can be read off it from
    the first step on. Source: the fixed tables of MAE (He et al., CVPR 2022), which the published
    trackers start from; the wavelengths here fit a few tokens instead of a few hundred.

    Args:
        side: tokens along a side.
        dim: channels, a multiple of 4.
    """
    # On the CPU whatever the default: no file has this table, so it must hold numbers even in a
    # network that is built on the meta device to take its weights from a file.
    place = torch.arange(side, device="cpu") - (side - 1) / 2
    quarter = dim // 4
    wave = torch.arange(quarter, device="cpu") / quarter
    angle = place[:, None] * _SHORTEST * _LONGEST**-wave
    along = torch.cat([angle.sin(), angle.cos()], dim=1)
    x, y = along.expand(side, -1, -1), along[:, None].expand(-1, side, -1)
    return torch.cat([x, y], dim=2).flatten(0, 1)


def ordered_rows(bins: int, dim: int) -> Tensor:
    """A random table `(bins, dim)` in which rows of neighbouring coordinates are alike.

    Random mixtures of smooth waves over the coordinate, of standard deviation about 0.7: what is
    learnt of one coordinate then holds for its neighbours from the first step on.
    """
    angle = torch.linspace(0, math.pi, bins)[:, None] * torch.arange(1, _WAVES + 1)
    waves = torch.cat([torch.ones(bins, 1), angle.sin(), angle.cos()], dim=1)
    return waves @ torch.randn(waves.shape[1], dim) / waves.shape[1] ** 0.5
