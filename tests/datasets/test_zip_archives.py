"""Data sets read from zip archives in place: a whole one, or one per class, part or sequence."""

import os
import pickle
import shutil
import struct
import zipfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest

from lib.commands.entry import run
from lib.datasets.benchmarks.open import open_dataset
from lib.datasets.sequence import Dataset, FrameSource, Video
from lib.datasets.storage.zip import ENTRY, Wanted, ZipFolder, list_archive, read_archive
from lib.utils.errors import DataError
from tests.helpers.benchmark_files import WRITERS, Tree, fill, rows
from tests.helpers.dataset_files import numbered, paths_of, write_text


def pack(archive: Path, folder: Path, prefix: str = "", method: int = zipfile.ZIP_DEFLATED) -> Path:
    """Pack what is in `folder`, below `prefix` in the archive, and remove the folder."""
    archive.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(archive, "w", method) as opened:
        for path in sorted(folder.rglob("*")):
            opened.write(path, os.path.join(prefix, path.relative_to(folder)))
    shutil.rmtree(folder)
    return archive


def load_all(data: Path, name: str, sequences: Iterable[str]) -> tuple[Dataset, list[Video]]:
    dataset = open_dataset(name, paths_of(data))
    return dataset, [dataset.load(one) for one in sequences]


def same(one: Video, other: Video) -> bool:
    """Whether boxes, flags and the pixels of first and last frame are equal."""
    return (
        one.name == other.name
        and len(one) == len(other)
        and np.array_equal(one.ground_truth, other.ground_truth, equal_nan=True)
        and all(
            np.array_equal(mine, theirs) if mine is not None else theirs is None
            for mine, theirs in ((one.visible, other.visible), (one.cover, other.cover))
        )
        and all(np.array_equal(one.frames.read(i), other.frames.read(i)) for i in (0, len(one) - 1))
    )


def two_copies(tmp_path: Path, name: str) -> tuple[Tree, list[Video], Path]:
    """A benchmark in folders, loaded, and the root of a second copy to pack."""
    tree = WRITERS[name](tmp_path / "plain")
    _, plain = load_all(tmp_path / "plain", name, tree.sequences)
    WRITERS[name](tmp_path / "packed")
    return tree, plain, tmp_path / "packed"


def test_a_data_set_of_archives_travels_without_their_directories(tmp_path: Path) -> None:
    """47 bytes a frame went to every worker: 166 MB for LaSOT in one archive."""
    root = tmp_path / "got10k" / "val"
    names = [f"GOT-10k_Val_{i:06d}" for i in range(1, 6)]
    for name in names:
        fill(root / name, [f"{i:08d}.jpg" for i in range(1, 401)])
        write_text(root / name / "groundtruth.txt", rows(400))
        for label in ("absence", "cover"):
            write_text(root / name / f"{label}.label", "0\n" * 400)
    write_text(root / "list.txt", "\n".join(names))
    pack(tmp_path / "got10k.zip", tmp_path / "got10k")
    dataset = open_dataset("got10k_val", paths_of(tmp_path))
    fresh = len(pickle.dumps(dataset))
    wanted = dataset.load(names[4])
    assert fresh < 10_000 and len(pickle.dumps(dataset)) == fresh
    assert same(pickle.loads(pickle.dumps(dataset)).load(names[4]), wanted)


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("where", ["beside", "inside", "wrapped"])
def test_whole_data_set_in_one_archive(tmp_path: Path, name: str, where: str) -> None:
    tree, plain, data = two_copies(tmp_path, name)
    folder = tree.folder.split("/")[0]
    if where == "beside":  # data/lasot.zip, in the folder's stead
        pack(data / f"{folder}.zip", data / folder)
    elif where == "inside":  # data/lasot/LaSOTBenchmark.zip
        pack(data / "new.zip", data / folder)
        (data / folder).mkdir()
        (data / "new.zip").rename(data / folder / "Everything.zip")
    else:  # folders around what it holds
        pack(data / f"{folder}.zip", data / folder, f"release/{folder}")
    dataset, packed = load_all(data, name, tree.sequences)
    assert all(same(one, other) for one, other in zip(plain, packed, strict=True))
    assert all(".zip/" in one.frames.describe(0) for one in packed)
    again = pickle.loads(pickle.dumps(dataset)).load(tree.sequences[0])
    assert same(again, plain[0])


