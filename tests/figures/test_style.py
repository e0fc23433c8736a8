from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.figure import Figure

from qkv.figures.evaluation import draw_confusion
from qkv.figures.style import class_colours, ink_on, percent, save_figure, short_name


@pytest.mark.parametrize("name", ["", "..", "a/b", "a\\b", "../a"])
def test_a_figure_stays_in_its_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="not a plain file name"):
        save_figure(Figure(), tmp_path, name)


def test_a_failed_write_leaves_the_old_figure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.png").write_bytes(b"old")

    def fail(descriptor: int) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        save_figure(Figure((1, 1)), tmp_path, "a")
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]
    assert (tmp_path / "a.png").read_bytes() == b"old"


def test_drawing_leaves_no_trace_in_matplotlib() -> None:
    before = dict(mpl.rcParams)
    draw_confusion([[1, 0], [0, 1]], ["一", "\U0001f98a"])  # no such letters in the font
    assert dict(mpl.rcParams) == before


@pytest.mark.parametrize("classes", [1, 2, 10, 11, 100])
def test_every_class_has_its_own_colour(classes: int) -> None:
    assert len(set(class_colours(classes))) == classes


def test_ink_stands_out() -> None:
    assert ink_on(np.array([1.0, 1.0, 1.0, 1.0])) == "black"
    assert ink_on(np.array([0.03, 0.27, 0.55, 1.0])) == "white"


@pytest.mark.parametrize(
    ("name", "limit", "expected"),
    [
        ("Bag", 3, "Bag"),
        ("abcdefghij", 7, "abc…hij"),
        ("abcdefghij", 6, "abc…ij"),
        (" a\n\tb\x00c ", 9, "a b c"),
    ],
)
def test_short_names(name: str, limit: int, expected: str) -> None:
    assert short_name(name, limit) == expected


def test_percentages_never_round_up_to_certainty() -> None:
    assert percent(0.123) == "12 %"
    assert percent(0.99999, 1) == "> 99.9 %"
    assert percent(1.0, 1) == "100.0 %"
