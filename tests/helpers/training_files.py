"""Writers of training sets in their real on-disk layouts, with few and tiny videos.

In every frame the target is a red rectangle exactly in its box, so a test can tell whether boxes
and frames belong together.
"""

import json
from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np

from tests.helpers.dataset_files import flags_column, flags_line, numbered, write_text

FRAMES = 26
SIZE = (96, 72)
LASOT_NAMES = ("airplane-10", "bear-1", "zebra-9")
# Lines 3784 and 8998 (from 0) of the whole list belong to the vot train split, 1349 to vot val.
GOT10K_NAMES = ("GOT-10k_Train_001350", "GOT-10k_Train_003785", "GOT-10k_Train_008999")
TRACKINGNET_NAMES = (("TRAIN_0", "b_0"), ("TRAIN_0", "a_0"), ("TRAIN_11", "c_3"))
VID_NAMES = (
    "ILSVRC2015_VID_train_0000/ILSVRC2015_train_00000000",
    "ILSVRC2015_VID_train_0003/ILSVRC2015_train_01139000",
)


def write_training_sets(data: Path) -> None:
    """All training sets in their default folders below the data root."""
    write_lasot_train(data / "lasot")
    write_got10k_train(data / "got10k")
    write_trackingnet(data / "trackingnet")
    write_coco(data / "coco")
    write_vid(data / "vid")


def box_of(index: int, shift: int = 0) -> list[int]:
    """The box (x, y, w, h) of frame `index`; `shift` makes a second path."""
    return [8 + 2 * index, 10 + index + shift, 22 + index % 3, 18]


def rows_text(count: int = FRAMES, digits: int = 0) -> str:
    """The boxes of a video as comma separated text."""
    return "".join(",".join(f"{v:.{digits}f}" for v in box_of(i)) + "\n" for i in range(count))


