"""Writers of data sets in their real on-disk layouts, with tiny frames."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from lib.config.paths import Paths, resolve_paths
from lib.utils.image_io import write_rgb


def boxes_text(count: int, *, separator: str = ",", first: int = 0) -> str:
    """Rows `10+i, 20, 30, 40`, where i counts from `first`."""
    rows = [[10 + i, 20, 30, 40] for i in range(first, first + count)]
    return "".join(separator.join(map(str, row)) + "\n" for row in rows)


def write_text(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def write_frames(folder: Path, names: Iterable[str], size: tuple[int, int] = (32, 24)) -> None:
    """One grey image (W, H) under every name; its level grows by 10, so frames can be told."""
    width, height = size
    for i, name in enumerate(names):
        write_rgb(folder / name, np.full((height, width, 3), 10 * i % 256, np.uint8))


def numbered(count: int, pattern: str = "%08d.jpg", first: int = 1) -> list[str]:
    return [pattern % i for i in range(first, first + count)]


def flags_line(flags: Iterable[int]) -> str:
    """LaSOT's way: one comma separated line."""
    return ",".join(map(str, flags)) + "\n"


def flags_column(flags: Iterable[int]) -> str:
    """GOT-10k's way: one per line."""
    return "".join(f"{flag}\n" for flag in flags)


def write_got10k(folder: Path, frames: int = 3, rows: int | None = None) -> None:
    write_frames(folder, numbered(frames))
    write_text(folder / "groundtruth.txt", boxes_text(frames if rows is None else rows))


def write_lasot(folder: Path, frames: int = 3) -> None:
    write_frames(folder / "img", numbered(frames))
    write_text(folder / "groundtruth.txt", boxes_text(frames))
    write_text(folder / "full_occlusion.txt", flags_line([0] * frames))
    write_text(folder / "out_of_view.txt", flags_line([0] * frames))


def write_otb(
    folder: Path, frames: int = 3, images: str = "img", truth: str = "groundtruth_rect.txt"
) -> None:
    write_frames(folder / images, numbered(frames, "%04d.jpg"))
    write_text(folder / truth, boxes_text(frames, separator="\t"))


def write_vot(folder: Path, frames: int = 3) -> None:
    write_frames(folder / "color", numbered(frames))
    write_text(folder / "groundtruth.txt", boxes_text(frames))


def paths_of(data: Path) -> Paths:
    """Paths with `data` as the data root, whatever the environment says."""
    return resolve_paths(data_dir=data, env={})


def make_lasot(data: Path) -> Path:
    """LaSOT with one sequence of four frames, the third out of view, the last occluded."""
    folder = data / "lasot" / "airplane" / "airplane-9"
    write_lasot(folder, frames=4)
    write_text(folder / "full_occlusion.txt", flags_line([0, 0, 0, 1]))
    write_text(folder / "out_of_view.txt", flags_line([0, 0, 1, 0]))
    return folder


def make_got10k_val(data: Path) -> Path:
    """GOT-10k val with two sequences of three frames, the second frame absent and covered."""
    root = data / "got10k" / "val"
    for name in ("GOT-10k_Val_000001", "GOT-10k_Val_000002"):
        write_got10k(root / name)
        write_text(root / name / "absence.label", flags_column([0, 1, 0]))
        write_text(root / name / "cover.label", flags_column([8, 0, 5]))
    write_text(root / "list.txt", "GOT-10k_Val_000001\nGOT-10k_Val_000002\n")
    return root


def make_otb(data: Path, name: str, first: int, last: int, rows: int) -> Path:
    """OTB with one sequence: frames first..last, all the same image, and so many rows."""
    folder = data / "OTB2015" / name
    frames = numbered(last - first + 1, "%05d.jpg" if name == "Board" else "%04d.jpg", first)
    write_frames(folder / "img", frames[:1])
    content = (folder / "img" / frames[0]).read_bytes()
    for frame in frames[1:]:
        (folder / "img" / frame).write_bytes(content)
    write_text(folder / "groundtruth_rect.txt", boxes_text(rows, separator="\t"))
    return folder
