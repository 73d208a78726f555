"""`python tracking/train.py`: what it starts from, what it says and keeps, how it ends."""

import errno
import functools
import hashlib
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from lib.commands.train import build_parser
from lib.config.loader import load_config
from lib.config.paths import resolve_paths
from lib.models import pretrained
from lib.models.encoder import VisionTransformer
from lib.models.seqtrack import build_seqtrack
from lib.train import build as setup
from lib.train import loop
from lib.train.launch import launch
from lib.train.logging.log import QuietLog
from lib.train.logging.record import git_revision, write_record
from lib.train.logging.summary import learning_rate_rule, precision_advice
from lib.utils.checkpoint import load_tensors, read_state_dict, save_checkpoint
from lib.utils.distributed import World
from lib.utils.errors import ConfigError
from tests.helpers.mirror_server import mirror_server
from tests.helpers.train_command import QUICK, SHRUNK, Workplace

ROOT = Path(__file__).parents[2]
MAE = "mae_pretrain_vit_base.pth"
# Nothing moves at a rate this low: what is saved is what the training began with.
STILL = ["TRAIN.LR=1e-30", "TRAIN.WEIGHT_DECAY=0"]
# A named encoder, for which pre-trained weights are published, but small.
PRETRAINED = ["MODEL.ENCODER.TYPE=vit_base_patch16", "MODEL.ENCODER.PRETRAIN_TYPE=mae"]


@pytest.fixture
def place(tmp_path, capsys):
    return Workplace(tmp_path, capsys).with_data()


def weights(path):
    return read_state_dict(path)


def same(first, second):
    """Equal but for steps at a rate of 1e-30."""
    near = functools.partial(torch.allclose, rtol=0, atol=1e-20)
    return first.keys() == second.keys() and all(near(first[k], second[k]) for k in first)


# what it says and keeps ---------------------------------------------------------------------


def test_a_training_and_its_files(place):
    code, out, err = place.train("--seed", 3, "--precision", "bf16")
    assert code == 0 and not err
    text = "\n".join(out)
    for part in (
        "the network starts from random weights",
        "parameters; cpu, bf16, 1 process",
        "effective batch 2 = TRAIN.BATCH_SIZE 2 x 1 process x TRAIN.ACCUMULATE 1",
        "paper's effective batch of 128; linear scaling to 2 would give 1.5625e-06 (advice",
        f"1 epoch of 2 steps (4 samples); checkpoints: {place.folder}",
        "[train: 1, 2 / 2] FPS: ",
    ):
        assert part in text, part
    assert out[-1].startswith("finished after 1 epoch")
    assert [line for line in place.log.read_text().splitlines() if line[0] != "#"] == out
    names = {path.name for path in place.folder.iterdir()}
    assert names == {"SEQTRACK_ep0001.pth.tar", "SEQTRACK.pth.tar", "config.yaml", "run.json"}
    curves = place.save / "tensorboard" / "train" / "seqtrack" / "seqtrack_b256"
    assert {path.name for path in curves.iterdir()} == {"train", "val"}  # pictures are in val


def test_the_record_beside_the_checkpoint(place):
    place.train("--seed", 3, "--precision", "bf16")
    sets = [*SHRUNK, *QUICK, *place.own_data, "TRAIN.PRECISION=bf16"]
    assert load_config(place.folder / "config.yaml") == load_config("seqtrack_b256", sets).named(
        "config"
    )
    record = json.loads((place.folder / "run.json").read_text())
    (start,) = record["starts"]
    assert record["config_name"] == "seqtrack_b256" and start["seed"] == 3
    assert start["torch"] == torch.__version__ and start["processes"] == 1
    assert "--seed 3" in start["command"] and start["device"] == "cpu"
    assert start["git"] == git_revision(ROOT)
    kept = load_tensors(place.folder / "SEQTRACK_ep0001.pth.tar")["settings"]
    assert kept["torch"] == torch.__version__ and kept["seed"] == 3


