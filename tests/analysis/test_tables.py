"""Tables in every format."""

import csv
import io
import json

import numpy as np
import pytest

from lib.analysis.compare import Comparison
from lib.analysis.export import documents
from lib.analysis.findings import work_out
from lib.analysis.frames import TrackedSequence
from lib.analysis.metrics import score_dataset
from lib.analysis.tables import Table, as_csv, as_latex, as_markdown, as_text, best_cells

ROWS = (("seqtrack_b256", "71.50", "-"), ("a|b & 5%", "9.50", "80.00"))
TABLE = Table("title: percent", ("tracker", "AUC", "P"), ROWS, frozenset({(0, 1), (1, 2)}))


def test_text_is_aligned_and_marks_the_best() -> None:
    assert as_text(TABLE).splitlines() == [
        "title: percent, * best",
        "tracker          AUC       P",
        "seqtrack_b256  71.50*      -",
        "a|b & 5%        9.50   80.00*",
    ]


def test_nothing_is_marked_where_nothing_is_compared() -> None:
    plain = Table("title", ("tracker", "AUC"), (("a", "1.00"),))
    assert as_text(plain) == "title\ntracker   AUC\na        1.00\n"
    assert "**" not in as_markdown(plain) and "textbf" not in as_latex(plain)


def test_markdown_escapes_what_would_end_a_cell() -> None:
    lines = as_markdown(TABLE).splitlines()
    assert lines[0] == "title: percent"
    assert lines[2:] == [
        "| tracker | AUC | P |",
        "| --- | ---: | ---: |",
        "| seqtrack_b256 | **71.50** | - |",
        r"| a\|b & 5% | 9.50 | **80.00** |",
    ]


def test_latex_escapes_what_it_would_read_as_commands() -> None:
    text = as_latex(TABLE)
    assert r"seqtrack\_b256 & \textbf{71.50} & - \\" in text
    assert r"a|b \& 5\% & 9.50 & \textbf{80.00} \\" in text
    assert text.count(r"\hline") == 3
    assert r"\begin{tabular}{lrr}" in text and r"\end{tabular}" in text
    special = Table("t", ("x",), ((r"\ { } ~ ^ # $ ±",),))
    assert r"\textbackslash{} \{ \} \textasciitilde{} \textasciicircum{} \# \$ $\pm$" in as_latex(
        special
    )


def test_csv_reads_back() -> None:
    table = Table("t", ("tracker", "AUC"), (('with, "quotes"', "1.00"),))
    assert list(csv.reader(io.StringIO(as_csv(table)))) == [
        ["tracker", "AUC"],
        ['with, "quotes"', "1.00"],
    ]


def test_a_comparison_as_files_of_every_format() -> None:
    box = np.array([[1.0, 2, 3, 4]] * 3)
    scores = {
        label: score_dataset([TrackedSequence("s", box, box * [[1], [off], [off]])], "otb")
        for label, off in (("one", 1), ("two", 9))
    }
    comparison = Comparison("videos", "otb", "seqtrack_lib_test", scores)
    found = documents(work_out(comparison))
    assert list(found) == [".csv", ".json", ".md", ".tex"]
    assert found[".csv"].startswith("dataset,tracker,sequence,AUC")
    assert set(json.loads(found[".json"])["videos"]) == {"one", "two"}
    assert "| one | **95.24** |" in found[".md"] and r"one & \textbf{95.24} &" in found[".tex"]


@pytest.mark.parametrize(
    ("along_rows", "expected"),
    [
        pytest.param(False, {(0, 1), (1, 1), (1, 2)}, id="columns, a tie marked twice"),
        pytest.param(True, {(0, 2), (1, 2), (2, 1)}, id="rows"),
    ],
)
def test_best_cells(along_rows: bool, expected: set) -> None:
    rows = [("a", "10.00", "20.00"), ("b", "10.00", "90.00"), ("c", "9.99", "-")]
    assert best_cells(rows, along_rows) == expected
