"""Packs that lost a part: what the command says of them, and makes anew."""

import errno
import re
import shutil
from pathlib import Path

import pytest

from lib.commands.entry import run
from lib.datasets.storage.pack import open_pack
from lib.datasets.storage.pack_write import Packing
from lib.utils.errors import DataError
from tests.helpers.training_files import write_lasot_train

PACK = ("LASOT", "--out", "pack", "--frames", "20")


@pytest.fixture
def call(tmp_path, monkeypatch, capsys):
    """Runs the command beside a small LaSOT; returns exit code and output."""
    monkeypatch.chdir(tmp_path)
    write_lasot_train(tmp_path / "data" / "lasot")

    def call(*words):
        code = run("lib.commands.pack_dataset", [*words, "--data_dir", "data"])
        said = capsys.readouterr()
        return code, said.out, said.err

    return call


def contents(folder="pack"):
    return {file.name: file.read_bytes() for file in Path(folder).iterdir()}


def remove(shard):
    shard.unlink()


def cut_short(shard):
    shard.write_bytes(shard.read_bytes()[:-9])


@pytest.mark.parametrize("harm", [remove, cut_short])
@pytest.mark.parametrize("crop", [(), ("--crop",)])
def test_a_harmed_shard_is_made_again_and_the_others_stay(call, harm, crop):
    assert call(*PACK, *crop)[0] == 0
    whole = contents()
    shards = sorted(Path("pack").glob("shard-*.zip"))
    before = [shards[0].stat().st_mtime_ns, shards[2].stat().st_mtime_ns]
    harm(shards[1])
    code, out, err = call(*PACK, *crop)
    assert (code, err) == (0, "")
    assert "done: 3 shards (2 of them were there)" in out
    assert contents() == whole
    assert [shards[0].stat().st_mtime_ns, shards[2].stat().st_mtime_ns] == before
    assert "is finished already" in call(*PACK, *crop)[1]


def test_a_missing_shard_is_named_with_what_to_do(call, tmp_path):
    call(*PACK)
    Path("pack/shard-00001.zip").unlink()
    packed = open_pack(tmp_path / "pack", "LASOT")
    with pytest.raises(DataError, match=r"shard-00001\.zip: missing; pack again, which makes it"):
        packed.load(1).frames.read(7)
    code, out, err = call("pack", "--verify")
    assert code == 1
    assert re.match(r"wrong: \S*shard-00001\.zip: missing; pack again", err)
    assert "remove those shards and pack again: the others stay" in out


def test_a_pack_whose_repair_was_stopped_is_not_finished(call, monkeypatch):
    call(*PACK)
    Path("pack/shard-00001.zip").unlink()

    def full(self, member):
        raise OSError(28, "No space left on device", "pack")

    with monkeypatch.context() as patch:
        patch.setattr(Packing, "_content", full)
        assert call(*PACK)[0] == 2
    with pytest.raises(DataError, match=r"pack: no finished pack \(pack\.json is missing\)"):
        open_pack(Path("pack"), "LASOT")
    assert call(*PACK)[0] == 0
    assert call("pack", "--verify")[0] == 0


@pytest.mark.parametrize("usual", [False, True])
def test_verify_names_the_folder_that_was_given(call, usual):
    """Not a pack of the same name in the data folder, which may be without fault."""
    call(*PACK)
    if usual:
        shutil.copytree("pack", "data/packed/pack")
    Path("pack/pack.json").unlink()
    code, _, err = call("./pack", "--verify")
    assert (code, err.count("\n")) == (2, 1)
    assert err.startswith("error: pack: no finished pack (pack.json is missing)")


def test_verify_finds_the_pack_of_a_folder_that_it_was_made_of(call):
    shutil.copytree("data/lasot", "videos")
    code, _, err = call("videos", "--verify")
    assert code == 2
    assert err.startswith("error: videos: no finished pack (pack.json is missing)")
    assert call("videos")[0] == 0
    code, out, _ = call("videos", "--verify")
    assert code == 0
    assert re.match(r"\S*data/packed/videos: \d+ frames read", out)


def test_the_help_says_what_verify_compares(call, capsys):
    with pytest.raises(SystemExit):
        call("--help")
    said = " ".join(capsys.readouterr().out.split())
    assert "compare each frame of a pack with its checksum" in said
    assert "every byte" not in said


def test_a_drive_that_does_not_answer_leaves_no_hole(call, monkeypatch):
    """A frame that cannot be read is left out; one that can be read later must not be."""
    read = Path.read_bytes

    def failing(path):
        if path.name == "00000009.jpg":
            raise OSError(errno.EIO, "Input/output error")
        return read(path)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", failing)
        code, _, err = call(*PACK)
    assert code == 2 and "00000009.jpg: cannot be read (Input/output error)" in err
    assert not (Path("pack") / "pack.json").exists()
    assert call(*PACK)[0] == 0
    assert all(open_pack(Path("pack"), "pack").places["size"])
