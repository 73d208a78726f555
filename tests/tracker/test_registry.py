"""Trackers by name: ours, and one of another package that nothing here knows."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lib.config.paths import repository_root
from lib.results.files import read_results
from lib.tracker.base import BaseTracker
from lib.tracker.build import build_tracker
from lib.tracker.registry import find_tracker, trackers, weights_words
from lib.tracker.spec import TrackerSpec
from lib.utils.errors import ConfigError
from tests.helpers.tiny import write_got10k_folder

TOY = Path(__file__).parents[1] / "packages" / "toy_tracker"


def test_ours_are_known_without_any_import():
    assert [*trackers()][:4] == ["seqtrack", "static_box", "mil", "template_match"]
    assert [row.name for row in trackers().values() if row.has_config] == ["seqtrack"]
    with pytest.raises(ConfigError, match=r"unknown tracker 'mli'; did you mean 'mil'\?"):
        find_tracker("mli")


@pytest.mark.parametrize("elsewhere", [False, True])
def test_weights_are_named_so_that_another_command_finds_them(elsewhere, tmp_path, monkeypatch):
    """By the configuration alone only where that command would look for them anyway."""
    monkeypatch.setenv("SEQTRACK_SAVE", str(tmp_path / "other" if elsewhere else tmp_path))
    weights = tmp_path / "checkpoints/train/seqtrack/tiny/SEQTRACK.pth.tar"
    weights.parent.mkdir(parents=True)
    weights.touch()
    spec = TrackerSpec("seqtrack", "tiny", checkpoint=weights)
    more = ["--checkpoint", str(weights)] if elsewhere else []
    assert weights_words(spec) == ["--config", "tiny", *more]
    assert weights_words(replace(spec, checkpoint=None))[2:] == ["--checkpoint", "random"]


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A folder that other packages are installed into; the names of entry points are read anew."""

    def install(name: str, line: str) -> None:
        info = tmp_path / "site" / f"{name}-1.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n")
        (info / "entry_points.txt").write_text(f"[seqtrack.trackers]\n{line}\n")

    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    monkeypatch.syspath_prepend(str(TOY))
    trackers.cache_clear()
    yield install
    trackers.cache_clear()


def test_an_entry_point_is_a_tracker(site):
    site("toy-tracker", "toy = toy_tracker:ToyTracker")
    assert find_tracker("toy").origin == "toy-tracker"
    assert isinstance(build_tracker(TrackerSpec("toy", "default")), BaseTracker)


@pytest.mark.parametrize(
    ("target", "said"),
    [
        (
            "gone_module:Tracker",
            "'bad' of bad-one cannot be loaded from 'gone_module:Tracker'",
        ),
        ("toy_tracker:Nothing", "has no attribute 'Nothing'"),
        ("collections:ChainMap", "gives a ChainMap, no subclass of lib.tracker.base.BaseTracker"),
    ],
)
def test_a_broken_entry_point_is_one_line(site, target, said):
    site("bad-one", f"bad = {target}")
    with pytest.raises(ConfigError, match=said) as error:
        build_tracker(TrackerSpec("bad", "default"))
    assert "\n" not in str(error.value)


def test_a_name_of_ours_stays_ours(site):
    site("thief", "mil = toy_tracker:ToyTracker")
    assert find_tracker("mil").origin == "seqtrack"


def test_targets_of_another_tracker_share_the_network_and_nothing_else(site):
    site("toy-tracker", "toy = toy_tracker:ToyTracker")
    tracker = build_tracker(TrackerSpec("toy", "default"))
    image = np.random.default_rng(0).integers(0, 255, (60, 80, 3), np.uint8)
    (one, _), (other, _) = (tracker.start(image, (x, 20.0, 12.0, 10.0)) for x in (10.0, 40.0))
    assert one.network is other.network is tracker.network
    for _, answer in tracker.step([one, other], [image, image]):
        assert answer["confidence"] == pytest.approx(1)
    assert [one.box[0], other.box[0]] == [10, 40]


@pytest.mark.slow
def test_an_installed_package_is_found_tracked_in_lock_step_and_scored(tmp_path):
    """The command of a user who has installed both; not a line of lib names the tracker."""
    videos = write_got10k_folder(tmp_path / "videos", ["a", "b", "c"])
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--quiet", "--target"]
    source = tmp_path / "source"
    source.mkdir()
    for file in TOY.iterdir():
        if file.is_file():
            (source / file.name).write_bytes(file.read_bytes())
    command = [sys.executable, "-m", "pip", "install", *options, str(tmp_path / "site")]
    subprocess.run([*command, str(source)], check=True)
    paths = [str(tmp_path / "site"), str(repository_root())]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}

    def seqtrack(*words: str) -> str:
        line = [sys.executable, "-m", "lib.cli", *words, "--save-dir", str(tmp_path)]
        line += ["--dataset", str(videos)]
        done = subprocess.run(line, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert "3 sequences tracked" in seqtrack("test", "toy/alone")
    assert "3 sequences tracked" in seqtrack("test", "toy", "together", "--batch-size", "2")
    seqtrack("test", "toy/workers", "--workers", "1")
    seqtrack("test", "static_box/default")
    folder = tmp_path / "test" / "tracking_results" / "toy"
    for name in ("a", "b", "c"):
        alone, *others = (
            read_results(folder / config / "videos" / f"{name}.txt")
            for config in ("alone", "together", "workers")
        )
        assert all(np.array_equal(alone, other) for other in others)
    table = seqtrack("analyze", "toy/together", "static_box/default")
    ours = next(line for line in table.splitlines() if line.startswith("toy/together"))
    assert float(ours.split()[1].rstrip("*")) > 90, "the drawn targets keep their size"
