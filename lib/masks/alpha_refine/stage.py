"""Masks from boxes with the Alpha-Refine network, as published with SeqTrack's VOT2020 results."""

from pathlib import Path

import numpy as np
import torch

from lib.config.paths import Paths, resolve_paths
from lib.masks.alpha_refine.geometry import Window, box_in_window
from lib.masks.alpha_refine.network import AlphaRefine
from lib.masks.alpha_refine.weights import load_alpha_refine
from lib.models.pixels import IMAGE_MEAN, IMAGE_STD
from lib.utils.advice import advice
from lib.utils.errors import CheckpointError

# A pixel is the target's above this probability; all published VOT2020 results use it.
THRESHOLD = 0.65


class AlphaRefiner:
    """See `lib.masks.base.MaskRefiner`; compares every frame with the first one.

    Args:
        network: in evaluation mode.
    """

    def __init__(self, network: AlphaRefine, device: torch.device | str = "cpu") -> None:
        # Convolutions in TF32 would move the border of the mask.
        torch.backends.cudnn.allow_tf32 = False
        self.device = torch.device(device)
        self.network = network.to(self.device)
        self.kernel: torch.Tensor | None = None

    @classmethod
    def from_checkpoint(
        cls, checkpoint: Path | None = None, device: torch.device | str = "cpu"
    ) -> "AlphaRefiner":
        """With the weights of a file; None takes the documented place.

        Raises:
            CheckpointError: the file is missing, unsafe, damaged or of another network.
        """
        path = find_weights(resolve_paths()) if checkpoint is None else checkpoint
        return cls(load_alpha_refine(path), device)

    @torch.inference_mode()
    def initialise(self, image: np.ndarray, box: np.ndarray) -> None:
        """See `MaskRefiner.initialise`."""
        box = np.asarray(box, np.float32)
        window = Window.around(box)
        x, y, w, h = box_in_window(box, window, self.network.side)
        corners = torch.tensor([[x, y, x + w, y + h]], device=self.device)
        self.kernel = self.network.reference(
            self._input(window.cut(image, self.network.side)), corners
        )

    def get_mask(self, image: np.ndarray, box: np.ndarray) -> np.ndarray:
        """See `MaskRefiner.get_mask`."""
        window = Window.around(np.asarray(box, np.float64))
        probabilities = self.probabilities(window.cut(image, self.network.side))
        # At the frame's resolution: resizing the thresholded map would give other borders.
        return (window.map_back(probabilities, *image.shape[:2]) > THRESHOLD).astype(np.uint8)

    @torch.inference_mode()
    def probabilities(self, crop: np.ndarray) -> np.ndarray:
        """What the network makes of a window.

        Args:
            crop: `(S, S, 3)` uint8.

        Returns:
            `(S, S)` float32 within [0, 1].
        """
        if self.kernel is None:
            raise RuntimeError("get_mask before initialise")
        logits = self.network(self._input(crop), self.kernel)
        return torch.sigmoid(logits)[0, 0].cpu().numpy()

    def _input(self, crop: np.ndarray) -> torch.Tensor:
        """`(S, S, 3)` uint8 -> `(1, 3, S, S)` float32; rounded once, as the original did."""
        scaled = (crop / 255.0 - np.array(IMAGE_MEAN)) / np.array(IMAGE_STD)
        pixels = torch.from_numpy(scaled.astype(np.float32)).to(self.device)
        return pixels.permute(2, 0, 1)[None].contiguous()


def find_weights(paths: Paths) -> Path:
    """The weights in the documented place below the save folder, else below the repository.

    Raises:
        CheckpointError: there are none; the message lists the folders.
    """
    folders = paths.alpha_refine_dirs
    for folder in folders:
        # Several epochs of one training: the last, as the original loader took.
        if found := sorted(path for path in folder.glob("*.pth.tar") if path.is_file()):
            return found[-1]
    raise CheckpointError(
        f"no weights of Alpha-Refine (*.pth.tar): tried {', '.join(map(str, folders))}; "
        f"{advice('download', 'alpha_refine')} fetches them, "
        "external/AR/README.md tells where they come from"
    )
