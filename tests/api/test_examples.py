"""Every example of docs/python.md runs as it stands, beside a clip."""

import re
from pathlib import Path

import numpy as np

from tests.helpers.video_files import write_av

REPOSITORY = Path(__file__).parents[2]


def moving_square(count: int = 16) -> list[np.ndarray]:
    images = []
    for number in range(count):
        image = np.random.default_rng(0).integers(0, 90, (240, 320, 3), dtype=np.uint8)
        image[80:120, 120 + number : 180 + number] = (230, 120, 40)
        images.append(image)
    return images


def test_the_examples_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_av(tmp_path / "clip.mp4", moving_square())
    text = (REPOSITORY / "docs/python.md").read_text(encoding="utf-8")
    examples = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(examples) >= 5
    for code in examples:
        exec(compile(code, "docs/python.md", "exec"), {"__name__": "example"})