def test_a_finished_training_says_so(place):
    place.train()
    before = {path: path.read_bytes() for path in place.folder.iterdir()}
    code, out, err = place.train()
    assert code == 0 and not err and len(out) == 1 and "is finished (1 epoch)" in out[0]
    assert {path: path.read_bytes() for path in place.folder.iterdir()} == before


@pytest.mark.parametrize("options", [[], ["--dry-run"]], ids=["training", "dry run"])
def test_sizes_that_differ_are_said_before_the_training(place, options):
    """Before, test.py said it after the last epoch."""
    code, out, err = place.train(*options, sets=["DATA.SEARCH.SIZE=96"])
    assert code == 2 and not out and len(err) == 1
    assert "TEST.SEARCH_SIZE: must be 96" in err[0] and not list(place.save.rglob("*.tar"))


def test_a_finished_training_of_other_data_is_not_this_one(place):
    place.train("--seed", 3)
    before = {path: path.read_bytes() for path in place.folder.iterdir()}
    (place.data / "videos").rename(place.data / "others")
    others = f"DATA.TRAIN.DATASETS_NAME=['{place.data}/others']"
    code, out, err = place.train("--seed", 4, sets=[others, "TRAIN.LR=1"])
    assert code == 2 and not out and len(err) == 1
    for part in (
        f"{place.folder / 'SEQTRACK.pth.tar'}: a training is finished there (1 epoch)",
        f"DATA.TRAIN.DATASETS_NAME (['{place.data}/videos'] -> ['{place.data}/others'])",
        "TRAIN.LR (0.0001 -> 1.0)",
        "seed (3 -> 4)",
        "another --save-dir",
    ):
        assert part in err[0], part
    assert {path: path.read_bytes() for path in place.folder.iterdir()} == before
    code, out, _ = place.train("--seed", 3, sets=["TRAIN.PRINT_INTERVAL=7", "TEST.WINDOW=true"])
    assert code == 0 and "nothing to do" in out[0]


def test_a_folder_where_another_training_runs_is_left_alone(place):
    place.folder.mkdir(parents=True)
    lock = place.folder / "training.lock"
    lock.write_text('{"process": 7, "host": "elsewhere", "since": "today"}')
    code, out, err = place.train()
    assert code == 2 and not out and len(err) == 1
    assert "a training runs there (process 7 on elsewhere, since today)" in err[0]
    files = [path for path in place.save.rglob("*") if path.is_file()]
    assert files == [lock]


def test_it_goes_on_and_keeps_both_starts(place):
    place.train()
    code, out, _ = place.train(sets=["TRAIN.EPOCH=2"])
    assert code == 0 and any("going on after 1 epoch" in line for line in out)
    assert len(json.loads((place.folder / "run.json").read_text())["starts"]) == 2
    assert load_config(place.folder / "config.yaml").train.epoch == 2
    lines = place.log.read_text().splitlines()
    assert sum(line.startswith("[train: 1, ") for line in lines) == 2
    assert sum(line.startswith("[train: 2, ") for line in lines) == 2
    assert sum(line.startswith("#") for line in lines) == 2


def test_records_of_another_training_stay(place):
    place.train()
    kept = [(place.folder / name).read_bytes() for name in ("config.yaml", "run.json")]
    code, _, err = place.train(sets=["TRAIN.EPOCH=2", "MODEL.HIDDEN_DIM=8"])
    assert code == 2 and "another configuration" in err[-1]
    assert [(place.folder / name).read_bytes() for name in ("config.yaml", "run.json")] == kept
    assert place.log.read_text().splitlines()[-1] == err[-1]


@pytest.mark.parametrize(
    ("precision", "device", "bf16", "part"),
    [
        pytest.param("fp32", "cuda", True, "--precision tf32 or bf16", id="slow for no reason"),
        pytest.param("tf32", "cpu", True, "cpu computes in fp32", id="without effect"),
        pytest.param("bf16", "cpu", False, "--precision fp32 is many times", id="emulated"),
        pytest.param("fp32", "cpu", False, None, id="nothing better there"),
        pytest.param("tf32", "cuda", True, None, id="chosen"),
        pytest.param("bf16", "cuda", True, None, id="chosen too"),
        pytest.param("bf16", "cpu", True, None, id="a CPU that can"),
    ],
)
def test_advice_about_precision(precision, device, bf16, part):
    lines = precision_advice(precision, device, bf16)
    assert len(lines) == (part is not None) and all(part in line for line in lines)