@pytest.mark.parametrize("wrapped", [False, True], ids=["bare", "in a folder of its name"])
@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_lasot_archive_for_each_class(tmp_path: Path, wrapped: bool, method: int) -> None:
    tree, plain, data = two_copies(tmp_path, "lasot")
    for name in ("airplane", "bear"):
        folder = data / "lasot" / name
        pack(data / "lasot" / f"{name}.zip", folder, name if wrapped else "", method)
    _, packed = load_all(data, "lasot", tree.sequences)
    assert all(same(one, other) for one, other in zip(plain, packed, strict=True))
    if not wrapped:
        file = packed[0].frames.describe(0)
        assert file == str(data / "lasot/airplane.zip/airplane-1/img/00000001.jpg")
        assert packed[0].annotation == str(data / "lasot/airplane.zip/airplane-1/groundtruth.txt")


@pytest.mark.parametrize("wrapped", [False, True], ids=["bare", "in a folder of its name"])
@pytest.mark.parametrize(
    ("name", "folders"),
    [
        ("lasot", ["airplane/airplane-1", "airplane/airplane-9", "bear/bear-17"]),
        ("otb", ["Deer", "Football1", "Jogging", "Tiger1"]),
        ("tnl2k", ["Assian_video_Z03_done", "test_015_Sord_video_Q01_done"]),
        ("tc128", ["Ball_ce1", "Bolt"]),
        ("itb", ["Cartoon/tom", "Sport/kick"]),
        ("trackingnet", ["frames/-abc_0", "frames/EoallCLchmo_0"]),
        ("got10k_val", ["GOT-10k_Val_000001"]),
        ("nfs", ["car_jumping", "car_camaro", "motorcross"]),
    ],
)
def test_archive_for_each_sequence(
    tmp_path: Path, name: str, folders: list[str], wrapped: bool
) -> None:
    tree, plain, data = two_copies(tmp_path, name)
    for place in folders:
        folder = data / tree.folder / place
        archive = folder.with_name(f"{folder.name}.zip")
        if name == "trackingnet":  # downloaded to zips/
            archive = data / tree.folder / "zips" / archive.name
        pack(archive, folder, folder.name if wrapped else "")
    if name == "trackingnet":
        (data / tree.folder / "frames").rmdir()
    _, packed = load_all(data, name, tree.sequences)
    assert all(same(one, other) for one, other in zip(plain, packed, strict=True))


def test_got10k_part_as_it_is_downloaded(tmp_path: Path) -> None:
    """val_data.zip and test_data.zip beside each other: each holds a list.txt of its own."""
    for name in ("got10k_val", "got10k_test"):
        WRITERS[name](tmp_path)
    for part in ("val", "test"):
        pack(tmp_path / f"got10k/{part}_data.zip", tmp_path / f"got10k/{part}", part)
    for name, first in (
        ("got10k_val", "GOT-10k_Val_000001"),
        ("got10k_test", "GOT-10k_Test_000001"),
    ):
        dataset = open_dataset(name, paths_of(tmp_path))
        assert dataset.sequence_names[0] == first
        assert len(dataset.load(first)) == 5


def test_got10k_archive_of_the_other_part_is_not_taken(tmp_path: Path) -> None:
    WRITERS["got10k_test"](tmp_path)
    pack(tmp_path / "got10k/test_data.zip", tmp_path / "got10k/test")
    with pytest.raises(DataError, match=r"no list .*val/list\.txt"):
        open_dataset("got10k_val", paths_of(tmp_path))