def picture(*boxes: Iterable[int], seed: int = 0) -> np.ndarray:
    """Muted texture with red rectangles in `boxes`; the second and later ones are green."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(60, 160, (SIZE[1] // 8, SIZE[0] // 8, 3), dtype=np.uint8)
    image = cv2.resize(coarse, SIZE, interpolation=cv2.INTER_LINEAR)
    for number, (x, y, w, h) in enumerate(boxes):
        image[y : y + h, x : x + w] = (0, 230, 0) if number else (230, 0, 0)
    return image


def write_picture(path: Path, image: np.ndarray) -> None:
    """An RGB image as JPEG, whatever the case of its suffix."""
    path.parent.mkdir(parents=True, exist_ok=True)
    ok, data = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 97])
    if not ok:
        raise RuntimeError(f"cannot encode {path}")
    path.write_bytes(data.tobytes())


def write_video(folder: Path, names: Iterable[str]) -> None:
    """Frames in which the target is where `box_of` says."""
    for i, name in enumerate(names):
        write_picture(folder / name, picture(box_of(i)))


def write_lasot_video(folder: Path) -> None:
    """One LaSOT sequence; frame 3 is occluded, frame 4 out of view, frame 5 without a box."""
    rows = rows_text().splitlines()
    rows[5] = "0,0,0,0"
    write_video(folder / "img", numbered(FRAMES))
    write_text(folder / "groundtruth.txt", "\n".join(rows) + "\n")
    write_text(folder / "full_occlusion.txt", flags_line(int(i == 3) for i in range(FRAMES)))
    write_text(folder / "out_of_view.txt", flags_line(int(i == 4) for i in range(FRAMES)))
    write_text(folder / "nlp.txt", "a red rectangle moving down to the right\n")


def write_got10k_video(folder: Path) -> None:
    """One GOT-10k sequence; frame 3 is absent, frame 4 covered."""
    write_video(folder, numbered(FRAMES))
    write_text(folder / "groundtruth.txt", rows_text(digits=4))
    write_text(folder / "absence.label", flags_column(int(i == 3) for i in range(FRAMES)))
    write_text(
        folder / "cover.label", flags_column(0 if i == 4 else 8 - i % 4 for i in range(FRAMES))
    )
    write_text(folder / "cut_by_image.label", flags_column([0] * FRAMES))
    write_text(folder / "meta_info.ini", "[METAINFO]\nurl: none\nobject_class: rectangle\n")


def write_lasot_train(root: Path, names: Iterable[str] = LASOT_NAMES) -> None:
    """LaSOT with some sequences of the training split, and one of the test split."""
    for name in (*names, "airplane-1"):
        write_lasot_video(root / name.rpartition("-")[0] / name)


def write_got10k_train(root: Path, names: Iterable[str] = GOT10K_NAMES) -> None:
    """GOT-10k with some training sequences, named in train/list.txt."""
    for name in names:
        write_got10k_video(root / "train" / name)
    write_text(root / "train" / "list.txt", "".join(f"{name}\n" for name in names))


def write_trackingnet(root: Path) -> None:
    """TrackingNet with some videos in two of its twelve parts; frame numbers are not padded."""
    for part, name in TRACKINGNET_NAMES:
        write_video(root / part / "frames" / name, numbered(FRAMES, "%d.jpg", 0))
        write_text(root / part / "anno" / f"{name}.txt", rows_text(digits=2))


def write_coco(root: Path, images: int = 3) -> None:
    """COCO with two objects per image, the second of them tiny, and one crowd."""
    content: dict[str, list] = {"images": [], "annotations": [], "categories": []}
    for i in range(images):
        number, boxes = 391895 + 7 * i, (box_of(3 * i), [2, 60, 6, 5])
        name = f"{number:012d}.jpg"
        write_picture(root / "images" / "train2017" / name, picture(*boxes, seed=i))
        content["images"].append(
            {"id": number, "file_name": name, "height": SIZE[1], "width": SIZE[0]}
        )
        for k, box in enumerate(boxes):
            content["annotations"].append(
                {
                    "segmentation": [[1.5, 2.0, 3.25, 4.0, 5.0, 6.0]],
                    "area": float(box[2] * box[3]),
                    "iscrowd": 0,
                    "image_id": number,
                    "bbox": [float(value) for value in box],
                    "category_id": 1,
                    "id": 100 * i + k,
                }
            )
    crowd = {"segmentation": {"counts": [3, 9], "size": [4, 3]}, "iscrowd": 1, "id": 900100000}
    content["annotations"].append(
        {**crowd, "image_id": 391895, "bbox": [1, 1, 90, 60], "category_id": 1, "area": 9}
    )
    content["categories"].append({"supercategory": "shape", "id": 1, "name": "rectangle"})
    write_text(root / "annotations" / "instances_train2017.json", json.dumps(content))


def vid_xml(video: str, frame: int, objects: Iterable[tuple[int, list[int], int]]) -> str:
    """Annotation of a VID frame; `objects` are (track, box, occluded)."""
    text = "".join(
        f"<object><trackid>{track}</trackid><name>n02691156</name><bndbox><xmax>{x + w}</xmax>"
        f"<xmin>{x}</xmin><ymax>{y + h}</ymax><ymin>{y}</ymin></bndbox>"
        f"<occluded>{occluded}</occluded><generated>1</generated></object>\n"
        for track, (x, y, w, h), occluded in objects
    )
    return (
        f"<annotation>\n<folder>{video}</folder>\n<filename>{frame:06d}</filename>\n"
        f"<size><width>{SIZE[0]}</width><height>{SIZE[1]}</height></size>\n{text}</annotation>\n"
    )


def write_vid(root: Path) -> None:
    """VID with two videos. Track 0 is there throughout, occluded in frame 3.

    Track 1 is there in frames 2..11 and, after a gap, from 13 on.
    """
    for video in VID_NAMES:
        for i in range(FRAMES):
            objects = [(0, box_of(i), int(i == 3))]
            if i >= 2 and i != 12:
                objects.append((1, [40, 50, 20, 12], 0))
            image = picture(*(box for _, box, _ in objects))
            write_picture(root / "Data" / "VID" / "train" / video / f"{i:06d}.JPEG", image)
            xml = root / "Annotations" / "VID" / "train" / video / f"{i:06d}.xml"
            write_text(xml, vid_xml(video, i, objects))
