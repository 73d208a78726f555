"""How a command of ours is typed, for messages that say what to do next."""

import shlex
import sys
from pathlib import Path

# The script of a checkout that is the same function as `seqtrack NAME`.
SCRIPTS = {
    "train": "tracking/train.py",
    "track": "tracking/video_demo.py",
    "test": "tracking/test.py",
    "analyze": "tracking/analysis_results.py",
    "report": "tracking/report.py",
    "data": "tracking/data.py",
    "serve": "tracking/serve.py",
    "vot": "tracking/vot.py",
    "submit": "scripts/pack_submission.py",
    "download": "scripts/download_checkpoints.py",
    "profile": "tracking/profile_model.py",
    "export": "scripts/export_onnx.py",
    "calibrate": "scripts/calibrate.py",
    "cluster": "scripts/cluster.py",
    "bench": "scripts/benchmark.py",
    "doctor": "tracking/doctor.py",
}
ROOT = Path(__file__).resolve().parents[2]
_FOLDERS = ("tracking", "scripts")
# What `sys.argv[0]` is called when somebody typed `seqtrack`, or `python -m lib.cli`.
_SEQTRACK = ("seqtrack", "seqtrack.exe", "cli.py")


def _script() -> Path | None:
    """The script of `tracking/` or `scripts/` that was started, as it was typed."""
    started = Path(sys.argv[0])
    return started if started.suffix == ".py" and started.parent.name in _FOLDERS else None


def program(name: str) -> str:
    """What a command calls itself in its help: `seqtrack data pack`, `data.py pack`, `test.py`."""
    script = _script()
    if script is None:
        return f"seqtrack {name}"
    first, *rest = name.split()
    return " ".join([script.name, *rest]) if script.stem == first else script.name


def command(name: str, *words: object) -> str:
    """A command line that can be typed where this program was started.

    That is `seqtrack NAME …` for whoever typed `seqtrack` and without a checkout, and
    `python tracking/NAME.py …` otherwise.

    Args:
        name: a key of `SCRIPTS`.
        words: its arguments; they are quoted for a shell.
    """
    script, where = _script(), SCRIPTS[name]
    installed = Path(sys.argv[0]).name in _SEQTRACK or not (ROOT / where).is_file()
    if script is not None:
        start = ["python", str(script.parent.parent / where)]
    else:
        start = ["seqtrack", name] if installed else ["python", where]
    return shlex.join([*start, *map(str, words)])


def advice(name: str, *words: object) -> str:
    """`command` in backticks, for a sentence."""
    return f"`{command(name, *words)}`"


def extra(name: str) -> str:
    """How one of our optional dependencies is installed: `pip install -e ".[onnx]"`."""
    return f'pip install -e ".[{name}]"'