def test_uav_frames_and_annotation_in_archives_of_their_own(tmp_path: Path) -> None:
    tree, plain, data = two_copies(tmp_path, "uav")
    root = data / "UAV123"
    pack(root / "frames.zip", root / "data_seq", "UAV123/data_seq")
    pack(root / "anno.zip", root / "anno")
    _, packed = load_all(data, "uav", tree.sequences)
    assert all(same(one, other) for one, other in zip(plain, packed, strict=True))


def test_partly_unpacked(tmp_path: Path) -> None:
    """What lies in folders is taken from there, the rest from archives."""
    tree, plain, data = two_copies(tmp_path, "lasot")
    shutil.copytree(data / "lasot/airplane/airplane-9", data / "kept")
    pack(data / "lasot/airplane.zip", data / "lasot/airplane")
    shutil.move(data / "kept", data / "lasot/airplane/airplane-9")
    _, packed = load_all(data, "lasot", tree.sequences)
    assert [".zip" in one.annotation for one in packed] == [True, False, False]
    assert all(same(one, other) for one, other in zip(plain, packed, strict=True))


def test_images_packed_beside_their_annotation(tmp_path: Path) -> None:
    tree, plain, data = two_copies(tmp_path, "lasot")
    folder = data / "lasot/bear/bear-17"
    pack(folder / "img.zip", folder / "img")
    _, packed = load_all(data, "lasot", tree.sequences)
    assert packed[2].frames.describe(0) == str(folder / "img.zip/00000001.jpg")
    assert all(same(one, other) for one, other in zip(plain, packed, strict=True))


def test_archives_that_are_not_needed_stay_closed(tmp_path: Path) -> None:
    WRITERS["lasot"](tmp_path)
    pack(tmp_path / "lasot/airplane.zip", tmp_path / "lasot/airplane")
    (tmp_path / "lasot/aaa.zip").write_bytes(b"half a download")
    dataset = open_dataset("lasot", paths_of(tmp_path))
    assert len(dataset.load("airplane-1")) == len(dataset.load("bear-17")) == 5
    with pytest.raises(DataError, match=r"aaa\.zip: cannot be read as a zip archive"):
        dataset.load("zebra-10")


def test_archive_of_something_else_is_ignored(tmp_path: Path) -> None:
    WRITERS["otb"](tmp_path)
    pack(tmp_path / "OTB2015/Deer.zip", tmp_path / "OTB2015/Deer", "Deer")
    write_text(tmp_path / "code/readme.txt", "results\n")
    pack(tmp_path / "OTB2015/toolkit.zip", tmp_path / "code")
    dataset = open_dataset("otb", paths_of(tmp_path))
    assert len(dataset.load("Deer")) == 71
    with pytest.raises(DataError, match=r"Bolt/groundtruth_rect\.txt: file not found"):
        dataset.load("Bolt")


