"""What a state dict says about the network it belongs to, from keys and shapes alone."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

_ENCODER = "encoder.body."
_DECODER = "decoder.embedding."


@dataclass(frozen=True)
class NetworkSignature:
    """The sizes of a SeqTrack network that its parameters show.

    Attributes:
        width: channels of the encoder.
        depth: blocks of the encoder.
        patch_size: side of a patch in pixels.
        positions: patches of one search and one template crop together.
        memory: tokens that the decoder attends to.
        bins: coordinate tokens.
        hidden_dim: channels of the decoder.
        decoder_layers: layers of the decoder.
        feed_forward: channels inside a decoder layer's feed-forward part.
    """

    width: int
    depth: int
    patch_size: int
    positions: int
    memory: int
    bins: int
    hidden_dim: int
    decoder_layers: int
    feed_forward: int

    @classmethod
    def of(cls, state: Mapping[str, Tensor]) -> "NetworkSignature | None":
        """Read the sizes from a state dict; None where it is not one of SeqTrack."""
        try:
            patch = state[f"{_ENCODER}patch_embed.proj.weight"].shape
            words = state[f"{_DECODER}word_embeddings.weight"].shape
            return cls(
                width=patch[0],
                depth=_count(state, rf"{re.escape(_ENCODER)}blocks\.(\d+)\."),
                patch_size=patch[-1],
                positions=state[f"{_ENCODER}pos_embed"].shape[1],
                memory=state["pos_embed"].shape[1],
                bins=words[0] - 2,
                hidden_dim=words[1],
                decoder_layers=_count(state, r"decoder\.body\.layers\.(\d+)\."),
                feed_forward=state["decoder.body.layers.0.linear1.weight"].shape[0],
            )
        except (KeyError, IndexError):
            return None

    @property
    def crops(self) -> str:
        """Size of the crops in words; in pixels where both are squares of one size."""
        side = round((self.positions / 2) ** 0.5)
        if 2 * side * side == self.positions:
            return f"{side * self.patch_size} px"
        return f"{self.positions} positions"

    @property
    def features(self) -> str:
        """What the decoder attends to, with the YAML word, as far as the sizes tell."""
        if self.memory == 1:
            return "token"
        if self.memory < self.positions:
            return "x"
        return f"xz with {self.memory} tokens"

    def describe(self) -> str:
        """One phrase for people."""
        return (
            f"a SeqTrack network with an encoder of width {self.width}, {self.depth} blocks and "
            f"patches of {self.patch_size} px, crops of {self.crops}, feature type "
            f"{self.features}, {self.bins} bins, {self.decoder_layers} decoder layers of width "
            f"{self.hidden_dim}"
        )

    def changes(self, model: "NetworkSignature") -> list[str]:
        """Configuration keys in which `model` differs from this network, with both values."""
        encoder = (self.width, self.depth, self.patch_size)
        model_encoder = (model.width, model.depth, model.patch_size)
        rows: list[tuple[str, object, object]] = [
            ("MODEL.ENCODER width, depth and patch size", encoder, model_encoder),
            ("the SIZE keys", self.crops, model.crops),
            ("MODEL.FEATURE_TYPE", self.features, model.features),
            ("MODEL.BINS", self.bins, model.bins),
            ("MODEL.HIDDEN_DIM", self.hidden_dim, model.hidden_dim),
            ("MODEL.DECODER.DEC_LAYERS", self.decoder_layers, model.decoder_layers),
            ("MODEL.DECODER.DIM_FEEDFORWARD", self.feed_forward, model.feed_forward),
        ]
        return [f"{key} from {now} to {want}" for key, want, now in rows if want != now]


def _published(width: int, depth: int, side: int) -> NetworkSignature:
    return NetworkSignature(
        width=width,
        depth=depth,
        patch_size=16,
        positions=2 * side * side,
        memory=side * side,
        bins=4000,
        hidden_dim=256,
        decoder_layers=2,
        feed_forward=1024,
    )


PUBLISHED = {
    "seqtrack_b256": _published(768, 12, 16),
    "seqtrack_b384": _published(768, 12, 24),
    "seqtrack_l256": _published(1024, 24, 16),
    "seqtrack_l384": _published(1024, 24, 24),
}


def recognise(state: Mapping[str, Tensor]) -> str | None:
    """Name of the published configuration whose network this is, or None.

    The `_got` twin of a configuration has the same network; the plain name is given.
    """
    signature = NetworkSignature.of(state)
    return next((name for name, known in PUBLISHED.items() if known == signature), None)


def same_network(name: str) -> str:
    """A published configuration and its twin, for messages."""
    return f"{name} (or {name}_got: the same network)"


def _count(state: Mapping[str, Tensor], pattern: str) -> int:
    """How many different numbers the keys have where `pattern` has its group."""
    return len({match[1] for key in state if (match := re.match(pattern, key))})
