"""`doctor` says what is here, what is missing and what to do, and never fails itself."""

from pathlib import Path

import pytest

from lib.commands import doctor
from lib.commands.entry import run


@pytest.fixture
def home(tmp_path, monkeypatch):
    """The repository's stand-in lies in a home folder, with weights of one configuration."""
    weights = tmp_path / "runs/checkpoints/train/seqtrack/seqtrack_b256/SEQTRACK.pth.tar"
    weights.parent.mkdir(parents=True)
    weights.touch()
    (tmp_path / "data" / "lasot").mkdir(parents=True)
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    return tmp_path


def told(home: Path, capsys) -> dict[str, list[str]]:
    folders = ["--data-dir", str(home / "data"), "--save-dir", str(home / "runs")]
    assert run("lib.commands.doctor", folders) == 0
    text = capsys.readouterr().out
    assert str(home) not in text
    blocks = (block.splitlines() for block in text.strip().split("\n\n"))
    return {title: [line.strip() for line in lines] for title, *lines in blocks}


def test_what_is_here_and_what_is_missing(home, capsys):
    sections = told(home, capsys)
    assert list(sections) == [
        "program", "packages", "devices", "video", "ONNX Runtime", "cameras", "weights",
        "data sets", "what to do",
    ]  # fmt: skip
    weights = dict(line.split(maxsplit=1) for line in sections["weights"])
    found = "~/runs/checkpoints/train/seqtrack/seqtrack_b256/SEQTRACK.pth.tar"
    assert weights["seqtrack_b256"] == found
    assert weights["seqtrack_l384"].startswith("- (~/runs/checkpoints/train/seqtrack/seqtrack_l384")
    places = dict(line.split(maxsplit=1) for line in sections["data sets"])
    assert places["lasot"] == "~/data/lasot" and places["got10k"] == "- (~/data/got10k)"
    advised = "\n".join(sections["what to do"])
    assert "seqtrack_l384" in advised and "seqtrack_b256," not in advised
    assert "data sets lasot_ext" in advised and "got10k" in advised
    assert any("h264" in line and line.startswith("decoders") for line in sections["video"])


def test_gaps_have_advice(home, capsys, monkeypatch):
    there = doctor._version
    fake = {"av": None, "timm": None, "submitit": None, "opencv-python-headless": "4.9"}
    monkeypatch.setattr(doctor, "_version", lambda name: fake.get(name, there(name)))
    monkeypatch.setattr("lib.video.live.cameras", lambda: [0, 2])
    sections = told(home, capsys)
    assert "cameras  0, 2" in sections["cameras"]
    advised = "\n".join(sections["what to do"])
    assert "- timm is missing" in advised and "- PyAV is missing" in advised
    assert 'submitit: only if you need it, pip install -e ".[slurm]"' in advised
    assert "exactly one OpenCV is needed" in advised


def test_what_is_broken_is_a_line(home, capsys, monkeypatch):
    (home / "paths.yaml").write_text("dataset: {}\n")
    monkeypatch.chdir(home)
    sections = told(home, capsys)
    assert sections["weights"][0].startswith("failed  ConfigError: ")
    assert "paths.yaml" in "\n".join(sections["what to do"])
