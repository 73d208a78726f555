"""Raw results that are not as they should be, by every protocol: scored, or one line that tells.

What a protocol does with them is in its toolkit's code; `docs/scores.md` has it in words.
"""

import json
from pathlib import Path

import pytest

from lib.commands.entry import run
from tests.helpers.dataset_files import (
    flags_column,
    write_got10k,
    write_lasot,
    write_otb,
    write_text,
)

FRAMES = 4
ROW = "2,3,10,12\n"
GOOD = ROW * FRAMES
# File of the second sequence below the folder of results, in the two forms that people publish.
FORMS = {"flat": "{0}.txt", "GOT-10k": "{0}/{0}_001.txt"}
BROKEN = {
    "empty": "",
    "blank": "\n\n",
    "one line": ROW,
    "one line, no end": ROW.strip(),
    "nan": ROW + "nan,nan,nan,nan\n" + ROW * 2,
    "half nan": ROW + "NaN,3,10,12\n" + ROW * 2,
    "infinite": ROW + "inf,3,10,12\n" + ROW * 2,
    "letters": ROW + "a,b,c,d\n" + ROW * 2,
    "header": "x,y,w,h\n" + GOOD,
    "3 columns": ROW + "2,3,10\n" + ROW * 2,
    "5 columns": ROW + "0.9,2,3,10,12\n" + ROW * 2,
    "8 columns": ROW + "2,3,12,3,12,15,2,15\n" + ROW * 2,
    "semicolons": GOOD.replace(",", ";"),
    "blank line inside": ROW + "\n" + ROW * 2,
    "not text": "\x89PNG\r\n\x1a\n",
    "short": ROW * 3,
    "long": ROW * 6,
    "negative size": ROW + "2,3,-10,12\n" + ROW * 2,
    "zero size": ROW + "2,3,0,0\n" + ROW * 2,
    "windows": GOOD.replace("\n", "\r\n"),
    "old mac": GOOD.replace("\n", "\r"),
    "byte order mark": "\ufeff" + GOOD,
    "trailing separators": GOOD.replace("\n", ",\n"),
    "blank lines at the end": GOOD + "\n\n",
    "tabs": GOOD.replace(",", "\t"),
    "spaces": GOOD.replace(",", "   "),
}
# Whatever the protocol: the message behind the file, or None where all is well.
ALWAYS = {
    "empty": ": the file is empty",
    "blank": ": the file is empty",
    "infinite": ":2: 'inf' is not a finite number",
    "letters": ":2: 'a' is not a finite number",
    "header": ":1: 'x' is not a finite number",
    "3 columns": ":2: 3 values in '2,3,10', expected 4",
    "5 columns": ":2: 5 values in",
    "8 columns": ":2: 8 values in",
    "semicolons": ":1: '2;3;10;12' is not a finite number",
    "blank line inside": ":2: blank line",
    "not text": ": not a text file",
    "windows": None,
    "old mac": None,
    "byte order mark": None,
    "trailing separators": None,
    "blank lines at the end": None,
    "tabs": None,
    "spaces": None,
}
NAN = {
    "nan": ":2: NaN in 'nan,nan,nan,nan'; a box is four finite numbers",
    "half nan": ":2: NaN in",
}
# By protocol and convention; a number is that of the rows in a warning, the target still found.
RULES: dict[str, tuple[list[str], dict[str, str | int | None]]] = {
    "lasot": (
        [],
        {
            **NAN,
            "one line": ": 1 rows for 4 frames; LaSOT's protocol refuses short results",
            "one line, no end": ": 1 rows for 4 frames",
            "short": ": 3 rows for 4 frames",
            "long": 6,
            "negative size": ":2: negative size -10 x 12",
            "zero size": None,
        },
    ),
    "otb": (
        ["--protocol", "otb"],
        {
            **NAN,
            "one line": 1,
            "one line, no end": 1,
            "short": 3,
            "long": 6,
            "negative size": ":2: negative size -10 x 12",
            "zero size": None,
        },
    ),
    "uav": (
        ["--protocol", "uav"],
        {**NAN, "one line": 1, "short": 3, "long": 6, "negative size": ":2: negative size"},
    ),
    "lasot by its toolkit": (
        ["--convention", "lasot_matlab_port"],
        {
            "nan": None,
            "half nan": None,
            "short": ": 3 rows for 4 frames",
            "long": 6,
            "negative size": None,
        },
    ),
    "otb by its toolkit": (
        ["--protocol", "otb", "--convention", "otb_matlab"],
        {"nan": None, "one line": 1, "short": 3, "long": 6, "negative size": None},
    ),
    "otb by GOT-10k's toolkit": (
        ["--protocol", "otb", "--convention", "got10k_toolkit_OPE_otb"],
        {**NAN, "one line": 1, "short": 3, "long": 6},
    ),
    "got10k_val": (
        [],
        {
            **NAN,
            "one line": ": 1 rows for 4 frames; GOT-10k's protocol needs as many",
            "short": ": 3 rows for 4 frames",
            "long": ": 6 rows for 4 frames",
        },
    ),
}
CASES = [
    pytest.param(protocol, name, expected, id=f"{protocol}: {name}")
    for protocol, (_, rules) in RULES.items()
    for name, expected in {**ALWAYS, **rules}.items()
]


