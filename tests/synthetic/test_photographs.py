"""Photographs as material: what is listed, what is cut out, and what is said when it fails."""

import pickle
from pathlib import Path

import cv2
import numpy as np
import pytest

from lib.synthetic.pairs import photographs as photographs_module
from lib.synthetic.pairs.cutouts import cutout_body, random_cutouts, segment_cutouts
from lib.synthetic.pairs.photographs import ByteLRU, Photographs
from lib.synthetic.video.textures import surface
from lib.utils.errors import DataError
from tests.helpers.photo_files import SIZE, write_photo, write_photos


def canvas(*shapes: tuple[int, int, int, int]) -> np.ndarray:
    """A label map of 200x140 with rectangles (left, top, width, height), numbered from 1."""
    labels = np.zeros((140, 200), np.int32)
    for number, (x, y, w, h) in enumerate(shapes):
        labels[y : y + h, x : x + w] = number + 1
    return labels


def test_listing_is_sorted_and_knows_label_maps_from_photographs(tmp_path: Path) -> None:
    for name in ("10.jpg", "2.jpg", "below/1.JPG"):
        write_photo(tmp_path / name, 1)
    write_photo(tmp_path / "alone.png", 2, labels=False)
    (tmp_path / "notes.txt").write_text("no picture")
    assert Photographs(tmp_path).names == ("2.jpg", "10.jpg", "alone.png", "below/1.JPG")


def test_listing_leaves_no_photograph_out_and_hidden_ones_alone(tmp_path: Path) -> None:
    for name in ("a.jpg", "a.jpeg", "b.bmp", "._a.jpg", ".thumbnails/a.jpg"):
        write_photo(tmp_path / name, 1, labels=False)
    write_photo(tmp_path / "a.jpg", 1)
    photographs = Photographs(tmp_path)
    assert photographs.names == ("a.jpeg", "a.jpg", "b.bmp")
    boxes = [[cutout.box for cutout in photographs.cutouts(index)] for index in range(3)]
    assert boxes[0] == boxes[1] == [(35, 45, 51, 51), (120, 40, 40, 60)] != boxes[2]


def test_parts_hold_out_every_tenth(tmp_path: Path) -> None:
    write_photos(tmp_path, 20, labels=False)
    train, val = Photographs(tmp_path, "train").names, Photographs(tmp_path, "val").names
    assert val == ("10.jpg", "20.jpg")
    assert sorted(train + val) == sorted(Photographs(tmp_path).names)


