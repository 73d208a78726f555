"""One vocabulary: spellings, lists that end where they should, options anywhere, advice."""

import subprocess
import sys

import pytest

from lib import cli
from lib.commands import analyze, data, export, test, track, train, vot
from lib.commands._options import parser
from lib.utils import advice as advices
from lib.utils.advice import advice, program
from lib.video.placed import PlacedBox


@pytest.mark.parametrize(
    ("module", "line", "found"),
    [
        (test, "--dataset d --config a b,c", {"config": ["a", "b", "c"], "trackers": []}),
        (test, "--config a static_box --dataset d", {"config": ["a"], "trackers": ["static_box"]}),
        (test, "seqtrack --dataset d b256", {"trackers": ["seqtrack", "b256"]}),
        (test, "--dataset d --debug seqtrack x", {"debug": 1, "trackers": ["seqtrack", "x"]}),
        (test, "--dataset d --debug 1 x", {"debug": 1, "trackers": ["x"]}),
        (test, "x --dataset_name d --threads 2 --force", {"workers": 2, "overwrite": True}),
        (test, "x --dataset d --set A.B=[1,2] C=d y", {"overrides": ["A.B=[1,2]", "C=d"]}),
        (analyze, "--dataset otb lasot b256 --top 1", {"dataset": ["otb", "lasot"]}),
        (analyze, "b256 --dataset otb --runid 1 2,3", {"runid": [1, 2, 3], "trackers": ["b256"]}),
        (analyze, "--results A=x B=y,z b256", {"results": ["A=x", "B=y,z"], "trackers": ["b256"]}),
        (track, "--set TEST.WINDOW=false c.mp4", {"clip": ["c.mp4"]}),
        (track, "seqtrack b c.mp4 --optional_box 1 2 3 4", {"boxes": [PlacedBox((1, 2, 3, 4))]}),
        (track, "--box -5,1,20,20 c.mp4", {"boxes": [PlacedBox((-5, 1, 20, 20))]}),
        (vot, "run --experiments baseline realtime x", {"trackers": ["x"]}),
        (vot, "run --experiments mine -- x", {"experiments": ["mine"], "trackers": ["x"]}),
        (vot, "init --trackers a b --dataset VOT21", {"update_rule": "VOT21"}),
        (export, "--script seqtrack --config a --frames 0", {"max_frames": 0}),
    ],
)
def test_what_a_line_means(module, line, found):
    args = vars(module.build_parser().parse_args(line.split()))
    assert {name: args[name] for name in found} == found


@pytest.mark.parametrize(
    ("module", "line", "said"),
    [
        (test, "--config --dataset d", "expected one argument"),
        (track, "c.mp4 --optional_box 1 2 3", "'1,2,3,c.mp4' is no box"),
        (export, "--script ostrack --config a", "there is only seqtrack here, no 'ostrack'"),
        (train, "--script stark --config a", "there is only seqtrack here, no 'stark'"),
        (vot, "run --experimens baseline x", "did you mean '--experiments'"),
    ],
)
def test_what_is_refused(module, line, said, capsys):
    with pytest.raises(SystemExit) as ending:
        module.build_parser().parse_args(line.split())
    assert ending.value.code == 2 and said in capsys.readouterr().err


def test_one_spelling_is_shown_and_examples_stay_as_they_are(capsys):
    p = parser("test", "One. " * 40, "--config a --dataset b")
    p.add_argument("--overwrite", "--force", action="store_true", help="replace what is there")
    text = p.format_help()
    assert "--overwrite  " in text and "--force" not in text
    assert "\n  python tracking/test.py --config a --dataset b\n" in text


@pytest.mark.parametrize(
    ("started", "told", "named"),
    [
        ("/usr/bin/seqtrack", "`seqtrack data info lasot`", "seqtrack test"),
        ("tracking/test.py", "`python tracking/data.py info lasot`", "test.py"),
        ("../x/scripts/benchmark.py", "`python ../x/tracking/data.py info lasot`", "benchmark.py"),
        ("/usr/bin/pytest", "`python tracking/data.py info lasot`", "seqtrack test"),
    ],
)
def test_advice_can_be_typed_where_the_program_was_started(started, told, named, monkeypatch):
    monkeypatch.setattr(sys, "argv", [started])
    assert advice("data", "info", "lasot") == told
    assert program("test") == named


def test_without_a_checkout_advice_is_seqtrack(monkeypatch, tmp_path):
    monkeypatch.setattr(advices, "ROOT", tmp_path)
    assert advice("vot", "init", "my tracker") == "`seqtrack vot init 'my tracker'`"
    monkeypatch.setattr(sys, "argv", ["/x/tracking/data.py"])
    assert program("data check") == "data.py check"


def test_help_does_not_wait_for_torch():
    """Of no command: torch takes seconds to import."""
    code = (
        "import importlib, sys\n"
        "from lib.cli import COMMANDS\n"
        "from lib.commands.data import ELSEWHERE\n"
        "for module, _ in [*COMMANDS.values(), *ELSEWHERE.values()]:\n"
        "    importlib.import_module(module).build_parser().format_help()\n"
        "    assert 'torch' not in sys.modules, module\n"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=advices.ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_every_action_stands_beside_what_it_does():
    """The width of the longest name counts its indentation."""
    shown = data.build_parser().format_help()
    assert "    check  verify sequences" in shown and "    paths  show where" in shown


def test_every_command_stands_under_a_heading_of_the_help():
    shown = cli.build_parser().format_help().splitlines()
    rows = {name: next(n for n, row in enumerate(shown) if row.startswith(f"  {name} "))
            for name in cli.COMMANDS}  # fmt: skip
    headings = [n for n, row in enumerate(shown) if row.endswith(":") and n < max(rows.values())]
    assert list(rows.values()) == sorted(rows.values())
    assert len(headings) == 4 and headings[0] < rows["track"]


def test_every_script_is_there():
    assert all((advices.ROOT / path).is_file() for path in advices.SCRIPTS.values())
