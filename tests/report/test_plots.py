"""The figures for papers: what is drawn in them, not only that there are files."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lib.report import plots

figures = pytest.importorskip("matplotlib.figure")
CURVE = {
    "id": "success",
    "title": "Success",
    "x": [0.0, 0.5, 1.0],
    "xLabel": "overlap",
    "yLabel": "frames, in percent",
    "headline": [40.0, 60.0, None],
    "headlineName": "AUC",
    "lines": [[80.0, 40.0, 0.0], [90.0, 60.0, 10.0], [None, 5.0, 0.0]],
    "mark": 0.5,
}
TREE = {
    "name": "lasot",
    "trackers": ["ours", "$x_{2", "absent"],
    "metrics": ["AUC"],
    "curves": [CURVE],
    "attributes": [
        {"name": "blur", "sequences": 3, "scores": [10.0, 20.0, None]},
        {"name": "occlusion", "sequences": 7, "scores": [30.0, 40.0, 50.0]},
    ],
}


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, Any]:
    """Axes by the name of the file that they were written to."""
    found: dict[str, Any] = {}
    save = figures.Figure.savefig

    def savefig(self: Any, path: Path, **settings: Any) -> None:
        save(self, path, **settings)
        found[settings["format"] + str(len(found) // 2)] = self.axes[0]

    monkeypatch.setattr(figures.Figure, "savefig", savefig)
    files = plots.write_plots(TREE, tmp_path)
    assert all(file.stat().st_size > 1000 for file in files)
    assert [file.name for file in files] == [
        f"lasot_{stem}.{form}" for stem in ("success", "attributes") for form in plots.FORMATS
    ]
    return found


def test_curves_are_the_numbers_best_first(drawn: dict[str, Any]) -> None:
    axes = drawn["png0"]
    assert axes.get_title() == "lasot: success [AUC]"
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("overlap", "frames, in percent")
    lines = {line.get_label(): line for line in axes.lines[:3]}
    assert list(lines) == [r"\$x_{2 [60.0]", "ours [40.0]", "absent [-]"]
    assert lines["ours [40.0]"].get_xydata().tolist() == [[0, 80], [0.5, 40], [1, 0]]
    np.testing.assert_array_equal(lines["absent [-]"].get_ydata(), [np.nan, 5, 0])
    assert axes.lines[3].get_xdata() == [0.5, 0.5]
    assert len({line.get_color() for line in lines.values()}) == 3
    assert axes.get_xlim() == (0, 1) and axes.get_ylim() == (0, 100)


def test_bars_are_the_scores_by_attribute(drawn: dict[str, Any]) -> None:
    axes = drawn["png1"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["blur (3)", "occlusion (7)"]
    widths = [[bar.get_width() for bar in bars] for bars in axes.containers]
    assert widths == [[10, 30], [20, 40], [0, 50]]
    assert axes.get_xlabel() == "AUC, in percent" and axes.yaxis_inverted()
