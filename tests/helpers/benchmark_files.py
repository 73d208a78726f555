"""Every benchmark of the catalog in its real layout: some of its sequences, with tiny frames."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import cv2
import numpy as np

from tests.helpers.dataset_files import flags_column, flags_line, numbered, write_text

WIDTH, HEIGHT = 32, 24


@dataclass(frozen=True)
class Tree:
    """What a writer below made, relative to the data root.

    Attributes:
        folder: of the data set.
        sequences: names, in evaluation order.
        annotation: ground truth of the last sequence.
        image: the last frame of the last sequence that counts.
        flags: files of absence flags and cover labels of the last sequence.
        others: files that the last sequence needs besides.
    """

    folder: str
    sequences: tuple[str, ...]
    annotation: str
    image: str
    flags: tuple[str, ...] = ()
    others: tuple[str, ...] = field(default=())


@cache
def picture(level: int, suffix: str) -> bytes:
    """An image file of one grey level."""
    image = np.full((HEIGHT, WIDTH, 3), level, np.uint8)
    return cv2.imencode(suffix, image)[1].tobytes()


def fill(folder: Path, names: Sequence[str]) -> None:
    """An image under each name; its grey level grows by 10 from each to the next, from 0.

    After the first 25 they are links to those, since thousands of small files take long to write.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for i, name in enumerate(names):
        if i < 25:
            (folder / name).write_bytes(picture(10 * i, Path(name).suffix))
        else:
            os.link(folder / names[i % 25], folder / name)


def rows(count: int, separator: str = ",", absent: Sequence[int] = (), word: str = "0") -> str:
    """Ground truth that moves to the right and back; `absent` rows hold `word` four times."""
    lines = []
    for i in range(count):
        box = [word] * 4 if i in absent else [str(v) for v in (2 + i % 8, 3, 12, 10)]
        lines.append(separator.join(box) + "\n")
    return "".join(lines)


def _lasot_like(root: Path, names: Sequence[str]) -> tuple[str, str, tuple[str, str]]:
    for name in names:
        folder = root / name.rpartition("-")[0] / name
        fill(folder / "img", numbered(5))
        write_text(folder / "groundtruth.txt", rows(5))
        write_text(folder / "full_occlusion.txt", flags_line([0, 0, 1, 0, 0]))
        write_text(folder / "out_of_view.txt", flags_line([0, 0, 0, 1, 0]))
        write_text(folder / "nlp.txt", "grey thing that moves to the right\n")
    last = f"{names[-1].rpartition('-')[0]}/{names[-1]}"
    flags = (f"{last}/full_occlusion.txt", f"{last}/out_of_view.txt")
    return f"{last}/groundtruth.txt", f"{last}/img/00000005.jpg", flags


def write_lasot_tree(data: Path) -> Tree:
    names = ("airplane-1", "airplane-9", "bear-17")
    return Tree("lasot", names, *_lasot_like(data / "lasot", names))


def write_lasot_extension(data: Path) -> Tree:
    names = ("atv-1", "misc-10")
    folder = "lasot_extension_subset"
    return Tree(folder, names, *_lasot_like(data / folder, names))


def write_got10k_tree(data: Path, part: str, word: str) -> Tree:
    root = data / "got10k" / part
    names = (f"GOT-10k_{word}_000001", f"GOT-10k_{word}_000002")
    for name in names:
        fill(root / name, numbered(5))
        write_text(root / name / "groundtruth.txt", rows(5 if part == "val" else 1))
        if part == "val":
            write_text(root / name / "absence.label", flags_column([0, 0, 1, 0, 0]))
            write_text(root / name / "cover.label", flags_column([8, 7, 0, 5, 8]))
            write_text(root / name / "cut_by_image.label", flags_column([0] * 5))
        write_text(root / name / "meta_info.ini", "[META]\nobject_class: thing\n")
    write_text(root / "list.txt", "\n".join(names) + "\n")
    last = names[-1]
    flags = (f"{last}/absence.label", f"{last}/cover.label") if part == "val" else ()
    others = ("list.txt",)
    return Tree(
        f"got10k/{part}", names, f"{last}/groundtruth.txt", f"{last}/00000005.jpg", flags, others
    )


def write_trackingnet(data: Path) -> Tree:
    names = ("-abc_0", "EoallCLchmo_0")
    for name in names:
        # Not padded: sorted as text, 10.jpg would come before 2.jpg.
        fill(data / "trackingnet" / "TEST" / "frames" / name, numbered(12, "%d.jpg", 0))
        write_text(data / "trackingnet" / "TEST" / "anno" / f"{name}.txt", "2.5,3.0,12.0,10.0\n")
    last = names[-1]
    return Tree("trackingnet/TEST", names, f"anno/{last}.txt", f"frames/{last}/11.jpg")