def fail_at_a_step(monkeypatch, action, number=1):
    """Do something in step `number` of the training, in the middle of it."""
    original, steps = loop.train_step, iter(range(1, 100))

    def step(*args, **options):
        result = original(*args, **options)
        if next(steps) == number:
            action()
        return result

    monkeypatch.setattr(loop, "train_step", step)


def raiser(error):
    def fail():
        raise error

    return fail


def last_line(place):
    return place.log.read_text().splitlines()[-1]


@pytest.mark.parametrize(
    ("number", "word"), [(signal.SIGINT, "interrupted"), (signal.SIGTERM, "terminated")]
)
def test_a_signal_is_in_the_log_and_names_the_file(place, monkeypatch, number, word):
    fail_at_a_step(monkeypatch, lambda: signal.raise_signal(number))
    code, out, err = place.train()
    path = place.folder / "SEQTRACK_interrupt.pth.tar"
    assert code == 128 + number and path.is_file() and err[-1].startswith(word)
    assert out[-1].startswith("stopped after 0 epochs and 2 samples") and str(path) in out[-1]
    assert place.log.read_text().splitlines()[-2:] == [out[-1], word]


@pytest.mark.parametrize(
    ("error", "parts"),
    [
        pytest.param(
            RuntimeError("[../third_party/gloo/pair.cc:598] Connection closed by peer"),
            ["another process of the run ended"],
            id="another process",
        ),
        pytest.param(
            OSError(errno.EIO, "Input/output error"), ["seqtrack_b256: Input/output"], id="disk"
        ),
        pytest.param(
            torch.OutOfMemoryError("CUDA out of memory.\nmore"), ["TRAIN.ACCUMULATE"], id="memory"
        ),
    ],
)
def test_what_ends_a_training_is_in_the_log(place, monkeypatch, error, parts):
    fail_at_a_step(monkeypatch, raiser(error))
    code, _, err = place.train()
    assert code == (2 if "memory" in str(error) else 1) and len(err) == 1
    assert all(part in err[0] for part in parts) and last_line(place) == err[0]


def test_a_mistake_in_the_code_is_in_the_log(place, monkeypatch):
    fail_at_a_step(monkeypatch, raiser(KeyError("a\nb")))
    with pytest.raises(KeyError):
        place.train()
    assert last_line(place).startswith("error: KeyError: ")


def test_full_disk_at_the_record(place, monkeypatch):
    def full(path, text):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("lib.train.logging.record.atomic_write_text", full)
    code, _, err = place.train()
    assert code == 1 and len(err) == 1 and last_line(place) == err[0]
    assert f"{place.folder / 'config.yaml'} cannot be written (No space left" in err[0]


def test_warnings_about_data_sets_are_said_once(place, monkeypatch):
    """All processes open them; the first one speaks."""

    def warn(*args):
        logging.getLogger("lib.datasets.training.listing").warning("a sequence lacks frames")
        raise ConfigError("enough")

    monkeypatch.setattr(setup, "open_samplers", warn)
    paths = resolve_paths(save_dir=str(place.save))
    for rank, times in ((0, 1), (1, 0)):
        said = []
        log = QuietLog(lambda text, error, said=said: said.append(text))
        with pytest.raises(ConfigError):
            setup.prepare(
                load_config("seqtrack_b256", SHRUNK), setup.Options(), paths, World(rank, 2), log
            )
        assert said == ["warning: a sequence lacks frames"] * times


def test_numbers_that_are_not_finite_end_it_with_3(place):
    sets = ["TRAIN.LR=1e30", "TRAIN.GRAD_CLIP_NORM=0", "DATA.TRAIN.SAMPLE_PER_EPOCH=20"]
    code, out, err = place.train(sets=sets)
    assert code == 3 and "not finite" in err[-1] and not any("finished" in line for line in out)
    assert place.log.read_text().splitlines()[-1] == err[-1]
    assert list((place.save / "logs").glob("nonfinite-*/batch.json"))


