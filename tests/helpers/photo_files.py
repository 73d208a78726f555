"""Small folders of photographs with label maps, for the tests of what is made from them."""

from pathlib import Path

import cv2
import numpy as np

from lib.synthetic.video.textures import surface

SIZE = (200, 140)  # width, height


def write_photo(path: Path, seed: int, *, labels: bool = True) -> np.ndarray:
    """A textured photograph with a textured disc and a box in it; beside it, their label map."""
    rng = np.random.default_rng(seed)
    image = surface(rng, SIZE[1], SIZE[0])
    marks = np.zeros((SIZE[1], SIZE[0]), np.uint8)
    cv2.circle(marks, (60, 70), 25, 1, cv2.FILLED)
    cv2.rectangle(marks, (120, 40), (159, 99), 2, cv2.FILLED)
    for value in (1, 2):
        image[marks == value] = surface(rng, SIZE[1], SIZE[0])[marks == value]
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), image[:, :, ::-1])
    if labels:
        cv2.imwrite(str(path.with_suffix(".png")), marks)
    return image


def write_photos(folder: Path, count: int, *, labels: bool = True) -> Path:
    """A folder of `count` photographs."""
    for number in range(count):
        write_photo(folder / f"{number + 1}.jpg", number, labels=labels)
    return folder