def write_tnl2k(data: Path) -> Tree:
    names = ("Assian_video_Z03_done", "test_015_Sord_video_Q01_done")
    fill(data / "tnl2k" / names[0] / "imgs", ["00001.png", "00002.jpg", "00003.png", "00004.jpg"])
    write_text(data / "tnl2k" / names[0] / "groundtruth.txt", rows(4, absent=[2]))
    imgs = data / "tnl2k" / names[1] / "imgs"
    fill(imgs, numbered(9, "%05d.png", 487))
    # Frame 492 is broken in what everybody downloads.
    (imgs / "00492.png").write_bytes(picture(0, ".png")[:40])
    write_text(data / "tnl2k" / names[1] / "groundtruth.txt", rows(9))
    for name in names:
        write_text(data / "tnl2k" / name / "language.txt", "the sword\n")
    return Tree("tnl2k", names, f"{names[1]}/groundtruth.txt", f"{names[1]}/imgs/00495.png")


def vatic_rows(count: int, first: int = 0) -> str:
    """NFS's own annotation: corners, the frame, and flags; the label has a space in it."""
    lines = []
    for i in range(count):
        x = 2 + (i // 8) % 8
        lines.append(f'0 {x} 3 {x + 12} 13 {first + i} 0 0 {int(i % 8 > 0)} "some thing"\n')
    return "".join(lines)


NFS_FRAMES = {"car_jumping": 22, "shuffleboard_5": 32, "car_camaro": 36, "motorcross": 39}


def write_nfs(data: Path) -> Tree:
    """One sequence in each form: SeqTrack's, PyTracking's, raw with 30 and with 240 frames/s."""
    root = data / "nfs"
    fill(root / "car_jumping/30/car_jumping", numbered(22, "%05d.jpg"))
    write_text(root / "car_jumping/30/car_jumping_pytracking.txt", rows(22))
    fill(root / "sequences/shuffleboard_5", numbered(32, "%05d.jpg"))
    write_text(root / "anno/nfs_shuffleboard_5.txt", rows(32, "\t"))
    fill(root / "car_camaro/30/car_camaro", numbered(36, "%05d.jpg"))
    write_text(root / "car_camaro/30/car_camaro.txt", vatic_rows(36 * 8 - 3))
    fill(root / "motorcross/240/motorcross", numbered(39 * 8 - 7, "%05d.jpg"))
    write_text(root / "motorcross/240/motorcross.txt", vatic_rows(39 * 8 - 7, first=1))
    # In the order of the list.
    names = ("nfs_car_camaro", "nfs_car_jumping", "nfs_motorcross", "nfs_shuffleboard_5")
    return Tree(
        "nfs", names, "motorcross/240/motorcross.txt", "motorcross/240/motorcross/00305.jpg"
    )


def write_uav(data: Path) -> Tree:
    root = data / "UAV123"
    fill(root / "data_seq/UAV123/person8", numbered(1527, "%06d.jpg"))
    fill(root / "data_seq/UAV123/uav6", numbered(109, "%06d.jpg"))
    # The ground truth of a part of a video starts at the part's first frame.
    write_text(root / "anno/UAV123/person8_2.txt", rows(451, absent=[5], word="NaN"))
    write_text(root / "anno/UAV123/uav6.txt", rows(109))
    image = "data_seq/UAV123/person8/001525.jpg"
    return Tree("UAV123", ("uav_person8_2", "uav_uav6"), "anno/UAV123/person8_2.txt", image)


def write_uav20l(data: Path) -> Tree:
    root = data / "UAV123"
    fill(root / "data_seq/UAV123/car3", numbered(1717, "%06d.jpg"))
    write_text(root / "anno/UAV20L/car3.txt", rows(1717, absent=[30], word="NaN"))
    return Tree("UAV123", ("car3",), "anno/UAV20L/car3.txt", "data_seq/UAV123/car3/001717.jpg")


def write_uav123_10fps(data: Path) -> Tree:
    root = data / "UAV123_10fps"
    fill(root / "data_seq/UAV123_10fps/person8", numbered(509, "%06d.jpg"))
    fill(root / "data_seq/UAV123_10fps/uav6", numbered(37, "%06d.jpg"))
    write_text(root / "anno/UAV123_10fps/person8_2.txt", rows(151, absent=[5], word="NaN"))
    write_text(root / "anno/UAV123_10fps/uav6.txt", rows(37))
    image = "data_seq/UAV123_10fps/person8/000509.jpg"
    annotation = "anno/UAV123_10fps/person8_2.txt"
    return Tree("UAV123_10fps", ("person8_2", "uav6"), annotation, image)


def write_otb_tree(data: Path) -> Tree:
    root = data / "OTB2015"
    fill(root / "Deer/img", numbered(71, "%04d.jpg"))
    write_text(root / "Deer/groundtruth_rect.txt", rows(71))
    fill(root / "Football1/img", numbered(80, "%04d.jpg"))
    write_text(root / "Football1/groundtruth_rect.txt", rows(74, " "))
    fill(root / "Jogging/img", numbered(307, "%04d.jpg"))
    write_text(root / "Jogging/groundtruth_rect.1.txt", rows(307))
    write_text(root / "Jogging/groundtruth_rect.2.txt", rows(307, "\t"))
    fill(root / "Tiger1/img", numbered(354, "%04d.jpg"))
    write_text(root / "Tiger1/groundtruth_rect.txt", rows(354, "\t"))
    return Tree(
        "OTB2015",
        ("Deer", "Football1", "Jogging_1", "Jogging_2", "Tiger1"),
        "Tiger1/groundtruth_rect.txt",
        "Tiger1/img/0354.jpg",
    )


def write_tc128(data: Path) -> Tree:
    root = data / "TC128"
    for name, first, last in (("Ball_ce1", 1, 5), ("Bolt", 3, 9)):
        # The folder has more frames than the range says.
        fill(root / name / "img", numbered(11, "%04d.jpg"))
        write_text(root / name / f"{name}_gt.txt", rows(last - first + 1))
        write_text(root / name / f"{name}_frames.txt", f"{first},{last}\n")
    return Tree(
        "TC128",
        ("Ball_ce1", "Bolt"),
        "Bolt/Bolt_gt.txt",
        "Bolt/img/0009.jpg",
        others=("Bolt/Bolt_frames.txt",),
    )


def write_tc128ce(data: Path) -> Tree:
    write_tc128(data)
    folder = "Ball_ce1"
    return Tree(
        "TC128",
        ("Ball_ce1",),
        f"{folder}/Ball_ce1_gt.txt",
        f"{folder}/img/0005.jpg",
        others=(f"{folder}/Ball_ce1_frames.txt",),
    )


def write_avist(data: Path) -> Tree:
    names = ("arctic_fox_1", "auto")
    root = data / "avist"
    for name in names:
        fill(root / "sequences" / name, numbered(5, "img_%05d.jpg"))
        write_text(root / f"anno/{name}.txt", rows(5, " "))
        write_text(root / f"full_occlusion/{name}_full_occlusion.txt", flags_line([0, 0, 1, 0, 0]))
        write_text(root / f"out_of_view/{name}_out_of_view.txt", flags_line([0, 0, 0, 0, 1]))
    flags = ("full_occlusion/auto_full_occlusion.txt", "out_of_view/auto_out_of_view.txt")
    return Tree("avist", names, "anno/auto.txt", "sequences/auto/img_00005.jpg", flags)


def write_itb(data: Path) -> Tree:
    for place, separator, pattern in (
        ("Cartoon/tom", ",", "%04d.jpg"),
        ("Sport/kick", "\t", "%06d.jpg"),
    ):
        fill(data / "itb" / place, numbered(5, pattern))
        write_text(data / "itb" / place / "groundtruth.txt", rows(5, separator))
    return Tree("itb", ("tom", "kick"), "Sport/kick/groundtruth.txt", "Sport/kick/000005.jpg")


def write_vasttrack(data: Path) -> Tree:
    root = data / "vasttrack/test"
    for place, file in (
        ("Crossbody Backpack/Crossbody Backpack-31", "Groundtruth.txt"),
        ("Zebra/Zebra-2", "groundtruth.txt"),
    ):
        fill(root / place / "imgs", numbered(5, "%05d.jpg"))
        write_text(root / place / file, rows(5, absent=[2]))
    # The first one has none in what is published.
    write_text(root / "Zebra/Zebra-2/nlp.txt", "a zebra\n")
    return Tree(
        "vasttrack/test",
        ("Crossbody Backpack-31", "Zebra-2"),
        "Zebra/Zebra-2/groundtruth.txt",
        "Zebra/Zebra-2/imgs/00005.jpg",
    )


def write_dtb70(data: Path) -> Tree:
    names = ("Animal1", "Basketball")
    for name in names:
        fill(data / "DTB70" / name / "img", numbered(5, "%05d.jpg"))
        write_text(data / "DTB70" / name / "groundtruth_rect.txt", rows(5))
    annotation, image = "Basketball/groundtruth_rect.txt", "Basketball/img/00005.jpg"
    return Tree("DTB70", names, annotation, image)


def write_uavdt(data: Path) -> Tree:
    """A sequence in each form: what trackers read (anno or annotations), and as downloaded."""
    root = data / "UAVDT"
    names = ("S0101", "S0601", "S1702")
    frames = ("sequences/S0101", "sequences/S0601", "UAV-benchmark-S/S1702")
    annotations = ("anno", "annotations", "UAV-benchmark-SOT_v1.0/anno")
    for name, images, texts in zip(names, frames, annotations, strict=True):
        fill(root / images, numbered(5, "img%06d.jpg"))
        write_text(root / texts / f"{name}_gt.txt", rows(5))
    annotation = "UAV-benchmark-SOT_v1.0/anno/S1702_gt.txt"
    return Tree("UAVDT", names, annotation, "UAV-benchmark-S/S1702/img000005.jpg")


def write_visdrone(data: Path) -> Tree:
    folder = "VisDrone2019-SOT-test-dev"
    names = ("uav0000011_00000_s", "uav0000368_03612_s")
    for name in names:
        fill(data / folder / "sequences" / name, numbered(5, "img%07d.jpg"))
        write_text(data / folder / "annotations" / f"{name}.txt", rows(5))
        write_text(data / folder / "attributes" / f"{name}_attr.txt", "0,0,1,1,1,0,0,0,1,1,1,1\n")
    image = f"sequences/{names[1]}/img0000005.jpg"
    return Tree(folder, names, f"annotations/{names[1]}.txt", image)


def write_latot(data: Path) -> Tree:
    names = ("aircraft11", "car33-2")  # the order of the list; car33-2 is no car33
    for name in (*names, "car33-1"):  # the last one is of the training part
        fill(data / "LaTOT" / name / "img", numbered(5, "%06d.jpg"))
        write_text(data / "LaTOT" / name / f"{name}.txt", rows(5, " "))
    return Tree("LaTOT", names, "car33-2/car33-2.txt", "car33-2/img/000005.jpg")


def write_trek150(data: Path) -> Tree:
    names = ("P01-P01_01-3", "P03-P03_02-558")
    for name in names:
        folder = data / "TREK-150" / name
        # Frames keep the numbers that they have in the whole video of EPIC-KITCHENS.
        fill(folder / "img", numbered(5, "frame_%010d.jpg", 9998))
        write_text(folder / "groundtruth_rect.txt", rows(5, absent=[2], word="-1"))
        write_text(folder / "frames.txt", "".join(f"{9998 + i}\n" for i in range(5)))
        write_text(folder / "anchors.txt", "0,0\n4,1\n")
        write_text(folder / "attributes.txt", "SC\nHM\n")
    write_text(data / "TREK-150" / "sequences.txt", "\n".join(names) + "\n")
    last = names[1]
    image = f"{last}/img/frame_0000010002.jpg"
    return Tree("TREK-150", names, f"{last}/groundtruth_rect.txt", image)


def write_didi(data: Path) -> Tree:
    root = data / "didi"
    names = ("GOT-10k_GOT-10k_Val_000014", "LaSOT_bird-2")
    for name in names:
        fill(root / name / "color", numbered(5))
        write_text(root / name / "groundtruth.txt", rows(5, absent=[3], word="nan"))
        write_text(root / name / "first_frame_segm.txt", "m2,3,2,2,0,4\n")
        write_text(root / name / "sequence", "channels.color=color/%08d.jpg\nlength=5\n")
    write_text(root / "list.txt", "\n".join(names) + "\n")
    last = names[1]
    image = f"{last}/color/00000005.jpg"
    return Tree("didi", names, f"{last}/groundtruth.txt", image, others=("list.txt",))


WRITERS: dict[str, Callable[[Path], Tree]] = {
    "lasot": write_lasot_tree,
    "lasot_extension_subset": write_lasot_extension,
    "got10k_val": lambda data: write_got10k_tree(data, "val", "Val"),
    "got10k_test": lambda data: write_got10k_tree(data, "test", "Test"),
    "trackingnet": write_trackingnet,
    "tnl2k": write_tnl2k,
    "nfs": write_nfs,
    "uav": write_uav,
    "uav20l": write_uav20l,
    "uav123_10fps": write_uav123_10fps,
    "otb": write_otb_tree,
    "tc128": write_tc128,
    "tc128ce": write_tc128ce,
    "avist": write_avist,
    "itb": write_itb,
    "vasttrack": write_vasttrack,
    "dtb70": write_dtb70,
    "uavdt": write_uavdt,
    "visdrone_sot": write_visdrone,
    "latot": write_latot,
    "trek150": write_trek150,
    "didi": write_didi,
}