def test_damaged_record_is_replaced(tmp_path):
    (tmp_path / "run.json").write_text("{")
    write_record(tmp_path, load_config("seqtrack_b256"), {"seed": 1})
    assert len(json.loads((tmp_path / "run.json").read_text())["starts"]) == 1


def test_git_revision(tmp_path, monkeypatch):
    assert git_revision(tmp_path) is None
    git = functools.partial(subprocess.run, cwd=tmp_path, check=True, capture_output=True)
    git(["git", "init", "-q"])
    assert git_revision(tmp_path) is None  # nothing is committed yet
    name = ["-c", "user.name=a", "-c", "user.email=a@b"]
    git(["git", *name, "commit", "-q", "--allow-empty", "-m", "x"])
    git(["git", *name, "tag", "-a", "v1", "-m", "x"])
    head = git(["git", "rev-parse", "HEAD"]).stdout.decode().strip()
    assert git_revision(tmp_path) == head
    monkeypatch.setenv("PATH", str(tmp_path))
    assert git_revision(tmp_path) is None


@pytest.mark.parametrize(
    ("name", "effective", "part"),
    [
        ("seqtrack_b256", 128, "the paper's effective batch is 128 too"),
        ("seqtrack_b256", 32, "linear scaling to 32 would give 2.5e-05 (advice, not applied"),
        ("seqtrack_l384", 64, "the paper's effective batch is 64 too"),
        (
            "seqtrack_b256_got",
            128,
            "effective batch of 64; linear scaling to 128 would give 0.0002",
        ),
        ("seqtrack_tiny", 32, "whatever the effective batch"),
    ],
)
def test_learning_rate_rule(name, effective, part):
    text = learning_rate_rule(load_config(name), effective)
    assert part in text and text.startswith("learning rate ")


# what it starts from ------------------------------------------------------------------------


def test_given_weights(place):
    cfg = load_config("seqtrack_b256", SHRUNK)
    torch.manual_seed(77)
    start = build_seqtrack(cfg).state_dict()
    save_checkpoint(place.root / "start.pth.tar", {"net": start})
    code, out, _ = place.train("--init-from", place.root / "start.pth.tar", sets=STILL)
    assert code == 0 and "starts from" in out[0] and "sha256" in out[0]
    assert any(line.startswith("[train: 1, 1 / 2]") for line in out)
    assert same(weights(place.folder / "SEQTRACK.pth.tar"), start)


def test_given_weights_of_other_crop_sizes(place):
    cfg = load_config("seqtrack_b256", [*SHRUNK, "DATA.SEARCH.SIZE=96", "TEST.SEARCH_SIZE=96"])
    torch.manual_seed(77)
    start = build_seqtrack(cfg).state_dict()
    save_checkpoint(place.root / "start.pth.tar", {"net": start})
    code, out, _ = place.train("--init-from", place.root / "start.pth.tar", sets=STILL)
    assert code == 0 and "its positions are resized" in "".join(out)
    state = weights(place.folder / "SEQTRACK.pth.tar")
    own = build_seqtrack(load_config("seqtrack_b256", SHRUNK)).state_dict()
    assert {k: v.shape for k, v in state.items()} == {k: v.shape for k, v in own.items()}
    others = [key for key in state if not key.endswith("pos_embed")]
    assert same({key: state[key] for key in others}, {key: start[key] for key in others})


def test_going_on_beats_given_weights(place):
    place.train()
    middle = weights(place.folder / "SEQTRACK_ep0001.pth.tar")
    options = ("--init-from", place.root / "no-more-there.pth.tar")
    code, out, _ = place.train(*options, sets=[*STILL, "TRAIN.EPOCH=2"])
    assert code == 0 and "--init-from is ignored" in out[0]
    assert any("going on after 1 epoch" in line for line in out)
    assert same(weights(place.folder / "SEQTRACK.pth.tar"), middle)


