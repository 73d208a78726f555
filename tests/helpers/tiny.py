"""Small things that several tests need: a tiny configuration, sequences of drawn frames."""

from pathlib import Path

import cv2
import numpy as np

from lib.config.schema import Config

TINY_YAML = """\
MODEL:
  HIDDEN_DIM: 32
  BINS: 64
  ENCODER: {TYPE: custom, WIDTH: 48, DEPTH: 2, HEADS: 4, PATCH_SIZE: 16, PRETRAIN_TYPE: scratch}
  DECODER: {NHEADS: 4, DIM_FEEDFORWARD: 32, DEC_LAYERS: 2}
DATA:
  SEARCH: {SIZE: 64}
  TEMPLATE: {SIZE: 32, NUMBER: 2}
TEST: {SEARCH_SIZE: 64, TEMPLATE_SIZE: 32, NUM_TEMPLATES: 2, WINDOW: true}
"""


def tiny_config(**changes: dict) -> Config:
    """A network of a few thousand parameters; keywords replace or extend whole sections."""
    import yaml

    content = yaml.safe_load(TINY_YAML)
    for section, values in changes.items():
        for key, value in values.items():
            old = content[section].get(key)
            content[section][key] = {**old, **value} if isinstance(old, dict) else value
    return Config.model_validate(content)


def draw_sequence(length: int, width: int = 96, height: int = 80, seed: int = 0):
    """Frames `(H, W, 3)` of a bright square that moves over noise, and its boxes `(N, 4)`."""
    rng = np.random.default_rng(seed)
    ground = rng.integers(0, 90, (height, width, 3), dtype=np.uint8)
    boxes = np.array([[10 + 2 * i % 50, 20 + i % 20, 18, 14] for i in range(length)], float)
    frames = []
    for x, y, w, h in boxes.astype(int):
        frame = ground.copy()
        frame[y : y + h, x : x + w] = (230, 120, 40)
        frames.append(frame)
    return frames, boxes


def write_got10k_folder(root: Path, names: list[str], length: int = 4) -> Path:
    """A folder of sequences in GOT-10k layout under `root`; returns it."""
    for seed, name in enumerate(names):
        frames, boxes = draw_sequence(length, seed=seed)
        (root / name).mkdir(parents=True)
        for i, frame in enumerate(frames):
            cv2.imwrite(str(root / name / f"{i + 1:08d}.jpg"), frame[..., ::-1])
        np.savetxt(root / name / "groundtruth.txt", boxes, delimiter=",", fmt="%.4f")
    return root
