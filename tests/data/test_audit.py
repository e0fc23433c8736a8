"""What `qkv data inspect` is told of files, and of a set that is loaded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from qkv.data.audit import (
    BEGINNING,
    SHOWN_GROUPS,
    SHOWN_NAMES,
    audit_dataset,
    audit_images,
    audit_text_dataset,
    audit_texts,
)
from qkv.data.dataset import ImageDataset, ImageSplit, IntArray, Skipped, TextDataset, TextSplit
from qkv.data.text_files import TextTableSettings
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


NONE = {"groups": 0, "texts": 0, "shown": []}
NO_COPIES = {"within_splits": NONE, "across_splits": NONE}


def words(texts: list[str]) -> IntArray:
    """Tokens of a tokenizer that knows every word."""
    return np.array([len(text.split()) for text in texts], dtype=np.int64)


def table(path: Path, *rows: str, head: str = "text,label") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{row}\n" for row in (head, *rows)), encoding="utf-8")
    return path


def group(names: list[str], beginning: str, texts: int | None = None) -> dict[str, Any]:
    return {"texts": texts or len(names), "names": names, "beginning": beginning}


def test_a_sound_table(tmp_path: Path) -> None:
    path = table(tmp_path / "a.csv", *(f"{'word ' * n}end,{n % 2}" for n in range(1, 22)))
    seen: list[tuple[int, int]] = []
    audit = audit_texts(
        path, token_counts=words, positions=22, progress=lambda *step: seen.append(step)
    )
    assert audit == {
        "source": str(path.resolve()),
        "layout": "file",
        "columns": {"text": "text", "label": "label"},
        "texts": 21,
        "splits": {"undivided": 21},
        "classes": {"0": {"undivided": 10}, "1": {"undivided": 11}},
        "characters": {
            "min": 8,
            "p5": 13,
            "p25": 33,
            "p50": 58,
            "p75": 83,
            "p95": 103,
            "p99": pytest.approx(107),
            "max": 108,
        },
        "tokens": {
            "min": 2,
            "p5": 3,
            "p25": 7,
            "p50": 12,
            "p75": 17,
            "p95": 21,
            "p99": pytest.approx(21.8),
            "max": 22,
        },
        # 21 and 22 words and two special tokens
        "too_long": {"positions": 22, "texts": 2, "share": 2 / 21},
        "duplicates": NO_COPIES,
        "near_duplicates": NO_COPIES,
        "conflicting_labels": NONE,
        "bad_rows": [],
        "notes": ["columns guessed in a.csv: text 'text', label 'label' (of 'text', 'label')"],
        "warnings": [],
    }
    assert seen[-1] == (path.stat().st_size, path.stat().st_size)
    assert json.loads(json.dumps(audit, allow_nan=False)) == audit
    plain = audit_texts(path)
    assert (plain["tokens"], plain["too_long"]) == (None, None)
    assert audit_texts(path, token_counts=words)["too_long"] is None
    assert {key: plain[key] for key in plain if key not in {"tokens", "too_long"}} == {
        key: audit[key] for key in audit if key not in {"tokens", "too_long"}
    }


def test_texts_everything_wrong_is_told_at_once(tmp_path: Path) -> None:
    rows = [f"text {n},many" for n in range(25)]
    table(tmp_path / "train.csv", *rows, "text 3,many", "text 4,few", "A  text,many", "a text,many")
    table(
        tmp_path / "test.csv",
        "text 5,many",
        "TEXT  6,many",
        "zoo,zebra",
        "zoo two,zebra",
        ",many",
        "x,y,z",
    )
    audit = audit_texts(tmp_path)
    assert audit["layout"] == "files"
    assert audit["splits"] == {"train": 29, "test": 4}
    assert audit["classes"] == {
        "few": {"train": 1, "test": 0},
        "many": {"train": 28, "test": 2},
        "zebra": {"test": 2},
    }
    assert audit["duplicates"] == {
        "within_splits": {
            "groups": 2,
            "texts": 4,
            "shown": [
                group(["train.csv:5", "train.csv:27"], "text 3"),
                group(["train.csv:6", "train.csv:28"], "text 4"),
            ],
        },
        "across_splits": {
            "groups": 1,
            "texts": 2,
            "shown": [group(["train.csv:7", "test.csv:2"], "text 5")],
        },
    }
    assert audit["near_duplicates"] == {
        "within_splits": {
            "groups": 1,
            "texts": 2,
            "shown": [group(["train.csv:29", "train.csv:30"], "A  text")],
        },
        "across_splits": {
            "groups": 1,
            "texts": 2,
            "shown": [group(["train.csv:8", "test.csv:3"], "text 6")],
        },
    }
    assert audit["conflicting_labels"] == {
        "groups": 1,
        "texts": 2,
        "shown": [group(["train.csv:6", "train.csv:28"], "text 4")],
    }
    assert audit["bad_rows"] == [
        {"path": "test.csv:6", "reason": "has no text"},
        {"path": "test.csv:7", "reason": "has 3 cells where the header has 2"},
    ]
    assert audit["warnings"] == [
        "1 text in more than one split: the test is not honest",
        "1 text in more than one split but for capitals and white space",
        "2 rows cannot be used",
        "class 'few' has a single text in train",
        "class 'few' is empty in test",
        "class 'zebra' is not in train",
        "1 text in more than one class: the labels disagree",
        "class 'many' has 30 times the texts of class 'few'",
    ]


def test_small_classes_and_a_single_one(tmp_path: Path) -> None:
    rows = [f"text {n},a" for n in range(10)]
    audit = audit_texts(table(tmp_path / "a.csv", *rows, *(f"t{n},b" for n in range(9))))
    assert audit["warnings"] == ["class 'b' has only 9 texts in undivided"]
    audit = audit_texts(table(tmp_path / "a.csv", *rows))
    assert audit["warnings"] == ["there is a single class; a classifier needs two"]


def test_texts_ten_to_one_is_not_yet_imbalance(tmp_path: Path) -> None:
    rows = [f"text {n},a" for n in range(100)] + [f"t{n},b" for n in range(10)]
    assert audit_texts(table(tmp_path / "a.csv", *rows))["warnings"] == []
    audit = audit_texts(table(tmp_path / "a.csv", *rows, "more,a"))
    assert audit["warnings"] == ["class 'a' has 10 times the texts of class 'b'"]


def test_nothing_that_can_be_used(tmp_path: Path) -> None:
    audit = audit_texts(table(tmp_path / "a.csv", ",a", "b,"), token_counts=words, positions=9)
    assert (audit["texts"], audit["splits"], audit["classes"]) == (0, {"undivided": 0}, {})
    assert audit["characters"] is None
    assert audit["tokens"] is None
    assert audit["too_long"] is None
    assert len(audit["bad_rows"]) == 2


def test_texts_duplicates_are_capped_but_counted(tmp_path: Path) -> None:
    rows = [f"{'x' * 100} {n},{'ab'[n % 2]}" for n in range(SHOWN_GROUPS + 5)] * 7
    within = audit_texts(table(tmp_path / "a.csv", *rows))["duplicates"]["within_splits"]
    assert (within["groups"], within["texts"]) == (SHOWN_GROUPS + 5, 7 * (SHOWN_GROUPS + 5))
    assert len(within["shown"]) == SHOWN_GROUPS
    assert within["shown"][0] == group(
        [f"a.csv:{2 + copy * (SHOWN_GROUPS + 5)}" for copy in range(SHOWN_NAMES)],
        "x" * BEGINNING,
        texts=7,
    )


def test_a_leak_is_shown_however_many_copies_stand_before_it(tmp_path: Path) -> None:
    table(tmp_path / "train.csv", *["same,a"] * 9, "same,b")
    table(tmp_path / "test.csv", "same,a")
    audit = audit_texts(tmp_path)
    names = ["train.csv:2", "train.csv:11", "test.csv:2", "train.csv:3", "train.csv:4"]
    for found in (audit["duplicates"]["across_splits"], audit["conflicting_labels"]):
        assert found["shown"] == [group(names, "same", texts=11)]


def test_folders_of_text_files(tmp_path: Path) -> None:
    for number in range(12):
        path = tmp_path / "ab"[number % 2] / f"{number:02}.txt"
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"text {number}")
    (tmp_path / "c").mkdir()
    (tmp_path / "a" / "page.html").write_text("x")
    audit = audit_texts(tmp_path)
    assert (audit["layout"], audit["columns"], audit["texts"]) == ("classes", None, 12)
    assert audit["classes"] == {
        "a": {"undivided": 6},
        "b": {"undivided": 6},
        "c": {"undivided": 0},
    }
    assert audit["bad_rows"] == [{"path": "a/page.html", "reason": "is not a .txt file"}]
    assert audit["warnings"][:2] == [
        "1 file cannot be used",
        "class 'a' has only 6 texts in undivided",
    ]
    (tmp_path / "split" / "train").mkdir(parents=True)
    for name in "ab":
        (tmp_path / name).rename(tmp_path / "split" / "train" / name)
    assert audit_texts(tmp_path / "split")["layout"] == "splits"


def test_columns_and_labels_that_cannot_be_audited(tmp_path: Path) -> None:
    path = table(tmp_path / "a.csv", *(f"text {n},{n}" for n in range(50)), head="a,b")
    with pytest.raises(DataError, match="not clear which column holds the texts"):
        audit_texts(path)
    with pytest.raises(DataError, match="column 'b' of a.csv has 50 different labels"):
        audit_texts(path, TextTableSettings(text_column="a"))
    with pytest.raises(DataError, match="there is no file or folder"):
        audit_texts(tmp_path / "none")


def test_texts_a_loaded_set_has_the_same_keys(tmp_path: Path) -> None:
    train = ("good", "bad", "good", "fine", "poor", "so")
    dataset = TextDataset(
        name="set",
        class_names=("neg", "pos"),
        train=TextSplit(train, np.array([1, 0, 0, 1, 0, 1])),
        validation=None,
        test=TextSplit(("so", "  SO"), np.array([1, 0]), ("a", "b")),
        source="somewhere",
        sha256={},
        skipped=(Skipped("x.csv:3", "has no text"),),
        notes=("a remark",),
    )
    audit = audit_text_dataset(dataset, token_counts=words, positions=3)
    assert set(audit) == set(audit_texts(table(tmp_path / "a.csv", "x,1")))
    assert (audit["layout"], audit["columns"]) == ("loaded", None)
    assert audit["source"] == "somewhere"
    assert audit["splits"] == {"train": 6, "test": 2}
    assert audit["classes"] == {"neg": {"train": 3, "test": 1}, "pos": {"train": 3, "test": 1}}
    assert audit["duplicates"]["within_splits"]["shown"] == [group(["train/0", "train/2"], "good")]
    assert audit["duplicates"]["across_splits"]["shown"] == [group(["train/5", "a"], "so")]
    near = audit["near_duplicates"]["across_splits"]
    assert near["shown"] == [group(["train/5", "a", "b"], "so")]
    assert audit["conflicting_labels"]["shown"] == [group(["train/0", "train/2"], "good")]
    assert audit["tokens"]["max"] == 1
    assert audit["too_long"] == {"positions": 3, "texts": 0, "share": 0.0}
    assert audit["bad_rows"] == [{"path": "x.csv:3", "reason": "has no text"}]
    assert audit["notes"] == ["a remark"]
    assert json.loads(json.dumps(audit)) == audit
