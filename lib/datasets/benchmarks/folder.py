"""Any folder of sequences as a data set: the layout is detected for each sequence by itself."""

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lib.datasets.benchmarks.folder_trees import LOOKED_FOR, find_tree, open_archive
from lib.datasets.sequence import Dataset, Video, folder_frames
from lib.datasets.sequence_files import SequenceFiles
from lib.datasets.text.ground_truth import (
    check_frame_count,
    first_gap,
    has_image,
    list_images,
    natural_key,
    read_absence,
    read_cover,
    read_ground_truth,
    read_names,
    read_vot_boxes,
)
from lib.utils.errors import DataError
from lib.utils.files import user_path

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class FolderLayout:
    """What the folder of one sequence looks like."""

    name: str  # for messages
    images: str  # sub-folder of the frames, '' where they lie beside the annotation
    annotation: str  # the ground-truth file
    absence: tuple[str, ...] = ()  # optional files of flags, any of which marks an absent target
    cover: str = ""  # optional file of cover labels 0..8
    regions: bool = False  # ground truth may hold polygons, and NaN for an absent target

    def flag_files(self, folder: Path) -> tuple[list[Path], Path | None]:
        """The files of absence flags and of cover labels that are there."""
        absence = [folder / file for file in self.absence if (folder / file).is_file()]
        cover = folder / self.cover if self.cover else None
        return absence, cover if cover is not None and cover.is_file() else None


class FolderSequence(NamedTuple):
    """Where one sequence of a folder is; its layout is None without ground truth."""

    folder: Path
    layout: FolderLayout | None


_LASOT = FolderLayout("LaSOT", "img", "groundtruth.txt", ("full_occlusion.txt", "out_of_view.txt"))
_LASOT_FRAME = "%08d.jpg"
LAYOUTS = (
    _LASOT,
    FolderLayout("OTB", "img", "groundtruth_rect.txt"),
    FolderLayout("VOT", "color", "groundtruth.txt", regions=True),
    FolderLayout("TNL2K", "imgs", "groundtruth.txt"),
    FolderLayout("VastTrack", "imgs", "Groundtruth.txt"),
    FolderLayout("GOT-10k", "", "groundtruth.txt", ("absence.label",), "cover.label"),
)
_LOOKED_FOR = "; ".join(
    f"{layout.name}: {layout.images + '/ and ' if layout.images else 'images beside '}"
    f"{layout.annotation}"
    for layout in LAYOUTS
)
_LOOKED_FOR += f"; or {LOOKED_FOR}"
_LIST_FILE = "list.txt"


def open_folder(path: Path | str) -> Dataset:
    """Open a folder of sequences, or the folder of a single one, as a data set.

    A zip archive is read in place if it has folders of all annotation and of all frames.

    One without ground truth fails when it is loaded, so that the others can go on.

    Raises:
        DataError: no such folder, or not one sequence in it that could be tracked.
    """
    place = _absolute(path)
    if place.suffix.lower() == ".zip" and place.is_file():
        return open_archive(place)
    folder, sequences = find_sequences(path)
    return Dataset(
        name=folder.name,
        results_folder=folder.name,
        update_key="DEFAULT",
        protocol="lasot" if all(map(_has_lasot_flags, sequences.values())) else "otb",
        source=str(folder),
        sequence_names=tuple(sequences),
        loader=partial(load_folder_sequence, sequences),
    )


def find_sequences(path: Path | str) -> tuple[Path, dict[str, FolderSequence]]:
    """The folder at `path`, absolute, and its sequences by name, in order.

    Sequences are the sub-folders (named by `list.txt` where there is one), or their sub-folders
    as in LaSOT's `<class>/<class>-1`; or the files in a folder of annotation beside a folder of
    frames. At least one of them has ground truth.

    Raises:
        DataError: no such folder, or no such sequence in it.
    """
    folder = _absolute(path)
    if not folder.name:
        raise DataError(f"data set folder {folder} has no name that results could be kept under")
    if not folder.is_dir():
        problem = "is not a folder" if folder.exists() else "does not exist"
        raise DataError(f"data set folder {folder} {problem}")
    try:
        folders = _sequence_folders(folder)
        found = {name: FolderSequence(one, layout_of(one)) for name, one in folders.items()}
        if not any(one.layout for one in found.values()):
            _, files = find_tree(folder)
            if files:
                return folder, {name: _annotated_apart(folder, one) for name, one in files.items()}
    except OSError as error:
        raise DataError(f"data set folder {folder}: {error.strerror}: {error.filename}") from None
    if not folders:
        state = "holds no sequences" if any(folder.iterdir()) else "is empty"
        raise DataError(
            f"data set folder {folder} {state}; a sequence is a folder with frames and "
            f"ground truth ({_LOOKED_FOR})"
        )
    if not any(one.layout for one in found.values()):
        first = next(iter(folders.values()))
        seen = _texts_in(first)
        raise DataError(
            f"{first}: no ground truth{seen}; looked for {_LOOKED_FOR}"
            if len(folders) == 1
            else f"{folder}: none of its {len(folders)} sequences has ground truth (the first is "
            f"{first}{seen}); looked for {_LOOKED_FOR}"
        )
    return folder, found


