"""The best validation of a training: its weights are kept, and how long ago it was is known.

Everything is read from the folder of the training, so that one that goes on knows it too.
All processes call these functions together.
"""

from collections.abc import Mapping

from lib.train.checkpoint import Checkpoints
from lib.train.logging.record import best_validation, note_best
from lib.utils.distributed import World


def score_of(values: Mapping[str, float]) -> float | None:
    """What a validation is judged by, more is better: AUC or AO, else the loss."""
    for name, sign in (("AUC", 1.0), ("AO", 1.0), ("total", -1.0)):
        if name in values:
            return sign * float(values[name])
    return None


def keep_best(
    checkpoints: Checkpoints, world: World, epoch: int, values: Mapping[str, float]
) -> None:
    """Keep the weights if none were better.

    Args:
        checkpoints: of the training.
        world: of its processes.
        epoch: that was validated, 0 before the first.
        values: of the validation, in the main process.

    Raises:
        PartialFailure: they could not be written.
    """
    score = score_of(values)

    def is_best() -> bool:
        before = best_validation(checkpoints.folder) if epoch else None
        return score is not None and (before is None or score > before[1])

    if world.on_main(is_best):
        checkpoints.save_best(epoch)
        if world.is_main and score is not None:
            note_best(checkpoints.folder, epoch, score)


def best_epoch(checkpoints: Checkpoints, world: World) -> int | None:
    """The epoch of the best validation; 0 is the start, None that no validation succeeded."""
    best = world.on_main(lambda: best_validation(checkpoints.folder))
    return None if best is None else best[0]
