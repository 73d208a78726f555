"""A drawn clip, and what `seqtrack track` writes of it: what integrations are compared with."""

import csv
from pathlib import Path

import cv2

from lib.commands.entry import run
from tests.helpers.tiny import draw_sequence

SIZE = {"width": 160, "height": 120}
LENGTH = 8


def write_clip(path: Path) -> Path:
    """The frames of `draw_sequence` as pictures in a folder, or as a video if there is a suffix."""
    frames, _ = draw_sequence(LENGTH, **SIZE)
    if path.suffix:
        size = (SIZE["width"], SIZE["height"])
        video = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 25, size)
        for frame in frames:
            video.write(frame[..., ::-1])
        video.release()
        return path
    path.mkdir()
    for number, frame in enumerate(frames):
        cv2.imwrite(str(path / f"{number:04d}.png"), frame[..., ::-1])
    return path


def tracked(clip: Path, boxes) -> dict[tuple[int, int], list[float] | None]:
    """The xywh boxes of the command by target (from 1) and frame; None where it was lost."""
    words = [word for box in boxes for word in ("--box", ",".join(f"{x:g}" for x in box))]
    table = clip.with_name("out.csv")
    where = ["--out", str(clip.with_name("out.mp4")), "--csv", str(table)]
    how = ["--device", "cpu", "--engine", "torch"]
    assert run("lib.commands.track", [str(clip), *words, *where, *how]) == 0
    with open(table, encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    return {
        (int(row["target"]), int(row["frame"])): (
            None if row.get("state") == "lost" else [float(row[name]) for name in "xywh"]
        )
        for row in rows
    }
