"""`--dry-run`: what a training would take, on any machine, and nothing is kept."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from lib.train.data.sampler import TrackingSampler
from lib.train.data.transforms import TrainingTransform
from lib.train.dry_run import Cost, RandomImages, measure, report
from tests.helpers.train_command import Workplace
from tests.helpers.training_runs import make_config, make_run

ROOT = Path(__file__).parents[2]


@pytest.fixture
def place(tmp_path, capsys):
    return Workplace(tmp_path, capsys)


def test_dry_run_tells_the_cost(place):
    code, out, err = place.with_data().train("--dry-run")
    assert code == 0 and not err
    text = "\n".join(out)
    for part in (
        r"nothing of it is kept",
        r"parameters; cpu, fp32, 1 process",
        r"peak memory: \d+\.\d\d GiB",
        r"compute: \d+\.\d\d samples/s",
        r"data: \d+\.\d samples/s by one process",
        r"estimated: .* for all 1 epochs",
    ):
        assert re.search(part, text), part
    kept = {path.relative_to(place.save).parts[0] for path in place.save.rglob("*")}
    assert kept <= {"cache"}  # the index of a training set


@pytest.mark.parametrize("instructions", [True, False], ids=["computed", "emulated"])
def test_bf16_is_measured_as_fp32_where_a_cpu_emulates_it(place, monkeypatch, instructions):
    monkeypatch.setattr("lib.utils.device.computes_bf16", lambda device: instructions)
    code, out, err = place.with_data().train("--dry-run", "--precision", "bf16")
    assert code == 0 and not err
    text = "\n".join(out)
    assert ("measured in fp32" in text) is not instructions
    assert f"parameters; cpu, {'bf16' if instructions else 'fp32'}, 1 process" in text


def test_everything_that_is_missing_is_told_and_replaced(place, monkeypatch):
    """A fresh machine: no data, no pre-trained weights."""
    monkeypatch.setenv("SEQTRACK_PRETRAINED", str(place.root / "none"))
    named = ["DATA.TRAIN.DATASETS_NAME=[LASOT, COCO17, VID]", "DATA.TRAIN.DATASETS_RATIO=[1,1,0]"]
    encoder = ["MODEL.ENCODER.TYPE=vit_base_patch16", "MODEL.ENCODER.PRETRAIN_TYPE=mae"]
    code, out, err = place.train("--dry-run", sets=[*named, *encoder])
    assert code == 0
    assert [line.split("'")[1] for line in err[:2]] == ["LASOT", "COCO17"]
    assert all("random images stand in" in line for line in err[:2])
    assert "mae_pretrain_vit_base.pth" in err[2] and len(err) == 3
    assert "data: not measured" in "\n".join(out)
    assert not place.save.exists()


@pytest.mark.parametrize(("seconds", "steps"), [(40.0, 1), (4.0, 5)])
def test_a_step_that_takes_very_long_is_made_once(tmp_path, monkeypatch, seconds, steps):
    asked = []
    monkeypatch.setattr(
        "lib.train.dry_run._timed_step", lambda run, parts: asked.append(parts) or seconds
    )
    cost = measure(make_run(tmp_path, make_config()), every_set=True, compiled=False)
    assert (len(asked), cost.batch, cost.step_seconds) == (steps, 2, seconds)


def test_wrong_options_are_told(place):
    code, _, err = place.train("--dry-run", "--pretrained", "x.pth")
    assert code == 2 and "PRETRAIN_TYPE is scratch" in err[0]


@pytest.mark.parametrize(
    ("options", "sets", "part"),
    [
        pytest.param(["--init-from", "/nowhere"], [], "/nowhere", id="init-from"),
        pytest.param(
            ["--pretrained", "/nowhere"],
            ["MODEL.ENCODER.TYPE=vit_base_patch16", "MODEL.ENCODER.PRETRAIN_TYPE=mae"],
            "/nowhere: no such file",
            id="pretrained",
        ),
        pytest.param(
            [], ["DATA.TRAIN.DATASETS_NAME=[LASOTT]"], "did you mean 'LASOT'", id="training set"
        ),
        pytest.param(
            [], ["DATA.TRAIN.DATASETS_NAME=[./none]"], "none", id="folder of training videos"
        ),
        pytest.param(
            [],
            ["DATA.VAL.DATASETS_NAME=[LASOTT]", "DATA.VAL.DATASETS_RATIO=[1]"],
            "did you mean 'LASOT'",
            id="validation set",
        ),
        pytest.param(
            [], ["DATA.VAL.SEQUENCES_NAME=lasott"], "did you mean 'lasot'", id="sequences"
        ),
    ],
)
def test_what_a_training_would_refuse_is_refused(place, options, sets, part):
    code, _, err = place.with_data().train("--dry-run", *options, sets=sets)
    assert code == 2 and len(err) == 1 and part in err[0]


def test_weights_to_start_from_are_loaded(place):
    place.with_data().train()
    weights = place.root / "weights.pth.tar"
    (place.folder / "SEQTRACK.pth.tar").rename(weights)
    code, out, _ = place.train("--dry-run", "--init-from", weights)
    assert code == 0 and "--init-from is ignored" in out[0]
    place.save = place.root / "another"
    code, out, _ = place.train("--dry-run", "--init-from", weights)
    assert code == 0 and f"starts from {weights}" in out[0]
    code, _, err = place.train("--dry-run", "--init-from", weights, sets=["MODEL.BINS=40"])
    assert code == 2 and "MODEL.BINS" in err[0]


def test_validation_data_that_is_not_here_is_told(place):
    sets = ["DATA.VAL.DATASETS_NAME=[GOT10K_votval, SYNTHETIC]", "DATA.VAL.DATASETS_RATIO=[1,1]"]
    sets += ["DATA.VAL.SEQUENCES_NAME=otb100"]
    code, out, err = place.with_data().train("--dry-run", sets=sets)
    assert code == 0 and len(err) == 2 and all("validation needs it" in line for line in err)
    assert "OTB" in err[0] and "GOT10K_votval" in err[1]
    assert any(line.startswith("data: ") and "samples/s" in line for line in out)


def test_a_finished_training_can_be_measured(place):
    place.with_data().train()
    files = {path: path.stat().st_mtime_ns for path in place.save.rglob("*")}
    code, out, _ = place.train("--dry-run")
    assert code == 0 and "dry run" in out[0]
    assert {path: path.stat().st_mtime_ns for path in place.save.rglob("*")} == files


def test_small_batch_stands_for_a_slow_one(tmp_path, monkeypatch):
    run = make_run(tmp_path, make_config(batch=8, ACCUMULATE=2))
    monkeypatch.setattr("lib.train.dry_run._LONG_SECONDS", 1e9)
    quick = measure(run, every_set=True, compiled=False)
    assert (quick.batch, quick.parts) == (8, 2)
    monkeypatch.setattr("lib.train.dry_run._LONG_SECONDS", 0.0)
    slow = measure(run, every_set=False, compiled=False)
    assert (slow.batch, slow.parts, slow.sample_seconds) == (2, 1, None)
    assert quick.step_seconds > 0 and quick.sample_seconds > 0 and quick.peak_bytes > 2**20


def test_arithmetic_of_the_estimate(tmp_path, monkeypatch):
    """2 of 8 workers, batch 4: compute gives 4 / 0.5 = 8 samples/s, data 2 / 0.5 = 4."""
    monkeypatch.setattr("lib.train.dry_run.usable_cores", lambda: 2)
    run = make_run(tmp_path, make_config(epochs=10, batch=4, samples=43, NUM_WORKER=8))
    lines = report(run, Cost(4, 1, 0.5, 0.5, 3 * 2**30))
    assert lines[0] == "peak memory: 3.00 GiB in each process"
    assert lines[1] == "compute: 8.00 samples/s, 0.500 s per step"
    assert lines[2].startswith("data: 2.0 samples/s by one process; 4.0 by 2")
    # 10 steps of 4 samples fit in 43.
    expected = "estimated: 4.00 samples/s, 00:00:10 per epoch, 00:01:40 for all 10 epochs"
    assert lines[3] == expected
    smaller = report(run, Cost(2, 1, 0.5, None, 2**30))
    assert "2 samples at a time instead of 4" in smaller[0] and "instead of 4" in smaller[1]
    assert smaller[3].startswith("estimated: 4.00 samples/s")


def test_without_workers_data_and_compute_take_turns(tmp_path):
    """1 / 8 s of compute and 1 / 2 s of data per sample."""
    run = make_run(tmp_path, make_config(epochs=10, batch=4, samples=43))
    lines = report(run, Cost(4, 1, 0.5, 0.5, 2**30))
    assert lines[2] == "data: 2.0 samples/s by one process; TRAIN.NUM_WORKER is 0, so compute " + (
        "waits for it"
    )
    assert lines[3].startswith("estimated: 1.60 samples/s, 00:00:25 per epoch")


def test_random_images_make_samples():
    cfg = make_config()
    source = RandomImages("LASOT", cfg.data.template.number)
    sampler = TrackingSampler((source,), (1.0,), TrainingTransform(cfg.data), 0, 1, 4)
    sample = sampler.sample(1, 0)
    assert len(sample.templates) == 2 and "LASOT" in sample.source and not sample.redraws


@pytest.mark.slow
def test_the_real_configuration_on_a_cpu(tmp_path):
    """seqtrack_b256 as it is: 90.6 million parameters, 768 tokens."""
    words = ["--config", "seqtrack_b256", "--dry-run", "--device", "cpu"]
    places = ["--save_dir", str(tmp_path / "save"), "--data_dir", str(tmp_path / "data")]
    run = subprocess.run(
        [sys.executable, str(ROOT / "tracking" / "train.py"), *words, *places],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "SEQTRACK_PRETRAINED": str(tmp_path)},
    )
    assert run.returncode == 0, run.stderr
    assert "90,596,002 parameters" in run.stdout and "for all 500 epochs" in run.stdout
    assert not (tmp_path / "save").exists()