def test_tracked_in_a_worker_process_from_an_archive(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    WRITERS["tnl2k"](tmp_path)
    pack(tmp_path / "tnl2k.zip", tmp_path / "tnl2k", "TNL2K_test_subset")
    options = ["--data_dir", str(tmp_path), "--save_dir", str(tmp_path), "--dataset", "tnl2k"]
    code = run("lib.commands.test", ["static_box", "default", "--threads", "1", *options])
    assert code == 0, capsys.readouterr().err
    assert "2 sequences tracked" in capsys.readouterr().out
    assert run("lib.commands.analyze", ["static_box", "default", *options]) == 0


def test_frames_of_an_archive_are_a_frame_source_and_small(tmp_path: Path) -> None:
    fill(tmp_path / "got10k/test/a", numbered(200))
    write_text(tmp_path / "got10k/test/a/groundtruth.txt", rows(1))
    write_text(tmp_path / "got10k/test/list.txt", "a\n")
    pack(tmp_path / "got10k/test.zip", tmp_path / "got10k/test")
    frames = open_dataset("got10k_test", paths_of(tmp_path)).load("a").frames
    assert isinstance(frames, FrameSource) and len(frames) == 200
    assert len(pickle.dumps(frames)) < 200 * 80
    assert frames.read(7).mean() == pytest.approx(70, abs=1)


# --- The archive's directory ------------------------------------------------------------------


def write_some(archive: Path, count: int = 5) -> dict[str, bytes]:
    """An archive with files in folders, stored and deflated, and what each holds."""
    content = {f"a/b/{i}.jpg": bytes([i % 256]) * (i * 37 % 300) for i in range(count)}
    content |= {"top.txt": b"x", "f\u00e9/\u00fc.png": b"umlaut", "a b/c d.txt": b"space"}
    with zipfile.ZipFile(archive, "w") as opened:
        opened.mkdir("a") if hasattr(opened, "mkdir") else opened.writestr("a/", b"")
        for i, (name, data) in enumerate(content.items()):
            method = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)[i % 2]
            opened.writestr(name, data, method)
        opened.comment = b"PK no end of it"
    return content


def read_back(archive: Path) -> dict[str, bytes]:
    """Everything in an archive, by our own reader."""
    found = {}
    for inside, files in list_archive(archive).items():
        folder = ZipFolder(archive, inside, files)
        for name in folder.names:
            member = folder.member(name)
            assert member is not None
            found[member.inside] = member.read_bytes()
    return found


def test_directory_is_read_as_by_the_standard_library(tmp_path: Path) -> None:
    content = write_some(tmp_path / "a.zip")
    assert read_back(tmp_path / "a.zip") == content
    with zipfile.ZipFile(tmp_path / "a.zip") as opened:
        theirs = {info.filename: info for info in opened.infolist() if not info.is_dir()}
    for inside, files in list_archive(tmp_path / "a.zip").items():
        for name, row in zip(files.names, np.frombuffer(bytes(files.rows), ENTRY), strict=True):
            info = theirs[f"{inside}/{name}".lstrip("/")]
            assert row["offset"] == info.header_offset and row["crc"] == info.CRC
            assert (row["packed"], row["size"]) == (info.compress_size, info.file_size)


@pytest.mark.parametrize("before", [b"", b"#!/bin/sh\n" * 20], ids=["", "after a script"])
def test_large_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: bytes) -> None:
    """More than 4 GiB, or than 65535 files: the numbers are elsewhere. Here from 20 bytes on."""
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 20)
    monkeypatch.setattr(zipfile, "ZIP_FILECOUNT_LIMIT", 3)
    content = write_some(tmp_path / "a.zip")
    data = (tmp_path / "a.zip").read_bytes()
    assert b"PK\x06\x06" in data and b"PK\x06\x07" in data
    (tmp_path / "a.zip").write_bytes(before + data)
    assert read_back(tmp_path / "a.zip") == content


def test_many_files(tmp_path: Path) -> None:
    content = write_some(tmp_path / "a.zip", 70000)
    folders = list_archive(tmp_path / "a.zip")
    assert sum(len(files.names) for files in folders.values()) == len(content)


@pytest.mark.parametrize("cut_at", [0, 10, 22, 100, 400, -1, -16, -40, -200])
def test_half_an_archive(tmp_path: Path, cut_at: int) -> None:
    archive = tmp_path / "a.zip"
    write_some(archive)
    archive.write_bytes(archive.read_bytes()[:cut_at])
    if cut_at == -1:  # a comment that is one byte short
        assert "top.txt" in read_back(archive)
        return
    with pytest.raises(DataError, match=r"a\.zip: cannot be read as a zip archive \("):
        list_archive(archive)


