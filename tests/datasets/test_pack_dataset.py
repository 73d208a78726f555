"""Packed training sets and LMDBs: the same samples, to the byte, from other files."""

import os
import pickle
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from lib.commands.entry import run
from lib.config.paths import resolve_paths
from lib.datasets.storage.lmdb import LmdbSet
from lib.datasets.storage.pack import PackedSet, open_pack
from lib.datasets.storage.pack_write import Packing
from lib.datasets.training.open import open_training_set
from lib.datasets.training.set import IndexedSet
from lib.train.data.sampler import TrackingSampler, VideoSource
from lib.train.data.transforms import TrainingTransform
from lib.utils.errors import DataError, MissingExtraError
from tests.helpers.lmdb_files import write_lmdb
from tests.helpers.tiny import tiny_config
from tests.helpers.training_files import FRAMES, LASOT_NAMES, write_lasot_video, write_training_sets

SETS = {
    "LASOT": "lasot",
    "GOT10K_train_full": "got10k",
    "TRACKINGNET": "trackingnet",
    "COCO17": "coco",
    "VID": "vid",
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All sets in folders; tests only read them."""
    root = tmp_path_factory.mktemp("data")
    write_training_sets(root)
    return root


@pytest.fixture
def call(tmp_path, monkeypatch, capsys, data):
    """Runs the command on the sets of `data`; returns exit code and output."""
    monkeypatch.chdir(tmp_path)

    def call(*words):
        code = run(
            "lib.commands.pack_dataset",
            [*words, "--data_dir", str(data), "--save_dir", str(tmp_path / "save")],
        )
        said = capsys.readouterr()
        return code, said.out, said.err

    return call


def open_at(name, root, cache):
    """The set under its name, with its folder given by a variable."""
    return open_training_set(name, resolve_paths(env={f"SEQTRACK_DATA_{name}": str(root)}), cache)


def open_folder(name, data, cache):
    return open_training_set(name, resolve_paths(data, cache, env={}), cache)


def samples(opened, count=6):
    """Samples of a set as a training draws them."""
    cfg = tiny_config(MODEL={})
    sampler = TrackingSampler(
        sources=(VideoSource(opened, 2, "order", 200),),
        ratios=(1.0,),
        transform=TrainingTransform(cfg.data),
        seed=3,
        epochs=1,
        samples=count,
    )
    return [sampler.sample(1, number) for number in range(count)]


def check_same(one, other):
    """All sequences of two sets are equal, and so are samples drawn from them."""
    assert (len(one), one.is_video, one.name) == (len(other), other.is_video, other.name)
    np.testing.assert_array_equal(one.visible_counts, other.visible_counts)
    for index in range(len(one)):
        a, b = one.load(index), other.load(index)
        assert (a.name, len(a.frames)) == (b.name, len(b.frames))
        np.testing.assert_array_equal(a.boxes, b.boxes)
        np.testing.assert_array_equal(a.visible, b.visible)
        for i in range(0, len(a.frames), 5):
            np.testing.assert_array_equal(a.frames.read(i), b.frames.read(i))
    for a, b in zip(samples(one), samples(other), strict=True):
        for name in ("templates", "search", "template_boxes", "box"):
            assert getattr(a, name).tobytes() == getattr(b, name).tobytes()
        assert a.source == b.source


@pytest.mark.parametrize("name", SETS)
def test_a_pack_gives_the_samples_of_the_folder(name, call, data, tmp_path):
    code, out, err = call(name, "--out", "pack", "--frames", "30")
    assert (code, err) == (0, "")
    assert len(list(Path("pack").glob("shard-*.zip"))) == int(re.search(r"done: (\d+)", out)[1])
    packed = open_at(name, tmp_path / "pack", tmp_path)
    assert isinstance(packed, PackedSet)
    check_same(open_folder(name, data, tmp_path), packed)
    # By its path as well, and in another process.
    assert open_training_set("./pack", resolve_paths(env={})).name == "./pack"
    again = pickle.loads(pickle.dumps(packed))
    assert again.load(0).frames.read(0).shape == packed.load(0).frames.read(0).shape
    assert len(pickle.dumps(packed)) < 500


@pytest.mark.parametrize("name", SETS)
def test_lmdb_gives_the_samples_of_the_folder(name, data, tmp_path):
    folder = SETS[name]
    if name == "TRACKINGNET":
        for part in (data / folder).iterdir():
            write_lmdb(part, tmp_path / "data" / f"{folder}_lmdb" / f"{part.name}_lmdb")
    else:
        write_lmdb(data / folder, tmp_path / "data" / f"{folder}_lmdb")
    paths = resolve_paths(tmp_path / "data", tmp_path, env={})
    found = open_training_set(name, paths, tmp_path / "cache")
    assert isinstance(found, LmdbSet)
    check_same(open_folder(name, data, tmp_path), found)
    again = pickle.loads(pickle.dumps(found))
    assert again.load(1).frames.read(0).shape == found.load(1).frames.read(0).shape
    # The second time nothing is copied again.
    texts = sorted((tmp_path / "cache").glob("lmdb-*/.complete"))
    before = [file.stat().st_mtime_ns for file in texts]
    open_training_set(name, paths, tmp_path / "cache")
    assert [file.stat().st_mtime_ns for file in texts] == before != []


def test_a_pack_can_be_made_of_an_lmdb(data, tmp_path):
    write_lmdb(data / "lasot", tmp_path / "data" / "lasot_lmdb")
    found = open_folder("LASOT", tmp_path / "data", tmp_path)
    for source, folder in ((found, "a"), (open_folder("LASOT", data, tmp_path), "b")):
        packing = Packing(source, tmp_path / folder, 30)
        packing.begin()
        packing.run(1, lambda _: None)
        packing.finish()
    a, b = (sorted((tmp_path / folder).glob("*.zip")) for folder in "ab")
    assert [file.read_bytes() for file in a] == [file.read_bytes() for file in b]


def test_any_unpacker_reads_a_shard(call, data):
    call("LASOT", "--out", "pack", "--frames", "30")
    with zipfile.ZipFile("pack/shard-00000.zip") as shard:
        assert shard.testzip() is None
        names = shard.namelist()
        assert names[0] == "airplane/airplane-10/img/00000001.jpg"
        assert shard.read(names[0]) == (data / "lasot" / names[0]).read_bytes()
        assert {info.compress_type for info in shard.infolist()} == {zipfile.ZIP_STORED}


def test_a_stopped_run_goes_on(call, data, tmp_path, monkeypatch):
    call("LASOT", "--out", "whole", "--frames", "20")
    content, calls = Packing._content, []

    def stop_late(self, member):
        calls.append(member)
        if len(calls) > FRAMES + 5:
            raise OSError(28, "No space left on device", "pack")
        return content(self, member)

    monkeypatch.setattr(Packing, "_content", stop_late)
    code, _, err = call("LASOT", "--out", "pack", "--frames", "20", "--workers", "1")
    assert (code, err) == (2, "error: pack: No space left on device\n")
    monkeypatch.setattr(Packing, "_content", content)
    assert sorted(os.listdir("pack")) == ["plan.json", "shard-00000.zip"]
    with pytest.raises(DataError, match=r"no finished pack .*`.*data\.py pack NAME` makes"):
        open_pack(tmp_path / "pack", "x")
    before = Path("pack/shard-00000.zip").stat().st_mtime_ns
    # A process that was killed leaves this.
    Path("pack/.shard-00001.zip.abc.tmp").write_bytes(b"half")
    code, out, _ = call("LASOT", "--out", "pack", "--frames", "20")
    assert code == 0
    assert "3 shards (1 of them were there)" in out
    assert Path("pack/shard-00000.zip").stat().st_mtime_ns == before
    names = sorted(os.listdir("whole"))
    assert sorted(os.listdir("pack")) == names
    assert all(Path("pack", n).read_bytes() == Path("whole", n).read_bytes() for n in names)
    assert "is finished already" in call("LASOT", "--out", "pack", "--frames", "20")[1]


def test_half_a_shard_is_made_again(call):
    call("LASOT", "--out", "pack")
    shard = Path("pack/shard-00000.zip")
    whole = shard.read_bytes()
    shard.write_bytes(whole[: len(whole) // 2])
    Path("pack/pack.json").unlink()
    assert call("LASOT", "--out", "pack")[0] == 0
    assert shard.read_bytes() == whole


def test_other_settings_are_another_pack(call):
    call("LASOT", "--out", "pack")
    code, _, err = call("LASOT", "--out", "pack", "--crop")
    assert code == 2
    assert "pack: holds another pack, of other data or with other settings; remove it" in err
    Path("mine").mkdir()
    Path("mine/thesis.txt").write_text("mine")
    code, _, err = call("LASOT", "--out", "mine")
    assert code == 2
    assert "holds thesis.txt, which is no part of a pack" in err


def test_verify_finds_a_changed_byte(call, tmp_path):
    call("LASOT", "--out", "pack", "--frames", "20")
    code, out, err = call("LASOT", "--out", "pack", "--verify")
    assert (code, err) == (0, "")
    assert f"{3 * FRAMES} frames read, 0 left out" in out
    packed = open_pack(tmp_path / "pack", "LASOT")
    place = packed.places[FRAMES + 7]
    assert place["shard"] == 1
    shard = Path("pack/shard-00001.zip")
    content = bytearray(shard.read_bytes())
    content[int(place["offset"]) + 50] ^= 1
    shard.write_bytes(content)
    code, out, err = call("pack", "--verify")
    assert code == 1
    assert re.fullmatch(r"wrong: \S*shard-00001\.zip: damaged: 1 frames\n", err)
    assert "remove those shards and pack again: the others stay" in out
    with pytest.raises(DataError, match="bear-1 frame 7: damaged in its shard"):
        packed.load(1).frames.read(7)
    shard.unlink()
    assert call("LASOT", "--out", "pack", "--frames", "20")[0] == 0
    assert call("pack", "--verify")[0] == 0


def test_a_damaged_index_is_named(call, tmp_path):
    call("LASOT", "--out", "pack")
    index = Path("pack/pack.index")
    content = bytearray(index.read_bytes())
    content[-9] ^= 1
    index.write_bytes(content)
    code, _, err = call("pack", "--verify")
    assert (code, err.count("\n")) == (2, 1)
    assert "pack.index: damaged (wrong checksum); remove it and pack again" in err
    index.write_bytes(content[:900])
    with pytest.raises(DataError, match=r"pack\.index: cannot be read \(cut short\)"):
        open_at("LASOT", tmp_path / "pack", tmp_path)


def test_a_missing_frame_is_told_and_the_rest_is_packed(tmp_path, capsys, data):
    root = tmp_path / "data" / "lasot"
    shutil.copytree(data / "lasot", root)
    (root / "bear" / "bear-1" / "img" / "00000008.jpg").unlink()
    words = ["LASOT", "--out", str(tmp_path / "pack"), "--data_dir", str(tmp_path / "data")]
    code = run("lib.commands.pack_dataset", [*words, "--save_dir", str(tmp_path)])
    assert code == 1
    assert "not packed: " in (err := capsys.readouterr().err)
    assert "00000008.jpg: image not found" in err
    packed = open_at("LASOT", tmp_path / "pack", tmp_path)
    assert packed.load(1).name == LASOT_NAMES[1]
    with pytest.raises(DataError, match="bear-1 frame 7: not in the pack"):
        packed.load(1).frames.read(7)
    packed.load(1).frames.read(8)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["LASTO"], r"unknown training set 'LASTO'; did you mean 'LASOT'"),
        (["SYNTHETIC"], r"is generated; it has no sequences"),
        (["LASOT", "--shrink", "90"], r"--shrink does nothing without --crop"),
        (["LASOT", "--crop", "--quality", "101"], r"--quality 101: JPEG knows 1 to 100"),
        (["LASOT", "--crop", "--sigmas", "-1"], r"--sigmas -1: give a number from 0 to 10"),
        (["LASOT", "--verify"], r"packed.LASOT: no finished pack"),
    ],
)
def test_wrong_input(call, words, message):
    code, _, err = call(*words)
    assert (code, err.count("\n")) == (2, 1)
    assert re.search(message, err)


def test_a_pack_of_another_set_is_refused(call, tmp_path):
    call("LASOT", "--out", "pack")
    with pytest.raises(DataError, match=r"'VID': \S*pack is a pack of 'LASOT'"):
        open_at("VID", tmp_path / "pack", tmp_path)
    code, _, err = call("./pack")
    assert code == 2
    assert "is a pack already" in err


def test_another_process_opens_files_of_its_own(call, tmp_path):
    call("LASOT", "--out", "pack")
    packed = open_at("LASOT", tmp_path / "pack", tmp_path)
    packed.load(0).frames.read(0)
    code = (
        "import pickle, sys; s = pickle.load(open(sys.argv[1], 'rb'));"
        "print(s.load(2).frames.read(3).sum())"
    )
    Path("set.pickle").write_bytes(pickle.dumps(packed))
    said = subprocess.run(
        [sys.executable, "-c", code, "set.pickle"],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert int(said) == packed.load(2).frames.read(3).sum()


def test_a_missing_lmdb_package_is_named(data, tmp_path, monkeypatch):
    write_lmdb(data / "coco", tmp_path / "data" / "coco_lmdb")
    monkeypatch.setitem(sys.modules, "lmdb", None)
    with pytest.raises(MissingExtraError, match="coco_lmdb the package lmdb is needed: pip"):
        open_folder("COCO17", tmp_path / "data", tmp_path)


def test_damaged_lmdbs_and_wicked_keys_are_refused(data, tmp_path):
    (tmp_path / "data" / "coco_lmdb").mkdir(parents=True)
    (tmp_path / "data" / "coco_lmdb" / "data.mdb").write_bytes(b"nothing" * 2000)
    with pytest.raises(DataError, match="coco_lmdb: cannot be opened as an LMDB"):
        open_folder("COCO17", tmp_path / "data", tmp_path)
    import lmdb

    target = tmp_path / "data" / "vid_lmdb"
    target.mkdir()
    with lmdb.open(str(target)) as env, env.begin(write=True) as transaction:
        transaction.put(b"../../evil.txt", b"x")
    with pytest.raises(DataError, match=r"'\.\./\.\./evil\.txt' leads out of the data set"):
        open_folder("VID", tmp_path / "data", tmp_path / "cache")
    assert not list(tmp_path.rglob("evil.txt"))


def test_folders_win_over_lmdbs_beside_them(data, tmp_path):
    shutil.copytree(data / "coco", tmp_path / "data" / "coco")
    (tmp_path / "data" / "coco_lmdb").mkdir()
    (tmp_path / "data" / "coco_lmdb" / "data.mdb").write_bytes(b"")
    found = open_folder("COCO17", tmp_path / "data", tmp_path)
    assert type(found) is IndexedSet


@pytest.mark.parametrize("crop", [(), ("--crop",)], ids=["whole", "cropped"])
def test_an_at_sign_in_a_name_is_part_of_the_name(call, tmp_path, crop):
    """It also stands before the region of a crop; the end of the packing took one for the other."""
    clips = tmp_path / "clips"
    for name in ("cam@1", "plain", "x@1,2,3,4,5,6.jpg"):
        write_lasot_video(clips / name)
        for file in (clips / name / "img").iterdir():
            file.rename(file.with_name(f"a@{file.name}"))
    # A frame that cannot be read has no region.
    (clips / "cam@1" / "img" / "a@00000002.jpg").write_bytes(b"x")
    words = (str(clips), "--out", "pack", "--frames", "20", *crop)
    assert call(*words)[0] == int(bool(crop))
    packed = open_pack(tmp_path / "pack", "clips")
    assert {packed.load(i).name for i in range(3)} == {path.name for path in clips.iterdir()}
    for sequence in map(packed.load, range(3)):
        for i in np.flatnonzero(sequence.visible):
            x, y, w, h = sequence.boxes[i]
            if not (sequence.name, i) == ("cam@1", 1):
                image = sequence.frames.read(int(i))
                assert image[int(y + h / 2), int(x + w / 2), 0] > 190
    # What is there is recognised, so it is not made again.
    Path("pack/pack.json").unlink()
    assert re.search(r"(\d+) shards \(\1 of them were there\)", call(*words)[1])
