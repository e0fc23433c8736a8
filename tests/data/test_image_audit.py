"""What `qkv data inspect` is told of a folder, and of a set that is loaded."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from qkv.data.audit import SHOWN_GROUPS, audit_dataset, audit_images
from qkv.data.dataset import ImageDataset, ImageSplit, Skipped
from qkv.errors import DataError


def picture(path: Path, value: int, size: tuple[int, int] = (8, 6), mode: str = "L") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", size, value).convert(mode).save(path)


def test_a_sound_folder(tmp_path: Path) -> None:
    for value in range(6):
        picture(tmp_path / "ab"[value % 2] / f"{value}.png", value, (10 + value, 20))
    picture(tmp_path / "a/colour.jpg", 9, (40, 4), "RGB")
    seen: list[tuple[int, int]] = []
    audit = audit_images(tmp_path, progress=lambda *step: seen.append(step))
    assert audit == {
        "source": str(tmp_path.resolve()),
        "layout": "classes",
        "images": 7,
        "splits": {"undivided": 7},
        "classes": {"a": {"undivided": 4}, "b": {"undivided": 3}},
        "width": {"min": 10, "median": 13.0, "max": 40},
        "height": {"min": 4, "median": 20.0, "max": 20},
        "modes": {"L": 6, "RGB": 1},
        "formats": {"PNG": 6, "JPEG": 1},
        "duplicates": {
            "within_splits": {"groups": 0, "images": 0, "shown": []},
            "across_splits": {"groups": 0, "images": 0, "shown": []},
        },
        "bad_files": [],
        "warnings": [],
    }
    assert seen == [(7, 7)]
    assert json.loads(json.dumps(audit)) == audit


def test_everything_wrong_is_told_at_once(tmp_path: Path) -> None:
    for value in range(25):
        picture(tmp_path / f"train/many/{value:02}.png", value)
    picture(tmp_path / "train/many/copy.png", 3)
    picture(tmp_path / "train/few/torn.png", 4)
    picture(tmp_path / "test/many/leak.png", 5)
    picture(tmp_path / "test/zebra/1.png", 200)
    picture(tmp_path / "test/zebra/2.png", 201)
    (tmp_path / "train/none").mkdir()
    (tmp_path / "test/many/broken.png").write_bytes(b"")
    picture(tmp_path / "loose.png", 1)
    audit = audit_images(tmp_path)
    assert audit["layout"] == "splits"
    assert audit["splits"] == {"train": 27, "test": 3}
    assert audit["classes"] == {
        "few": {"train": 1},
        "many": {"train": 26, "test": 1},
        "none": {"train": 0},
        "zebra": {"test": 2},
    }
    assert audit["duplicates"] == {
        "within_splits": {
            "groups": 2,
            "images": 4,
            "shown": [
                ["train/few/torn.png", "train/many/04.png"],
                ["train/many/03.png", "train/many/copy.png"],
            ],
        },
        "across_splits": {
            "groups": 1,
            "images": 2,
            "shown": [["test/many/leak.png", "train/many/05.png"]],
        },
    }
    assert audit["bad_files"] == [
        {
            "path": "loose.png",
            "reason": "lies outside any class folder, so it has no label",
        },
        {"path": "test/many/broken.png", "reason": "is empty (0 bytes)"},
    ]
    assert audit["warnings"] == [
        "1 image in more than one split: the test is not honest",
        "2 files cannot be used",
        "class 'few' has a single image in train",
        "class 'many' has a single image in test",
        "class 'none' is empty in train",
        "class 'zebra' is not in train",
        "1 image in more than one class: the labels disagree",
        "class 'many' has 27 times the images of class 'few'",
    ]


def test_a_single_class_and_nothing_readable(tmp_path: Path) -> None:
    (tmp_path / "only").mkdir()
    (tmp_path / "only/1.png").write_text("text")
    audit = audit_images(tmp_path)
    assert audit["images"] == 0
    assert audit["width"] is None
    assert "there is a single class; a classifier needs two" in audit["warnings"]


def test_ten_to_one_is_not_yet_imbalance(tmp_path: Path) -> None:
    for value in range(20):
        picture(tmp_path / f"a/{value}.png", value)
    picture(tmp_path / "b/1.png", 100)
    picture(tmp_path / "b/2.png", 101)
    assert audit_images(tmp_path)["warnings"] == []
    picture(tmp_path / "a/more.png", 50)
    assert len(audit_images(tmp_path)["warnings"]) == 1


def test_duplicates_are_capped_but_counted(tmp_path: Path) -> None:
    for value in range(SHOWN_GROUPS + 5):
        for copy in "xy":
            picture(tmp_path / f"a/{value}{copy}.png", value)
    within = audit_images(tmp_path)["duplicates"]["within_splits"]
    assert (within["groups"], within["images"]) == (SHOWN_GROUPS + 5, 2 * SHOWN_GROUPS + 10)
    assert len(within["shown"]) == SHOWN_GROUPS


def test_a_missing_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no folder"):
        audit_images(tmp_path / "none")


def test_a_loaded_set_has_the_same_keys(tmp_path: Path) -> None:
    store = np.arange(8, dtype=np.uint8)[:, None, None, None] * np.ones((8, 1, 5, 3), np.uint8)
    store[6] = store[0]
    store[3] = store[2]
    rows = np.arange(8)
    labels = np.array([0, 1, 0, 0, 1, 1, 0, 1])
    split = ImageSplit(store, rows, labels)
    dataset = ImageDataset(
        name="set",
        class_names=("a", "b"),
        train=split.subset(np.arange(6)),
        validation=None,
        test=split.subset(np.array([6, 7])),
        source="somewhere",
        sha256={},
        skipped=(Skipped("x.png", "is empty"),),
    )
    audit = audit_dataset(dataset)
    picture(tmp_path / "a/1.png", 1)
    assert set(audit) == set(audit_images(tmp_path))
    assert audit["layout"] == "loaded"
    assert audit["splits"] == {"train": 6, "test": 2}
    assert audit["classes"] == {"a": {"train": 3, "test": 1}, "b": {"train": 3, "test": 1}}
    assert audit["width"] == {"min": 3, "median": 3.0, "max": 3}
    assert audit["height"] == {"min": 5, "median": 5.0, "max": 5}
    assert audit["modes"] == {"L": 8}
    assert audit["duplicates"]["across_splits"]["shown"] == [["train/0", "test/0"]]
    assert audit["duplicates"]["within_splits"]["shown"] == [["train/2", "train/3"]]
    assert audit["bad_files"] == [{"path": "x.png", "reason": "is empty"}]
    assert json.loads(json.dumps(audit)) == audit
