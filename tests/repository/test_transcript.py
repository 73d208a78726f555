"""What the pages about tracking show runs as it stands, in an empty folder, and is written down:
in the file that SEQTRACK_TRANSCRIPT names."""

import contextlib
import io
import os
import re
import shlex
import shutil
from pathlib import Path

import pytest

from lib.commands.entry import run
from lib.config.paths import repository_root
from tests.api.test_examples import moving_square
from tests.helpers.tiny import write_got10k_folder
from tests.helpers.video_files import write_av
from tests.repository.test_readme import command_lines, command_module

PAGES = ("docs/python.md", "docs/video.md", "docs/lost.md")
# What makes commands short; nothing else is changed.
SHORTER = {"calibrate": ["--max-sequences", "2"]}
SMALLER = {"synthetic_absence": "my_videos"}
# These weights have to be downloaded first: the command says so.
NOT_HERE = "seqtrack_b256"


def said(code: str, page: str) -> tuple[object, str]:
    """Exit code and output of a command line, or of an example in Python."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        if "\n" in code:
            exec(compile(code, page, "exec"), {"__name__": "example"})
            ended: object = 0
        else:
            words = shlex.split(code)
            module, arguments = command_module(words)
            ended = run(module, arguments)
    return ended, out.getvalue()


@pytest.mark.slow
def test_every_command_and_example_runs(tmp_path, monkeypatch):
    root, shipped = repository_root(), Path("checkpoints/train/seqtrack")
    # A calibration is written beside the weights: beside a copy of them.
    shutil.copytree(root / shipped, tmp_path / "save" / shipped)
    monkeypatch.setenv("SEQTRACK_SAVE", str(tmp_path / "save"))
    monkeypatch.chdir(tmp_path)
    write_av(tmp_path / "clip.mp4", moving_square(64))
    write_got10k_folder(tmp_path / "my_videos", ["a", "b"])
    transcript = []
    for page in PAGES:
        text = (root / page).read_text(encoding="utf-8")
        for language, block in re.findall(r"^```(bash|python)\n(.*?)^```", text, re.M | re.S):
            codes = [block]
            if language == "bash":
                lines = [[SMALLER.get(word, word) for word in w] for w in command_lines(block)]
                codes = [shlex.join(words + SHORTER.get(words[1], [])) for words in lines]
            for code in codes:
                ended, output = said(code, page)
                transcript.append(f"{page}\n$ {code.strip()}\n{output}[{ended}]\n")
                assert ended == (2 if NOT_HERE in code else 0), transcript[-1]
                # The next command would find its files taken.
                for path in tmp_path.glob("clip_*"):
                    path.unlink()
    assert len(transcript) >= 10 and (tmp_path / "report.html").is_file()
    Path(os.environ.get("SEQTRACK_TRANSCRIPT", tmp_path / "transcript.txt")).write_text(
        "\n".join(transcript), encoding="utf-8"
    )