def load_folder_sequence(sequences: Mapping[str, FolderSequence], name: str) -> Video:
    """Read the annotation of one sequence and name its frames; no image is opened.

    Raises:
        DataError: no ground truth, or it is malformed, or it does not fit the frames.
    """
    folder, layout = sequences[name]
    if layout is None:
        problem = "no such folder, but it is listed"
        if folder.is_dir():
            problem = f"no ground truth{_texts_in(folder)}"
        raise DataError(f"{folder}: {problem}; looked for {_LOOKED_FOR}")
    annotation = folder / layout.annotation
    images = folder / layout.images
    boxes, visible = _read_boxes(annotation, layout)
    names = _with_rows(list_images(images, logger.warning), len(boxes), layout)
    frames = folder_frames(images, names)
    check_frame_count(
        len(frames), len(boxes), annotation, images, first_box_only=True, gap=first_gap(names)
    )
    cover = None
    if len(boxes) == len(frames):
        absence, covered = layout.flag_files(folder)
        visible = read_absence(absence, len(boxes)) if absence else visible
        cover = None if covered is None else read_cover(covered, len(boxes))
    return Video(
        name=name,
        frames=frames,
        ground_truth=boxes,
        visible=visible,
        cover=cover,
        annotation=str(annotation),
    )


def _read_boxes(annotation: Path, layout: FolderLayout) -> tuple[np.ndarray, np.ndarray | None]:
    """Boxes (N, 4) without NaN, and visibility (N,) where NaN marks absence."""
    return read_vot_boxes(annotation) if layout.regions else (read_ground_truth(annotation), None)


def _with_rows(names: tuple[str, ...], rows: int, layout: FolderLayout) -> tuple[str, ...]:
    """The images that have a row: LaSOT's are numbered from 1, and some videos have one more."""
    if layout is not _LASOT or not 1 < rows < len(names):
        return names
    numbered = tuple(_LASOT_FRAME % number for number in range(1, rows + 1))
    return numbered if set(numbered) <= set(names) else names


def _absolute(path: Path | str) -> Path:
    # abspath, not resolve: a link keeps the name that the user gave it.
    return Path(os.path.abspath(user_path(path, "data set folder")))


def _texts_in(folder: Path) -> str:
    """The files of a folder that could be meant as annotation, for messages."""
    if not folder.is_dir():
        return ""
    texts = sorted(
        name for name in os.listdir(folder) if name.lower().endswith((".txt", ".csv", ".json"))
    )
    more = ", …" if len(texts) > 3 else ""
    return f", though it has {', '.join(texts[:3])}{more}" if texts else ""


def _annotated_apart(folder: Path, files: SequenceFiles) -> FolderSequence:
    return FolderSequence(
        folder, FolderLayout("annotation apart", files.images, files.annotation, files.absence)
    )


def layout_of(folder: Path) -> FolderLayout | None:
    """The layout of a sequence folder; None where there is no ground truth."""
    annotated = [layout for layout in LAYOUTS if os.path.isfile(folder / layout.annotation)]
    for layout in annotated:
        if has_image(folder / layout.images):
            return layout
    # Ground truth without frames: a broken sequence, which loading has to report.
    return annotated[-1] if annotated else None


def _has_lasot_flags(sequence: FolderSequence) -> bool:
    """Whether LaSOT's rules can be applied: by OTB's, absent targets would count as precise."""
    folder, layout = sequence
    if layout is None or len(layout.absence) != 2:
        return False
    return all((folder / file).is_file() for file in layout.absence)


def _has_frames(folder: Path) -> bool:
    places = dict.fromkeys(layout.images for layout in LAYOUTS)
    return any(has_image(folder / images) for images in places)


def _subfolders(folder: Path) -> list[Path]:
    with os.scandir(folder) as entries:
        names = [entry.name for entry in entries if entry.is_dir()]
    wanted = [name for name in names if not name.startswith(".") and name != "__pycache__"]
    return [folder / name for name in sorted(wanted, key=natural_key)]


def _sequences_below(folder: Path, depth: int) -> list[Path]:
    """Folders meant as sequences, in `folder` and `depth` levels below it, in order."""
    if layout_of(folder) is not None:
        return [folder]
    inner: list[Path] = []
    if depth:
        for child in _subfolders(folder):
            inner.extend(_sequences_below(child, depth - 1))
    # Frames without ground truth are a sequence to complain about, unless sequences lie below:
    # then the images are previews or the like.
    if _has_frames(folder) and not any(layout_of(one) for one in inner):
        return [folder]
    return inner


def _sequence_folders(folder: Path) -> dict[str, Path]:
    if layout_of(folder) is None and (folder / _LIST_FILE).is_file():
        return {name: folder / name for name in read_names(folder / _LIST_FILE)}
    found = _sequences_below(folder, depth=2)
    named = {one.name: one for one in found}
    if len(named) < len(found):
        named = {}
        for one in found:
            name = "_".join(one.relative_to(folder).parts)
            if name in named:
                raise DataError(
                    f"data set folder {folder}: {named[name]} and {one} would both be called "
                    f"{name!r}; rename one"
                )
            named[name] = one
    return named
