"""Masks from boxes with SAM 2: another method than the published one, behind the same functions.

Each frame is segmented by itself, asked with the box tracker's box; the first frame leaves
nothing behind. In a crowded box it may therefore take another object than the target. Its
results are no results of SeqTrack with Alpha-Refine and have a tracker name of their own.

Source: Ravi et al., SAM 2: Segment anything in images and videos, 2024, in the implementation of
the package transformers.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from lib.config.paths import Paths, resolve_paths
from lib.masks.alpha_refine.geometry import Window
from lib.utils.advice import extra
from lib.utils.errors import CheckpointError, MissingExtraError

_KEYS_SHOWN = 3
_ADVICE = (
    "external/AR/README.md tells where one comes from and where to put it; nothing is fetched here"
)


class Sam2Refiner:
    """See `lib.masks.base.MaskRefiner`.

    Args:
        model: a `Sam2Model` of transformers, in evaluation mode.
        processor: the `Sam2Processor` that belongs to it.
    """

    def __init__(self, model: Any, processor: Any, device: torch.device | str = "cpu") -> None:
        self.device = torch.device(device)
        self.model, self.processor = model.to(self.device), processor

    @classmethod
    def from_folder(
        cls, folder: Path | None = None, device: torch.device | str = "cpu"
    ) -> "Sam2Refiner":
        """With the model in a folder as transformers writes it; None takes the documented place.

        Nothing is fetched, and only safetensors are read.

        Raises:
            CheckpointError: there is no complete model in the folder.
            MissingExtraError: transformers is not installed.
        """
        transformers = _transformers()
        folder = find_model(resolve_paths()) if folder is None else Path(folder)
        if not (folder / "config.json").is_file():
            raise CheckpointError(f"{folder} holds no SAM 2 model (config.json); {_ADVICE}")
        local = {"local_files_only": True}
        try:
            model, info = transformers.Sam2Model.from_pretrained(
                folder, use_safetensors=True, output_loading_info=True, **local
            )
            processor = transformers.Sam2Processor.from_pretrained(folder, **local)
        # What is wrong in a folder raises nearly every kind of error there.
        except Exception as error:
            reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
            raise CheckpointError(
                f"{folder} is no SAM 2 model: {reason[:200]}; {_ADVICE}"
            ) from None
        # transformers would go on with random numbers in these places.
        if lacking := sorted(map(str, {*info["missing_keys"], *info["mismatched_keys"]})):
            raise CheckpointError(
                f"{folder} is no complete SAM 2 model: {len(lacking)} tensors are missing or of "
                f"another shape ({', '.join(lacking[:_KEYS_SHOWN])}); {_ADVICE}"
            )
        return cls(model.eval(), processor, device)

    def initialise(self, image: np.ndarray, box: np.ndarray) -> None:
        """See `MaskRefiner.initialise`; only looks whether the box can be used."""
        Window.around(box)

    @torch.inference_mode()
    def get_mask(self, image: np.ndarray, box: np.ndarray) -> np.ndarray:
        """See `MaskRefiner.get_mask`."""
        Window.around(box)
        x, y, w, h = (float(value) for value in box)
        asked = self.processor(
            images=image, input_boxes=[[[x, y, x + w, y + h]]], return_tensors="pt"
        )
        found = self.model(
            pixel_values=asked["pixel_values"].to(self.device),
            input_boxes=asked["input_boxes"].to(self.device),
            multimask_output=False,
        )
        masks = self.processor.post_process_masks(found.pred_masks.cpu(), asked["original_sizes"])
        return np.ascontiguousarray(masks[0][0, 0].numpy(), dtype=np.uint8)


def find_model(paths: Paths) -> Path:
    """The documented folder of a SAM 2 model, below the save folder or the repository.

    Raises:
        CheckpointError: there is none; the message lists the folders.
    """
    for folder in paths.sam2_dirs:
        if (folder / "config.json").is_file():
            return folder
    tried = ", ".join(map(str, paths.sam2_dirs))
    raise CheckpointError(f"no SAM 2 model: tried {tried}; {_ADVICE}")


def _transformers() -> Any:
    try:
        import transformers
    except ImportError:
        raise MissingExtraError(f"masks by SAM 2 need transformers: {extra('sam2')}") from None
    return transformers