def test_damaged_directory_is_an_error_of_one_line(tmp_path: Path) -> None:
    """Whatever byte is wrong, the archive is read or refused, and never anything else."""
    archive = tmp_path / "a.zip"
    write_some(archive)
    whole = archive.read_bytes()
    outcomes = set()
    for at in range(whole.index(b"PK\x01\x02"), len(whole)):
        for value in (0x00, 0xFF):
            archive.write_bytes(whole[:at] + bytes([value]) + whole[at + 1 :])
            try:
                read_back(archive)
                outcomes.add("read")
            except DataError as error:
                assert "\n" not in str(error)
                outcomes.add("refused")
    assert outcomes == {"read", "refused"}


# --- Damage and malice ------------------------------------------------------------------------


def one_sequence(tmp_path: Path, method: int = zipfile.ZIP_STORED) -> Path:
    """LaSOT's airplane-1 in airplane.zip."""
    WRITERS["lasot"](tmp_path)
    return pack(tmp_path / "lasot/airplane.zip", tmp_path / "lasot/airplane", "", method)


def test_damaged_frame(tmp_path: Path) -> None:
    archive = one_sequence(tmp_path)
    frames = open_dataset("lasot", paths_of(tmp_path)).load("airplane-1").frames
    data = bytearray(archive.read_bytes())
    at = data.index(b"airplane-1/img/00000002.jpg") + 60
    data[at] ^= 0xFF
    archive.write_bytes(data)
    assert frames.read(0).shape == (24, 32, 3)
    with pytest.raises(DataError, match=r"00000002\.jpg: damaged in its archive; download .*zip"):
        frames.read(1)
    archive.write_bytes(data[:500])
    with pytest.raises(DataError, match=r"00000005\.jpg: damaged in its archive"):
        frames.read(4)
    archive.unlink()
    with pytest.raises(DataError, match=r"00000001\.jpg: cannot be read \(No such file"):
        frames.read(0)