class Bench:
    """Two sequences; the results of the second one are what is tried."""

    def __init__(self, root: Path, protocol: str) -> None:
        self.root, self.raw = root, root / "raw"
        self.options = RULES[protocol][0]
        if protocol == "got10k_val":
            self.names, self.dataset = ("GOT-10k_Val_000001", "GOT-10k_Val_000002"), "got10k_val"
            folder = root / "got10k" / "val"
            write_text(folder / "list.txt", "".join(f"{name}\n" for name in self.names))
        else:
            self.names, self.dataset = ("bear-1", "bear-2"), str(root / "videos")
            folder = root / "videos"
        for name in self.names:
            if protocol == "got10k_val":
                write_got10k(folder / name, FRAMES)
                write_text(folder / name / "cover.label", flags_column([8] * FRAMES))
                write_text(folder / name / "absence.label", flags_column([0] * FRAMES))
            elif "lasot" in protocol:
                write_lasot(folder / name, FRAMES)
            else:
                write_otb(folder / name, FRAMES)
            (truth,) = (folder / name).glob("groundtruth*.txt")
            write_text(truth, GOOD)

    def score(self, text: str | None, form: str, encoding: str = "") -> tuple[int, Path]:
        """Exit code with `text` as the second result, and its file."""
        files = [self.raw / FORMS[form].format(name) for name in self.names]
        write_text(files[0], GOOD)
        if text is not None:
            files[1].parent.mkdir(parents=True, exist_ok=True)
            encoding = encoding or ("latin-1" if text.startswith("\x89") else "utf-8")
            files[1].write_bytes(text.encode(encoding))
        roots = ["--data_dir", str(self.root), "--save_dir", str(self.root / "save")]
        given = ["--results", f"X={self.raw}", "--dataset", self.dataset, *self.options]
        return run("lib.commands.analyze", [*given, *roots]), files[1]

    def found(self) -> float:
        """Share of frames in which the target of the second sequence was found, percent."""
        (file,) = (self.root / "save" / "test" / "analysis").glob("*.json")
        (tree,) = json.loads(file.read_text()).values()
        one = tree["X"]["sequences"][self.names[1]]
        return one.get("OP50", one.get("SR50"))


@pytest.mark.parametrize(("protocol", "name", "expected"), CASES)
def test_malformed_results(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    protocol: str,
    name: str,
    expected: str | int | None,
) -> None:
    bench = Bench(tmp_path, protocol)
    code, file = bench.score(BROKEN[name], "flat")
    error = capsys.readouterr().err
    if isinstance(expected, str):
        assert code == 2
        assert error.startswith(f"error: {file}{expected}"), error
        assert error.count("\n") == 1
    elif expected is None:
        assert (code, error) == (0, "")
        assert bench.found() == 100
    else:
        assert code == 0
        assert error.startswith(f"warning: {file}: {expected} rows for 4 frames; "), error
        assert error.count("\n") == 1


@pytest.mark.parametrize("form", FORMS)
def test_results_in_wide_characters(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], form: str
) -> None:
    """What `>` of an old PowerShell and some editors of Windows write."""
    for mark, (code, words) in (("\ufeff", (0, "")), ("", (2, "save it as UTF-8"))):
        bench = Bench(tmp_path / str(code), "lasot")
        assert bench.score(mark + GOOD, form, "utf-16-le")[0] == code
        assert words in capsys.readouterr().err
        assert code or bench.found() == 100


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", ["empty", "nan", "letters", "3 columns"])
def test_every_form_names_its_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], form: str, name: str
) -> None:
    code, file = Bench(tmp_path, "lasot").score(BROKEN[name], form)
    error = capsys.readouterr().err
    assert code == 2
    assert error.startswith(f"error: {file}:") and error.count("\n") == 1


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("protocol", RULES)
def test_missing_results(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], protocol: str, form: str
) -> None:
    bench = Bench(tmp_path, protocol)
    code, _ = bench.score(None, form)
    error = capsys.readouterr().err
    assert code == 2
    assert f"{bench.raw / bench.names[1]}.txt: missing, the results of X on sequence" in error
    assert "--skip-missing" in error and error.count("\n") == 1


def test_short_results_are_padded_cut_or_repeated_as_the_toolkits_do(tmp_path: Path) -> None:
    """One of four frames is there: lost by PyTracking's rules, repeated or left out by others."""
    expected = {"otb": 25, "otb by its toolkit": 100, "otb by GOT-10k's toolkit": 100}
    for protocol, percent in expected.items():
        bench = Bench(tmp_path / protocol.replace(" ", "_"), protocol)
        assert bench.score(BROKEN["one line"], "flat")[0] == 0
        assert bench.found() == percent, protocol


def test_all_that_is_wrong_is_reported_at_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bench = Bench(tmp_path, "lasot")
    write_text(bench.raw / "bear-1.txt", "1,2,3\n")
    code, file = bench.score(BROKEN["letters"], "flat")
    write_text(bench.raw / "bear-1.txt", "1,2,3\n")
    capsys.readouterr()
    given = ["--results", f"X={bench.raw}", "--dataset", bench.dataset]
    assert run("lib.commands.analyze", [*given, "--save_dir", str(tmp_path)]) == code == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "error: videos: 2 files cannot be scored"
    assert lines[1].strip().startswith(f"{bench.raw / 'bear-1.txt'}:1: 3 values")
    assert lines[2].strip().startswith(f"{file}:2: 'a'")