def test_going_on_needs_no_pretrained_encoder(published):
    place = published
    place.train(sets=PRETRAINED)
    code, out, _ = place.train("--pretrained", "/nowhere", sets=[*PRETRAINED, "TRAIN.EPOCH=2"])
    assert code == 0 and "--pretrained is ignored: the training in" in out[0]


def test_weights_without_a_training_are_not_finished(place):
    place.train()
    final = (place.folder / "SEQTRACK.pth.tar").read_bytes()
    shutil.rmtree(place.folder)
    place.folder.mkdir()
    (place.folder / "SEQTRACK.pth.tar").write_bytes(final)
    code, out, err = place.train()
    assert code == 2 and not out and len(err) == 1
    assert "weights but no training" in err[0] and "--save-dir" in err[0]
    assert [p.read_bytes() for p in place.folder.iterdir()] == [final]


def test_weights_of_another_network(place):
    other = build_seqtrack(load_config("seqtrack_b256", [*SHRUNK, "MODEL.BINS=40"]))
    save_checkpoint(place.root / "other.pth.tar", {"net": other.state_dict()})
    code, _, err = place.train("--init-from", place.root / "other.pth.tar")
    assert code == 2 and len(err) == 1 and "MODEL.BINS" in err[0]


def test_seed_decides_the_first_weights(place):
    found = []
    for i, seed in enumerate((1, 1, 2)):
        place.save = place.root / f"save{i}"
        place.train("--seed", seed, sets=STILL)
        found.append(weights(next(place.save.rglob("SEQTRACK.pth.tar"))))
    assert same(found[0], found[1]) and not same(found[0], found[2])


def mae_file(path: Path, side: int = 4) -> dict:
    """A file as MAE publishes it, for the shrunk encoder."""
    cfg = load_config("seqtrack_b256", SHRUNK)
    width, depth, heads, patch = cfg.model.encoder.geometry
    body = VisionTransformer(
        search_size=64, template_size=64, patch_size=patch, width=width, depth=depth, heads=heads
    )
    torch.manual_seed(5)
    state = {key: torch.rand(value.shape) for key, value in body.state_dict().items()}
    state["cls_token"] = torch.rand(1, 1, width)
    state["pos_embed"] = torch.rand(1, 1 + side * side, width)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_checkpoint(path, {"model": state})
    return state


def sums(path: Path) -> dict:
    return {MAE: ("md5", hashlib.md5(path.read_bytes()).hexdigest()[:6])}


@pytest.fixture
def published(place, monkeypatch):
    """A server with MAE's file, and an empty cache folder."""
    served = place.root / "served"
    place.mae = mae_file(served / MAE)
    place.cache = place.root / "cache"
    monkeypatch.setenv("SEQTRACK_PRETRAINED", str(place.cache))
    with mirror_server(served) as server:
        key = ("mae", "vit_base_patch16")
        monkeypatch.setattr(pretrained, "URLS", {key: f"{server.url}/{MAE}"})
        monkeypatch.setattr(pretrained, "CHECKSUMS", sums(served / MAE))
        place.server = server
        yield place


def test_pretrained_encoder_is_fetched_once(published):
    place = published
    code, out, _ = place.train(sets=[*PRETRAINED, *STILL])
    digest = hashlib.sha256((place.cache / MAE).read_bytes()).hexdigest()
    assert code == 0 and out[0].startswith("the encoder starts from")
    assert digest in out[0] and str(place.cache / MAE) in out[0]
    trained = weights(place.folder / "SEQTRACK.pth.tar")
    for key in ("blocks.0.mlp.fc1.weight", "norm.bias", "patch_embed.proj.weight"):
        assert torch.equal(trained[f"encoder.body.{key}"], place.mae[key])
    assert [path.name for path in place.cache.iterdir()] == [MAE]
    place.save = place.root / "again"
    assert place.train(sets=PRETRAINED)[0] == 0
    assert len(place.server.requests) == 1