def test_check_names_what_is_broken_in_an_archive(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    archive = one_sequence(tmp_path)
    argv = ["check", "lasot", "--data_dir", str(tmp_path)]
    assert run("lib.commands.data", argv) == 1  # most of LaSOT is missing
    assert "airplane.zip" not in capsys.readouterr().out
    whole = archive.read_bytes()
    at = whole.index(b"airplane-9/img/00000005.jpg") + 60
    archive.write_bytes(whole[:at] + b"xx" + whole[at + 2 :])
    run("lib.commands.data", argv)
    assert "airplane.zip/airplane-9/img/00000005.jpg: damaged" in capsys.readouterr().out
    archive.write_bytes(whole[:-30])
    run("lib.commands.data", argv)
    out = capsys.readouterr().out
    assert out.count("airplane.zip: cannot be read as a zip archive") == 1


def test_check_of_an_archive_by_its_path(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    archive = one_sequence(tmp_path).rename(tmp_path / "somewhere.zip")
    assert run("lib.commands.data", ["check", "lasot", "--root", str(archive)]) == 1
    # Without its class in a name, nothing tells where the sequences of a class belong.
    assert "0 of 280" in capsys.readouterr().out
    archive.rename(tmp_path / "airplane.zip")
    argv = ["check", "lasot", "--root", str(tmp_path / "airplane.zip")]
    assert run("lib.commands.data", argv) == 1
    assert "sequences: 2 of 280\n" in capsys.readouterr().out


def test_encrypted_and_unusual_files_say_so(tmp_path: Path) -> None:
    archive = one_sequence(tmp_path)
    whole = archive.read_bytes()
    directory = whole.rindex(b"PK\x01\x02", 0, whole.index(b"airplane-1/img/00000001.jpg", 3000))
    for offset, value, message in ((8, 1, "encrypted"), (10, 93, "packed by method 93")):
        changed = bytearray(whole)
        changed[directory + offset : directory + offset + 2] = struct.pack("<H", value)
        archive.write_bytes(changed)
        frames = open_dataset("lasot", paths_of(tmp_path)).load("airplane-1").frames
        with pytest.raises(DataError, match=message):
            frames.read(0)


def test_archive_bomb_is_not_unpacked(tmp_path: Path) -> None:
    archive = tmp_path / "lasot/airplane.zip"
    archive.parent.mkdir()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as opened:
        opened.writestr("airplane-1/groundtruth.txt", b"0" * (1 << 20))
    data = bytearray(archive.read_bytes())
    directory = data.rindex(b"PK\x01\x02")
    for claimed, message in ((1 << 30, "are no frame and no annotation"), (10, "damaged")):
        data[directory + 24 : directory + 28] = struct.pack("<I", claimed)
        archive.write_bytes(data)
        with pytest.raises(DataError, match=message):
            open_dataset("lasot", paths_of(tmp_path)).load("airplane-1")


def test_paths_that_lead_out_are_no_part_of_a_data_set(tmp_path: Path) -> None:
    archive = tmp_path / "lasot" / "airplane.zip"
    archive.parent.mkdir()
    with zipfile.ZipFile(archive, "w") as opened:
        for name in (
            "../airplane-1/groundtruth.txt",
            "airplane-1/../airplane-9/groundtruth.txt",
            "/airplane-9/groundtruth.txt",
            "__MACOSX/airplane-9/groundtruth.txt",
            "airplane-13\\groundtruth.txt",
        ):
            opened.writestr(name, "1,2,3,4\n")
    known = frozenset(f"airplane/airplane-{n}/groundtruth.txt" for n in (1, 9, 13))
    assert list(read_archive(archive, (), Wanted(known=known))) == ["airplane/airplane-13"]
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(DataError, match="file not found"):
        open_dataset("lasot", paths_of(tmp_path)).load("airplane-1")
    assert sorted(tmp_path.rglob("*")) == before  # nothing was unpacked


def test_of_two_files_of_one_name_the_last_counts(tmp_path: Path) -> None:
    archive = one_sequence(tmp_path)
    with pytest.warns(UserWarning, match="Duplicate name"), zipfile.ZipFile(archive, "a") as opened:
        opened.writestr("airplane-1/groundtruth.txt", rows(5).replace("2,3,12", "1,3,12"))
    sequence = open_dataset("lasot", paths_of(tmp_path)).load("airplane-1")
    assert sequence.init_box == (1, 3, 12, 10)


def test_data_before_the_archive_does_not_shift_it(tmp_path: Path) -> None:
    """Self-extracting archives, and those that a server put a header before."""
    archive = one_sequence(tmp_path)
    archive.write_bytes(b"#!/bin/sh\n" * 20 + archive.read_bytes())
    sequence = open_dataset("lasot", paths_of(tmp_path)).load("airplane-1")
    assert sequence.frames.read(4).mean() == pytest.approx(40, abs=1)


def test_check_names_a_damaged_archive_of_one_sequence(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    WRITERS["trackingnet"](tmp_path)
    root = tmp_path / "trackingnet/TEST"
    archive = pack(root / "zips/-abc_0.zip", root / "frames/-abc_0")
    whole = archive.read_bytes()
    archive.write_bytes(whole[: len(whole) // 2])
    assert run("lib.commands.data", ["check", "trackingnet", "--data_dir", str(tmp_path)]) == 1
    out = capsys.readouterr().out
    assert out.count("zips/-abc_0.zip: cannot be read as a zip archive") == 1
    assert "sequences: 2 of 511" in out


def test_check_of_a_damaged_archive_in_the_folders_stead(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    WRITERS["got10k_val"](tmp_path)
    archive = pack(tmp_path / "got10k.zip", tmp_path / "got10k")
    archive.write_bytes(archive.read_bytes()[:500])
    assert run("lib.commands.data", ["check", "got10k_val", "--data_dir", str(tmp_path)]) == 1
    assert "got10k.zip: cannot be read as a zip archive" in capsys.readouterr().out