def test_few_photographs_are_not_divided(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_photos(tmp_path, 3, labels=False)
    train = Photographs(tmp_path, "train")
    assert not caplog.messages
    assert Photographs(tmp_path, "val").names == train.names
    assert "3 photographs are too few to keep some for validation" in caplog.text


def test_unknown_part(tmp_path: Path) -> None:
    write_photos(tmp_path, 1, labels=False)
    with pytest.raises(DataError, match=r"part 'vall' of .*did you mean 'val'"):
        Photographs(tmp_path, "vall")


def test_segments_become_cutouts_in_their_place(tmp_path: Path) -> None:
    write_photos(tmp_path, 1)
    photographs = Photographs(tmp_path)
    assert [c.box for c in photographs.cutouts(0)] == [(35, 45, 51, 51), (120, 40, 40, 60)]
    mask = photographs.cutouts(0)[1].mask
    # A pixel inside of the drawn edge, and soft there.
    assert mask.shape == (60, 40) and mask[30, 20] == 255 and mask[30, 0] <= 64 < mask[30, 2]


def test_a_cutout_shows_its_object_at_its_aspect(tmp_path: Path) -> None:
    photo = write_photo(tmp_path / "1.png", 3, labels=False)
    cv2.imwrite(str(tmp_path / "1.jpg"), photo[:, :, ::-1])  # now 1.png would be its label map
    (tmp_path / "1.png").unlink()
    marks = np.zeros((SIZE[1], SIZE[0]), np.uint8)
    marks[20:100, 50:90] = 1
    cv2.imwrite(str(tmp_path / "1.png"), marks)
    (part,) = Photographs(tmp_path).body(0, 0).parts
    corners = part.sprite.rim @ part.place[:2, :2].T + part.place[:2, 2]
    wide, high = np.ptp(corners, axis=0)
    assert wide * high == pytest.approx(4)
    assert wide / high == pytest.approx(38 / 78, rel=0.06)
    inside = part.sprite.levels[0][40:90, 40:90, :3].mean(axis=(0, 1))
    assert inside == pytest.approx(photo[45:78, 60:80].mean(axis=(0, 1)), abs=12)


@pytest.mark.parametrize(
    ("box", "why"),
    [
        pytest.param((20, 20, 5, 40), "thin", id="narrower than 12 pixels"),
        pytest.param((20, 20, 160, 110), "large", id="more than a quarter of the image"),
        pytest.param((0, 0, 40, 40), "corner", id="touches two borders"),
        pytest.param((20, 20, 100, 14), "long", id="aspect above 4.5"),
    ],
)
def test_what_is_no_object_stays(box: tuple[int, int, int, int], why: str) -> None:
    good = (60, 70, 40, 40) if why != "large" else (181, 20, 18, 40)
    assert [c.box for c in segment_cutouts(canvas(box, good))] == [good]


def test_pieces_of_a_segment_are_separate_and_sparse_ones_stay() -> None:
    labels = canvas((10, 20, 30, 30), (100, 20, 60, 60))
    labels[labels == 2] = 0
    labels[30:60, 60:90] = 1
    labels[20:80, 100:108] = labels[72:80, 100:160] = 2  # an L: fills a quarter of its box
    assert [c.box for c in segment_cutouts(labels)] == [(10, 20, 30, 30), (60, 30, 30, 30)]


def test_holes_are_filled() -> None:
    labels = canvas((30, 30, 60, 60), (50, 50, 8, 8))
    (cutout,) = segment_cutouts(labels)
    assert cutout.mask[20:28, 20:28].min() == 255


def test_without_label_map_soft_shapes_are_cut(tmp_path: Path) -> None:
    write_photos(tmp_path, 1, labels=False)
    first, second = Photographs(tmp_path), Photographs(tmp_path)
    for one, other in zip(first.cutouts(0), second.cutouts(0), strict=True):
        x, y, w, h = one.box
        assert one.box == other.box and np.array_equal(one.mask, other.mask)
        assert 0 <= x and 0 <= y and x + w <= SIZE[0] and y + h <= SIZE[1]
        assert one.mask.max() > 250 and one.mask[[0, -1]][:, [0, -1]].max() < 128


@pytest.mark.parametrize("size", [(9, 5), (16, 300), (2, 2)])
def test_random_shapes_fit_into_tiny_photographs(size: tuple[int, int]) -> None:
    photo = np.zeros((size[1], size[0], 3), np.uint8)
    found = [c for seed in range(50) for c in random_cutouts(np.random.default_rng(seed), size)]
    assert found or size == (2, 2)
    for cutout in found:
        x, y, w, h = cutout.box
        assert x >= 0 and y >= 0 and x + w <= size[0] and y + h <= size[1]
        assert cutout.mask.shape == (h, w)
        (part,) = cutout_body(photo, cutout).parts
        assert np.isfinite(part.place).all()


def test_a_segment_that_erodes_to_nothing_is_left_out() -> None:
    """A comb of teeth of two pixels: nothing is a pixel inside of its edge."""
    labels = canvas((120, 60, 30, 30))
    labels[20:80:3, 20:80] = labels[21:80:3, 20:80] = labels[20:80, 20] = 9
    assert (labels == 9).sum() > 0.6 * 60 * 60
    assert [c.box for c in segment_cutouts(labels)] == [(120, 60, 30, 30)]


@pytest.mark.parametrize("size", [(1, 1), (3, 2), (15, 40), (60000, 30)])
def test_photographs_without_room_are_named(tmp_path: Path, size: tuple[int, int]) -> None:
    picture = np.zeros((size[1], size[0], 3), np.uint8)
    cv2.imwrite(str(tmp_path / "tiny.png"), picture)
    with pytest.raises(DataError, match=rf"tiny\.png: {size[0]}x{size[1]} pixels are too few"):
        Photographs(tmp_path).cutouts(0)


def test_label_maps_may_have_16_bits(tmp_path: Path) -> None:
    write_photo(tmp_path / "1.jpg", 0, labels=False)
    marks = np.full((SIZE[1], SIZE[0]), 513, np.uint16)
    marks[20:60, 20:60], marks[20:60, 60:100] = 1025, 1026  # alike in their upper 8 bits
    cv2.imwrite(str(tmp_path / "1.png"), marks)
    boxes = [cutout.box for cutout in Photographs(tmp_path).cutouts(0)]
    assert boxes == [(20, 20, 40, 40), (60, 20, 40, 40)]


def test_a_copy_of_the_photograph_is_no_label_map(tmp_path: Path) -> None:
    photo = surface(np.random.default_rng(0), 400, 300)
    noisy = cv2.add(photo, np.random.default_rng(0).integers(0, 30, photo.shape, np.uint8))
    for name in ("1.jpg", "1.png"):
        cv2.imwrite(str(tmp_path / name), noisy)
    with pytest.raises(
        DataError, match=r"1\.png: not a label map \(\d+ different .* 1\.jpg; .*remove"
    ):
        Photographs(tmp_path).cutouts(0)


def test_cutouts_are_kept_within_a_budget(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(photographs_module, "_CUTOUT_BUDGET", 6000)  # those of one photograph
    photographs = Photographs(write_photos(tmp_path, 2))
    first = photographs.cutouts(0)
    assert photographs.cutouts(0) is first
    photographs.cutouts(1)
    again = photographs.cutouts(0)
    assert again is not first and [c.box for c in again] == [c.box for c in first]


@pytest.mark.parametrize(("processes", "again"), [(1, 0), (8, 0), (64, 1)])
def test_processes_of_a_machine_share_the_budget(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, processes: int, again: int
) -> None:
    """Of 64 each keeps an eighth; also after it has travelled to a loader process."""
    photographs = Photographs(write_photos(tmp_path, 3), processes=processes)
    size = sum(level.nbytes for level in photographs.levels(0))
    monkeypatch.setattr(photographs_module, "_PICTURE_BUDGET", 4 * size)
    there = pickle.loads(pickle.dumps(photographs))
    first = there.levels(0)
    there.levels(1)
    assert (there.levels(0) is not first) == bool(again)


def test_large_photographs_are_reduced_with_their_label_map(tmp_path: Path) -> None:
    photo = np.full((1200, 1600, 3), 90, np.uint8)
    labels = np.zeros((1200, 1600), np.uint8)
    labels[300:700, 400:900] = 5
    cv2.imwrite(str(tmp_path / "1.jpg"), photo)
    cv2.imwrite(str(tmp_path / "1.png"), labels)
    photographs = Photographs(tmp_path)
    assert photographs.size(0) == (640, 480)
    assert [level.shape[:2] for level in photographs.levels(0)] == [
        (480, 640),
        (240, 320),
        (120, 160),
    ]
    assert photographs.cutouts(0)[0].box == (160, 120, 200, 160)


def test_pickling_keeps_names_not_pictures(tmp_path: Path) -> None:
    photographs = Photographs(write_photos(tmp_path, 2))
    photographs.draw_body(np.random.default_rng(0))
    data = pickle.dumps(photographs)
    again = pickle.loads(data)
    assert len(data) < 2000 and again.names == photographs.names
    assert np.array_equal(again.levels(1)[0], photographs.levels(1)[0])
    assert [c.box for c in again.cutouts(1)] == [c.box for c in photographs.cutouts(1)]


def test_kept_items_stay_within_the_budget() -> None:
    made: list[int] = []

    def item(number: int) -> bytes:
        return kept.get((number,), lambda: made.append(number) or bytes(40))

    kept: ByteLRU[bytes] = ByteLRU(100, len)
    for number in (1, 2, 1, 3, 1, 2):
        item(number)
    # 1 was used before 3 came, so 2 had to go.
    assert made == [1, 2, 3, 2]


def test_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere: folder of photographs not found"):
        Photographs(tmp_path / "nowhere")


def test_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=rf"{tmp_path.name}: no photograph"):
        Photographs(tmp_path)


def test_unreadable_photograph_is_named(tmp_path: Path) -> None:
    (tmp_path / "broken.jpg").write_bytes(b"not a picture")
    with pytest.raises(DataError, match=r"broken\.jpg"):
        Photographs(tmp_path).levels(0)


def test_label_map_of_another_picture_is_named(tmp_path: Path) -> None:
    write_photo(tmp_path / "1.jpg", 0)
    cv2.imwrite(str(tmp_path / "1.png"), np.zeros((50, 50), np.uint8))
    with pytest.raises(DataError, match=r"1\.png: the label map is 50x50.*1\.jpg"):
        Photographs(tmp_path).cutouts(0)


def test_nothing_to_cut_out_anywhere(tmp_path: Path) -> None:
    write_photo(tmp_path / "1.jpg", 0)
    cv2.imwrite(str(tmp_path / "1.png"), np.zeros((SIZE[1], SIZE[0]), np.uint8))
    with pytest.raises(DataError, match="no object can be cut out of its 1 photograph"):
        Photographs(tmp_path).draw_body(np.random.default_rng(0))
