"""`seqtrack calibrate`: a fit beside the weights, and what cannot be fitted."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from lib.commands.calibrate import main
from lib.config.paths import repository_root
from lib.tracker.build import find_calibration
from lib.utils.errors import ConfigError, DataError
from tests.helpers.tiny import write_got10k_folder

SHIPPED = repository_root() / "checkpoints/train/seqtrack/seqtrack_tiny/SEQTRACK.pth.tar"


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    copy = tmp_path / "weights" / "SEQTRACK.pth.tar"
    copy.parent.mkdir()
    shutil.copy(SHIPPED, copy)
    return copy


def calibrate(weights: Path, videos: Path, *more: str) -> int:
    given = ["--config", "seqtrack_tiny", "--checkpoint", str(weights), "--dataset", str(videos)]
    return main([*given, *more])


@pytest.mark.parametrize("rule", ["interval", "gated"])
def test_a_fit_lies_beside_the_weights_and_is_found_there(tmp_path, weights, capsys, rule) -> None:
    videos = write_got10k_folder(tmp_path / "videos", ["a", "b", "c"], length=8)
    for name in "abc":
        file = videos / name / "groundtruth.txt"
        boxes = np.loadtxt(file, delimiter=",")
        # From here on the truth is elsewhere: the boxes are bad.
        boxes[4:, :2] += 40
        np.savetxt(file, boxes, delimiter=",", fmt="%.4f")
    assert calibrate(weights, videos, "--set", f"TEST.UPDATE_RULE={rule}") == 0
    said = capsys.readouterr().out
    assert "3 videos, 21 frames" in said and "chance 0.57" in said
    path = weights.with_name("SEQTRACK.pth.tar.calibration.json")
    record = json.loads(path.read_text())["record"]
    assert record["config"] == "seqtrack_tiny" and record["share_good"] == pytest.approx(
        3 / 7, abs=1e-3
    )
    assert list(record["datasets"].values()) == [["a", "b", "c"]]
    found = find_calibration(weights)
    assert found is not None and found.record == record
    with open(weights, "ab") as stream:
        stream.write(b"other weights")
    assert find_calibration(weights) is None
    assert "of other weights" in capsys.readouterr().err


def test_boxes_that_are_all_good_are_no_material(tmp_path, weights) -> None:
    videos = write_got10k_folder(tmp_path / "videos", ["a", "b"], length=4)
    with pytest.raises(DataError, match="nothing can be calibrated"):
        calibrate(weights, videos)


def test_untrained_weights_are_refused(tmp_path) -> None:
    videos = write_got10k_folder(tmp_path / "videos", ["a"])
    with pytest.raises(ConfigError, match="untrained"):
        calibrate(Path("random"), videos)