def test_going_on_fetches_nothing(published):
    place = published
    place.train(sets=PRETRAINED)
    shutil.rmtree(place.cache)
    assert place.train(sets=[*PRETRAINED, "TRAIN.EPOCH=2"])[0] == 0
    assert len(place.server.requests) == 1 and not place.cache.exists()


def test_given_weights_fetch_nothing(published):
    place = published
    torch.manual_seed(1)
    start = build_seqtrack(load_config("seqtrack_b256", SHRUNK)).state_dict()
    save_checkpoint(place.root / "start.pth.tar", {"net": start})
    assert place.train("--init-from", place.root / "start.pth.tar", sets=PRETRAINED)[0] == 0
    assert not place.server.requests


def test_what_comes_is_compared_with_the_checksum(published, monkeypatch):
    place = published
    monkeypatch.setattr(pretrained, "CHECKSUMS", {MAE: ("md5", "000000")})
    code, out, err = place.train(sets=PRETRAINED)
    assert code == 2 and not out and len(err) == 1
    assert "not 000000… as published" in err[0] and f"at {place.cache / MAE}" in err[0]
    assert not list(place.cache.iterdir()) and not list(place.folder.iterdir())


def test_offline_it_says_where_to_put_the_file(published, monkeypatch):
    place = published
    nowhere = f"http://127.0.0.1:9/{MAE}"
    monkeypatch.setattr(pretrained, "URLS", {("mae", "vit_base_patch16"): nowhere})
    code, out, err = place.train(sets=PRETRAINED)
    assert code == 2 and not out and len(err) == 1
    for part in (nowhere, str(place.cache / MAE), "--pretrained FILE", "scratch"):
        assert part in err[0], part
    shutil.copytree(place.root / "served", place.cache, dirs_exist_ok=True)
    assert place.train(sets=PRETRAINED)[0] == 0


@pytest.mark.parametrize("given", ["file", "folder"])
def test_pretrained_encoder_by_hand(published, given):
    place = published
    path = place.root / "served"
    code, out, _ = place.train(
        "--pretrained", path / MAE if given == "file" else path, sets=PRETRAINED
    )
    assert code == 0 and str(path / MAE) in out[0] and not place.server.requests


def test_published_files_have_checksums():
    names = {url.rsplit("/", 1)[1] for url in pretrained.URLS.values()}
    assert names == set(pretrained.CHECKSUMS)


# wrong input --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "part"),
    [
        pytest.param(["--mode", "single", "--nproc_per_node", "2"], "--mode multiple", id="mode"),
        pytest.param(["--pretrained", "a.pth"], "PRETRAIN_TYPE is scratch", id="pretrained"),
        pytest.param(["--init-from", "a.pth.tar"], "no such checkpoint file", id="init-from"),
        pytest.param(["--device", "tpu"], "unknown device", id="device"),
        pytest.param(["--set", "TRAIN.EPOCHS=3"], "did you mean 'TRAIN.EPOCH'", id="key"),
        pytest.param(["--set", "TRAIN.BATCH_SIZE=5"], "SAMPLE_PER_EPOCH 4", id="too-few-samples"),
        pytest.param(["--set", "DATA.VAL.SEQUENCES_NAME=lasott"], "did you mean 'lasot'", id="val"),
    ],
)
def test_wrong_input_is_one_line(place, options, part):
    code, out, err = place.train(*options)
    assert code == 2 and len(err) == 1 and part in err[0]
    assert not any(line.startswith("[train") for line in out)
    assert not list(place.save.rglob("*.tar"))


def test_pretrained_and_init_from_together(place):
    code, _, err = place.train("--pretrained", "a", "--init-from", "b", sets=PRETRAINED)
    assert code == 2 and "--init-from brings the whole network" in err[0]


def test_unknown_configuration(place):
    code, _, err = place.train(config="seqtrack_b265")
    assert code == 2 and "did you mean 'seqtrack_b256'" in err[0]


