"""`python scripts/export_onnx.py`: what it writes and what it says of it."""

import re
from pathlib import Path

import pytest

from lib.commands.entry import run
from tests.helpers.tiny import TINY_YAML, write_got10k_folder

pytest.importorskip("onnxruntime")


@pytest.fixture
def call(tmp_path, monkeypatch, capsys):
    """Runs the command in a folder of its own; returns exit code and output."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SEQTRACK_ONNX", str(tmp_path / "onnx"))
    Path("my.yaml").write_text(TINY_YAML, encoding="utf-8")
    write_got10k_folder(tmp_path / "clips", ["one", "two"], length=6)

    def call(*words):
        code = run("lib.commands.export", ["--config", "my.yaml", *words])
        said = capsys.readouterr()
        return code, said.out, said.err

    return call


@pytest.mark.slow
def test_export_and_compare(call):
    code, out, _ = call("--checkpoint", "random", "--dataset", "clips", "--frames", "8")
    assert code == 0
    assert re.search(r"onnx/my-[0-9a-f]{16}-fp32/step\.onnx: 0\.\d MB", out)
    assert "8 frames of clips beside PyTorch: 32 of 32 tokens equal, 0 ties, 0 different" in out
    assert "largest 0.000; within 1 pixel in 100.0 % of frames" in out


@pytest.mark.slow
@pytest.mark.parametrize(
    ("form", "precision", "files"),
    [
        ("torchscript", "fp32", ["step.pt", "template.pt"]),
        ("torch-export", "fp32", ["step.pt2", "template.pt2"]),
        ("torch-export", "bf16", ["step.pt2", "template.pt2"]),
        ("openvino", "fp32", ["step.bin", "step.xml", "template.bin", "template.xml"]),
        ("openvino", "fp16", ["step.bin", "step.xml", "template.bin", "template.xml"]),
    ],
)
def test_other_formats_are_read_again_and_compared(call, form, precision, files):
    if form == "openvino":
        pytest.importorskip("openvino")
    words = ("--checkpoint", "random", "--dataset", "clips", "--frames", "8", "--out", "here")
    code, out, _ = call(*words, "--format", form, "--precision", precision)
    assert code == 0
    (folder,) = Path("here").glob(f"my-*-{precision}")
    assert sorted(one.name for one in folder.iterdir()) == sorted([*files, "tracker.json"])
    assert "8 frames of clips beside PyTorch" in out
    if precision == "fp32":
        assert "32 of 32 tokens equal" in out


@pytest.mark.slow
def test_elsewhere_and_in_eight_bits(call):
    words = ("--checkpoint", "random", "--frames", "0", "--precision", "int8", "--out", "here")
    code, out, _ = call(*words)
    assert code == 0
    assert "tokens" not in out
    assert len(list(Path("here").glob("my-*-int8/*.onnx"))) == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["--precision", "int4"],
            r"the format onnx cannot be written in 'int4'; choose one of fp32, int8",
        ),
        (
            ["--format", "openvino", "--precision", "int8"],
            r"the format openvino cannot be written in 'int8'; choose one of fp32, fp16",
        ),
        (["--checkpoint", "gone.pth"], r"gone\.pth"),
        (["--checkpoint", "random", "--dataset", "./nowhere"], "nowhere"),
    ],
)
def test_wrong_input(call, words, message):
    code, _, err = call(*words)
    assert code == 2
    assert re.search(message, err)
    assert err.count("\n") == 1
