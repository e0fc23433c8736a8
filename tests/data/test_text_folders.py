"""Folders of text files: classes, splits, and what is no text."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from qkv.data.dataset import Skipped, texts_sha256
from qkv.data.text_table import load_labelled_texts, load_text_table
from qkv.errors import BadFilesError, DataError


def folder(root: Path, classes: dict[str, int], start: int = 0) -> Path:
    number = start
    for name, count in classes.items():
        for _ in range(count):
            (root / name).mkdir(parents=True, exist_ok=True)
            (root / name / f"{number:03}.txt").write_text(f"text {number}\r\n", newline="")
            number += 1
    return root


def test_class_folders(tmp_path: Path) -> None:
    root = folder(tmp_path / "reviews", {"pos": 20, "neg": 10})
    (root / "pos" / "deep").mkdir()
    (root / "pos" / "000.txt").rename(root / "pos" / "deep" / "000.TXT")
    (root / "pos" / ".hidden.txt").write_text("x")
    (root / "pos" / "Thumbs.db").write_text("x")
    (root / "notes.md").write_text("x")
    dataset = load_text_table(root, seed=3)
    assert dataset.name == "reviews"
    assert dataset.class_names == ("neg", "pos")
    assert dataset.notes == (
        "carved from the train texts by seed 3: 3 for validation and 3 for test",
    )
    assert dataset.validation is not None
    assert dataset.test is not None
    splits = (dataset.train, dataset.validation, dataset.test)
    assert [len(split) for split in splits] == [24, 3, 3]
    names = [name for split in splits for name in split.names]
    assert len(names) == 30
    assert "pos/deep/000.TXT" in names
    for split in splits:
        for text, label, name in zip(split.texts, split.labels, split.names, strict=True):
            assert dataset.class_names[label] == name.split("/")[0]
            assert text == f"text {int(Path(name).stem)}\r\n"
    in_order = sorted(path for path in root.rglob("*") if path.stem.isdigit())
    expected = texts_sha256(path.read_bytes().decode() for path in in_order)
    assert dataset.sha256 == {"texts": expected}


def test_given_splits(tmp_path: Path) -> None:
    folder(tmp_path / "train", {"2": 3, "10": 3})
    folder(tmp_path / "Validation", {"2": 1, "10": 1}, start=10)
    folder(tmp_path / "test", {"10": 2}, start=20)
    dataset = load_text_table(tmp_path, seed=3)
    assert dataset.class_names == ("2", "10")
    assert dataset.test is not None
    assert dataset.test.labels.tolist() == [1, 1]
    assert dataset.test.names == ("test/10/020.txt", "test/10/021.txt")
    assert dataset.notes == ()
    split, _ = load_labelled_texts(tmp_path, ["10", "2"])
    assert split.labels.tolist() == [0, 0]
    undivided, _ = load_labelled_texts(tmp_path / "train", ["10", "2"])
    assert undivided.labels.tolist() == [0, 0, 0, 1, 1, 1]
    with pytest.raises(DataError, match=r"test/10/020.txt has the label '10', which is not one of"):
        load_labelled_texts(tmp_path, ["1", "2"])


def test_bad_files(tmp_path: Path) -> None:
    root = folder(tmp_path / "data", {"a": 4, "b": 4})
    (root / "a" / "empty.txt").write_text("")
    (root / "a" / "blank.txt").write_text(" \n")
    (root / "a" / "latin.txt").write_bytes(b"caf\xe9")
    (root / "a" / "nul.txt").write_text("a\0")
    (root / "a" / "page.html").write_text("a")
    (root / "a" / "lost.txt").symlink_to(root / "nowhere.txt")
    (tmp_path / "outside.txt").write_text("a")
    (root / "a" / "out.txt").symlink_to(tmp_path / "outside.txt")
    os.mkfifo(root / "a" / "pipe.txt")
    (root / "linked").symlink_to(root / "a")
    (root / "loose.txt").write_text("a")
    expected = [
        ("a/blank.txt", "has a text of white space only"),
        ("a/empty.txt", "has no text"),
        ("a/latin.txt", "has a byte 0xe9 that is not UTF-8"),
        ("a/lost.txt", "is a link to nothing"),
        ("a/nul.txt", "has a NUL character in its text"),
        ("a/out.txt", "is a link that leaves the folder"),
        ("a/page.html", "is not a .txt file"),
        ("a/pipe.txt", "is not a regular file"),
        ("linked", "is a link to a folder, which is not followed"),
        ("loose.txt", "lies outside any class folder, so it has no label"),
    ]
    with pytest.raises(BadFilesError, match="10 of 18 files in .* cannot be used") as caught:
        load_text_table(root, seed=3)
    assert list(caught.value.files) == expected
    dataset = load_text_table(root, seed=3, skip_bad=True)
    assert dataset.skipped == tuple(Skipped(*bad) for bad in expected)


def test_a_mark_of_byte_order_is_dropped(tmp_path: Path) -> None:
    root = folder(tmp_path / "data", {"a": 4, "b": 4})
    (root / "a" / "000.txt").write_text("word", encoding="utf-8-sig")
    split, _ = load_labelled_texts(root, ["a", "b"])
    assert split.texts[0] == "word"


@pytest.mark.parametrize(
    ("folders", "message"),
    [
        ({"pos": 3, "neg": 3, "none": 0}, "class folder 'none' has no usable text; add texts"),
        ({"pos": 3}, "data has a single class, 'pos'"),
        ({"pos": 3, "neg": 1}, r"class 'neg' has 1 distinct text \(neg/003.txt\), needs at least"),
        ({"pos": 0}, "data has no text files in its class folders"),
        ({"test/pos": 3}, "data has test but no train folder"),
        ({"test/pos": 3, "val/pos": 2}, "data has test and val but no train folder"),
        ({"train/a": 3, "val/a": 1, "valid/a": 1}, "has two validation folders .val and valid."),
        ({"train/a": 3, "test/a": 3, "more/a": 1}, "split folders .test, train. beside others"),
        ({"train/a": 3, "train/b": 3, "test/c": 1}, "test/c/006.txt has the label 'c', which no"),
        ({"train/a": 3, "train/b": 3, "test/b": 0, "test/a": 1}, "class folder 'test/b' has no"),
    ],
)
def test_what_cannot_be_loaded(folders: dict[str, int], message: str, tmp_path: Path) -> None:
    root = folder(tmp_path / "data", folders)
    for name in folders:
        (root / name).mkdir(parents=True, exist_ok=True)
    with pytest.raises(DataError, match=message):
        load_text_table(root, seed=3)


def test_progress_is_in_bytes(tmp_path: Path) -> None:
    root = folder(tmp_path / "data", {"a": 4, "b": 4})
    seen: list[tuple[int, int]] = []
    load_text_table(root, seed=3, progress=lambda *step: seen.append(step))
    assert seen == [(8 * number, 64) for number in range(1, 9)]