def test_compiling_without_a_compiler(place, monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    code, _, err = place.train("--compile")
    assert code == 2 and "there is no no-such-compiler" in err[0]


def test_what_users_of_the_reference_type(place):
    old = ["--script", "seqtrack", "--use_lmdb", "1", "--mode", "single", "--local_rank", "0"]
    assert place.train(*old)[0] == 0


@pytest.mark.parametrize("option", ["--local_rank=1", "--local-rank=1"])
def test_launchers_of_old(option):
    assert build_parser().parse_args(["--config", "a", option]).local_rank == 1


# several processes --------------------------------------------------------------------------

CHILD = """
import os, signal, sys, time
from pathlib import Path
from lib.utils.errors import SeqTrackError

def main(argv):
    rank = os.environ["RANK"]
    Path(f"rank{rank}").write_text(" ".join([os.environ["WORLD_SIZE"], *argv]))
    # Nobody fails before all have started and said so.
    while sum(path.stat().st_size > 0 for path in Path().glob("rank*")) < 2:
        time.sleep(0.01)
    what = dict(word.split("=") for word in argv).get(rank, "0")
    if what == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if what == "error":
        raise SeqTrackError("wrong")
    if what == "wait":
        time.sleep(60)
    return int(what)
"""


@pytest.fixture
def children(tmp_path, monkeypatch):
    (tmp_path / "fake_child.py").write_text(CHILD)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return tmp_path


@pytest.mark.parametrize(
    ("words", "code"),
    [
        pytest.param([], 0, id="all-well"),
        pytest.param(["1=3", "0=wait"], 3, id="one-fails-and-the-other-is-ended"),
        pytest.param(["0=error", "1=wait"], 2, id="an-error-for-people"),
        pytest.param(["1=kill", "0=wait"], 137, id="one-is-killed"),
        pytest.param(["0=143", "1=143"], 143, id="both-were-terminated"),
    ],
)
def test_exit_code_of_several_processes(children, words, code):
    handlers = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    assert launch("fake_child", words, 2) == code
    assert [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)] == handlers
    said = {path.name: path.read_text() for path in children.glob("rank*")}
    assert said == {f"rank{rank}": " ".join(["2", *words]) for rank in (0, 1)}


def start(place, *options, sets=()):
    words = [sys.executable, str(ROOT / "tracking" / "train.py")]
    return subprocess.Popen(
        [*words, *place.command(*options, sets=sets)],
        cwd=place.root,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["TERM", "INT"])
def test_signal_to_several_processes(place, number):
    """The launcher passes it on, everyone saves, and the same command goes on."""
    options = ["--mode", "multiple", "--nproc_per_node", "2"]
    long = ["DATA.TRAIN.SAMPLE_PER_EPOCH=40000", "TRAIN.PRINT_INTERVAL=1"]
    process = start(place, *options, sets=long)
    while not (place.log.exists() and "[train: 1, 3 /" in place.log.read_text()):
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.05)
    process.send_signal(number)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 128 + number, err
    assert "2 processes" in out and "finished" not in out
    assert len(err.splitlines()) == 1, err
    assert (place.folder / "SEQTRACK_interrupt.pth.tar").is_file()
    position = load_tensors(place.folder / "SEQTRACK_interrupt.pth.tar")["resume"]["samples"]
    assert position >= 3 * 4
    enough = [f"DATA.TRAIN.SAMPLE_PER_EPOCH={position + 8}"]
    again = start(place, *options, sets=enough)
    out, err = again.communicate(timeout=120)
    assert again.returncode == 0, err
    assert "going on after 0 epochs and" in out and "finished" in out


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler here")
def test_compiled_training_is_nearly_the_same(place):
    """On the CPU; the same losses but for rounding."""
    losses = []
    for name, options in (("plain", []), ("compiled", ["--compile"])):
        place.save = place.root / name
        code, out, err = place.train(*options, sets=["DATA.TRAIN.SAMPLE_PER_EPOCH=8"])
        assert code == 0, err
        lines = [line for line in out if line.startswith("[train")]
        losses.append([float(line.split("Loss/total: ")[1].split()[0]) for line in lines])
    assert len(losses[0]) == 4 and losses[0] == pytest.approx(losses[1], abs=2e-2)
