"""The contact sheet: every class in its row, the true pixels, and what was left out is said."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from qkv.data.contact_sheet import MAX_CLASSES, contact_sheet, contact_sheet_of_folder
from qkv.data.dataset import ImageDataset, ImageSplit


def dataset_of(values: list[list[int]], names: tuple[str, ...]) -> ImageDataset:
    flat = [(label, value) for label, row in enumerate(values) for value in row]
    store = np.array([value for _, value in flat], np.uint8)[:, None, None, None]
    split = ImageSplit(
        np.broadcast_to(store, (len(flat), 1, 8, 8)).copy(),
        np.arange(len(flat)),
        np.array([label for label, _ in flat]),
    )
    return ImageDataset("set", names, split, None, None, "here", {})


def tiles(sheet: Image.Image) -> set[int]:
    """Grey values that fill at least one whole thumbnail."""
    values, counts = np.unique(np.asarray(sheet.convert("L")), return_counts=True)
    return {int(value) for value, count in zip(values, counts, strict=True) if count >= 64 * 64}


def test_thumbnails_stand_in_the_row_of_their_class() -> None:
    sheet = contact_sheet(dataset_of([[40, 80], [160]], ("dog", "cat")))
    assert sheet.mode == "RGB"
    grey = np.asarray(sheet.convert("L"))
    rows = {value: np.flatnonzero((grey == value).sum(axis=1) >= 64) for value in (40, 80, 160)}
    assert (rows[40] == rows[80]).all()
    assert rows[160].min() > rows[40].max()
    assert {len(found) for found in rows.values()} == {64}
    columns = {value: np.flatnonzero((grey == value).sum(axis=0) >= 64) for value in (40, 80, 160)}
    assert columns[40].max() < columns[80].min()
    labels = grey[:, : columns[40].min()]
    assert (labels < 100).sum() > 50  # something is written


def test_images_are_spread_over_the_class() -> None:
    sheet = contact_sheet(dataset_of([list(range(0, 200, 2))], ("a",)))
    assert tiles(sheet) >= {0, 20, 40, 60, 80, 100, 120, 140, 160, 180}


def test_classes_beyond_the_limit_are_left_out() -> None:
    values = [[10 * (label % 20) + 5] for label in range(MAX_CLASSES + 3)]
    values[MAX_CLASSES:] = [[3], [4], [6]]
    names = tuple(f"class {label}" for label in range(MAX_CLASSES + 3))
    sheet = contact_sheet(dataset_of(values, names))
    assert len(tiles(sheet) - {255}) == MAX_CLASSES
    all_shown = contact_sheet(dataset_of(values[:MAX_CLASSES], names[:MAX_CLASSES]))
    footer = np.asarray(sheet.convert("L"))[all_shown.height - 8 :]
    assert (footer < 150).any()


@pytest.mark.parametrize("name", ["x" * 500, "line\nbreak\x1b[31m", "", "字"])
def test_odd_class_names_neither_break_nor_widen(name: str) -> None:
    sheet = contact_sheet(dataset_of([[1], [2]], (name, "b")))
    assert sheet.width < 350


def test_a_folder_with_a_bad_file_and_an_empty_class(tmp_path: Path) -> None:
    for name, value in (("a/1.png", 50), ("a/deep/2.png", 90), ("b/3.png", 140)):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (9, 30), (value, value, value)).save(tmp_path / name)
    (tmp_path / "a/bad.png").write_bytes(b"")
    (tmp_path / "c").mkdir()
    assert tiles(contact_sheet_of_folder(tmp_path)) >= {50, 90, 140}
