"""The user's own texts from files to splits, and each message a user may meet."""

from __future__ import annotations

import csv
import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qkv.data.dataset import Skipped, TextDataset, TextSplit, texts_sha256
from qkv.data.text_files import TextTableSettings
from qkv.data.text_table import load_labelled_texts, load_text_table, read_texts
from qkv.errors import BadFilesError, DataError

Rows = Sequence[tuple[str, object]]


def reviews(count: int, labels: Sequence[object] = ("neg", "pos"), start: int = 0) -> Rows:
    """Texts of which no two are alike, with the labels in turn."""
    return [(f"text {n}", labels[n % len(labels)]) for n in range(start, start + count)]


def write(path: Path, rows: Iterable[tuple[object, object]], *head: str) -> Path:
    """A table in the format of the path's suffix."""
    names = head or ("text", "label")
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(dict(zip(names, r, strict=True))) + "\n" for r in rows))
    elif path.suffix == ".parquet":
        columns = zip(*rows, strict=True)
        table = pa.table({name: list(c) for name, c in zip(names, columns, strict=True)})
        pyarrow.parquet.write_table(table, path)
    else:
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, delimiter="\t" if path.suffix == ".tsv" else ",")
            writer.writerow(names)
            writer.writerows(rows)
    return path


def splits_of(dataset: TextDataset) -> dict[str, TextSplit]:
    named = {"train": dataset.train, "validation": dataset.validation, "test": dataset.test}
    return {name: split for name, split in named.items() if split is not None}


def load(path: Path, **options: Any) -> TextDataset:
    return load_text_table(path, options.pop("settings", None), seed=3, **options)


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".ndjson", ".parquet", ".CSV"])
def test_one_table_of_any_format(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"reviews{suffix}"
    rows = reviews(60, (1, 2, 10))
    write(tmp_path / f"x{'.jsonl' if suffix == '.ndjson' else suffix.lower()}", rows).rename(path)
    dataset = load(path)
    assert dataset.name == "reviews"
    assert dataset.class_names == ("1", "2", "10")
    assert dataset.source == f"file {path.resolve()}"
    assert dataset.sha256 == {path.name: hashlib.sha256(path.read_bytes()).hexdigest()}
    assert dataset.skipped == ()
    assert dataset.notes == (
        f"columns guessed in {path.name}: text 'text', label 'label' (of 'text', 'label')",
        "carved from the train texts by seed 3: 6 for validation and 6 for test",
    )
    splits = splits_of(dataset)
    assert {name: len(split) for name, split in splits.items()} == {
        "train": 48,
        "validation": 6,
        "test": 6,
    }
    first = 1 if suffix in {".jsonl", ".ndjson", ".parquet"} else 2
    for split in splits.values():
        assert len(set(Counter(split.labels.tolist()).values())) == 1
        for text, label, name in zip(split.texts, split.labels, split.names, strict=True):
            row = int(name.removeprefix(f"{path.name}:")) - first
            assert rows[row] == (text, int(dataset.class_names[label]))


def test_the_seed_draws_the_split(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", reviews(100))
    first = load_text_table(path, seed=1)
    for seed, same in ((1, True), (2, False)):
        again = load_text_table(path, seed=seed)
        assert first.test is not None
        assert again.test is not None
        assert (again.test.names == first.test.names) is same
        assert again.sha256 == first.sha256


def test_fractions_and_columns_are_settings(tmp_path: Path) -> None:
    rows = [(f"text {n}", n % 2) for n in range(100)]
    path = write(tmp_path / "a.csv", rows, "what is said", "how it is meant")
    settings = TextTableSettings(
        text_column="what is said",
        label_column="how it is meant",
        validation_fraction=0.3,
        test_fraction=0.2,
    )
    dataset = load(path, settings=settings)
    assert {name: len(split) for name, split in splits_of(dataset).items()} == {
        "train": 50,
        "validation": 30,
        "test": 20,
    }
    assert dataset.notes == (
        "carved from the train texts by seed 3: 30 for validation and 20 for test",
    )


def test_the_smallest_class_gives_each_split_one_whatever_the_fractions(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", [*reviews(20, ("many",)), *reviews(3, ("few",), start=50)])
    dataset = load(path, settings=TextTableSettings(validation_fraction=0.45, test_fraction=0.5))
    assert [split.labels.tolist().count(0) for split in splits_of(dataset).values()] == [1, 1, 1]
    assert [len(split) - 1 for split in splits_of(dataset).values()] == [1, 9, 10]


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["a", "A", " a", "b", "B  b", "b\tb", "c", "d", "e"]),
            st.sampled_from("xy"),
        ),
        max_size=40,
    ),
    st.integers(0, 5),
)
def test_carved_sides_never_share_a_text(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]], seed: int
) -> None:
    enough = [(f"{label} {n}", label) for label in "xy" for n in range(3)]
    path = write(tmp_path_factory.mktemp("carve") / "a.csv", [*rows, *enough])
    dataset = load_text_table(path, seed=seed)
    splits = splits_of(dataset)
    sides = [{" ".join(t.lower().split()) for t in split.texts} for split in splits.values()]
    assert sum(map(len, sides)) == len(set.union(*sides))
    names = [name for split in splits.values() for name in split.names]
    assert len(names) == len(set(names)) == len(rows) + len(enough)
    for split in splits.values():
        assert set(split.labels.tolist()) == {0, 1} or rows  # a unit counts for its first label
    assert not any("in both" in note for note in dataset.notes)


@pytest.mark.parametrize(
    ("train", "validation", "test"),
    [
        ("train.csv", "val.csv", "test.csv"),
        ("train.csv", "validation.jsonl", "test.tsv"),
        ("Train.parquet", "valid.csv", "TEST.csv"),
        ("train.tsv", "dev.tsv", "test.tsv"),
        ("train.csv", None, "test.csv"),
        ("train.csv", "val.csv", None),
        ("train.csv", None, None),
    ],
)
def test_a_table_for_each_split(
    train: str, validation: str | None, test: str | None, tmp_path: Path
) -> None:
    root = tmp_path / "data"
    write(root / train, reviews(40))
    (root / "README.md").write_text("other files are left alone")
    write(root / "unlabelled.csv", [("a", "b")], "x", "y")
    if validation:
        write(root / validation, reviews(6, start=100))
    if test:
        write(root / test, reviews(4, ("pos",), start=200))
    dataset = load(root)
    assert dataset.name == "data"
    assert dataset.source == f"folder {root.resolve()}"
    assert set(dataset.sha256) == {train, validation, test} - {None}
    sizes = {name: len(split) for name, split in splits_of(dataset).items()}
    carved = {"validation": validation is None, "test": test is None}
    assert sizes == {
        "train": 40 - 4 * sum(carved.values()),
        "validation": 6 if validation else 4,
        "test": 4,
    }
    places = {"train": train, "validation": validation or train, "test": test or train}
    for name, split in splits_of(dataset).items():
        assert {place.rpartition(":")[0] for place in split.names} == {places[name]}
    taken = [f"4 for {name}" for name, is_carved in carved.items() if is_carved]
    assert [note for note in dataset.notes if "carved" in note] == (
        [f"carved from the train texts by seed 3: {' and '.join(taken)}"] if taken else []
    )


def test_a_link_keeps_its_own_name(tmp_path: Path) -> None:
    """As in the cache of the hub, where files are named by their hashes."""
    write(tmp_path / "blob.csv", reviews(12)).rename(tmp_path / "0123abcd")
    for name in ("one.csv", "data/train.csv"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).symlink_to(tmp_path / "0123abcd")
    assert load(tmp_path / "one.csv").train.names[0].startswith("one.csv:")
    assert load(tmp_path / "data").train.names[0].startswith("train.csv:")


def test_shards_of_a_split_are_read_in_order(tmp_path: Path) -> None:
    write(tmp_path / "train-00001-of-00002.parquet", reviews(6, (0, 1), start=6))
    write(tmp_path / "train-00000-of-00002.parquet", reviews(6, (0, 1)))
    write(tmp_path / "validation-00000-of-00001.parquet", reviews(2, (0, 1), start=50))
    write(tmp_path / "test-00000-of-00001.parquet", reviews(2, (0, 1), start=60))
    write(tmp_path / "unsupervised-00000-of-00001.parquet", reviews(2, (-1,), start=70))
    dataset = load(tmp_path)
    assert dataset.train.texts == tuple(f"text {n}" for n in range(12))
    assert dataset.train.names[6] == "train-00001-of-00002.parquet:1"
    assert dataset.class_names == ("0", "1")


def test_copies_are_counted_and_named(tmp_path: Path) -> None:
    train = [*reviews(10), ("text 1", "pos"), ("text 1", "pos"), ("text 2", "pos")]
    write(tmp_path / "train.csv", train)
    write(tmp_path / "val.csv", [("text 1", "pos"), ("new", "neg"), ("new", "pos")])
    write(tmp_path / "test.csv", [("text 5", "neg"), *reviews(4)])
    assert load(tmp_path).notes[1:] == (
        "2 texts occur more than once in train (5 rows)",
        "1 text occurs more than once in validation (2 rows)",
        "1 text occurs in both train and validation: train.csv:3 = val.csv:2",
        "5 texts occur in both train and test: train.csv:2 = test.csv:3, train.csv:3 = test.csv:4, "
        "train.csv:4 = test.csv:5 (and 2 more)",
        "1 text occurs in both validation and test: val.csv:2 = test.csv:4",
        "3 texts occur under different labels: train.csv:4 = train.csv:14, "
        "train.csv:7 = test.csv:2, val.csv:3 = val.csv:4",
    )


BAD_CSV = (
    "text,label\n"
    + "".join(f"text {n},{'ab'[n % 2]}\n" for n in range(10))
    + 'one,two,three\n"two\nlines",a\n,a\n  ,a\nno label,\nnul\0,a\n"x" y,a\n'
).encode() + b"caf\xe9,b\n"
BAD_CSV_ROWS = {
    "a.csv:12": "has 3 cells where the header has 2",
    "a.csv:15": "has no text",
    "a.csv:16": "has a text of white space only",
    "a.csv:17": "has no label",
    "a.csv:18": "has a NUL character in its text",
    "a.csv:19": "has letters after a closing quote (a quote within a cell is written twice)",
    "a.csv:20": "has a byte 0xe9 that is not UTF-8",
}


def test_bad_rows_stop_and_are_all_listed(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(BAD_CSV)
    for read in (load, lambda path: load_labelled_texts(path, ["a", "b"])):
        with pytest.raises(BadFilesError) as caught:
            read(path)
        assert dict(caught.value.files) == BAD_CSV_ROWS
        message = str(caught.value)
        assert f"7 of 18 rows in {path.resolve()} cannot be used: a.csv:12 has 3 cells" in message
        assert "white space only; and 4 more; save the file as UTF-8, repair or" in message
        assert message.endswith("or leave them out with --skip-bad")
    dataset = load(path, skip_bad=True)
    expected = tuple(Skipped(name, reason) for name, reason in BAD_CSV_ROWS.items())
    assert dataset.skipped == expected
    assert sum(map(len, splits_of(dataset).values())) == 11
    assert any("a.csv:13" in split.names for split in splits_of(dataset).values())
    split, skipped = load_labelled_texts(path, ["a", "b"], skip_bad=True)
    assert (len(split), skipped) == (11, expected)


def test_bad_rows_of_json_lines(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", reviews(10))
    with path.open("a") as file:
        file.write('{"text": "half \\ud83d", "label": "pos"}\n[]\n{"text": 3, "label": "pos"}\n')
        file.write('{"label": "pos"}\n{"text": "a", "label": null}\n{"text": "a", "label": [1]}\n')
    with pytest.raises(BadFilesError) as caught:
        load(path)
    assert caught.value.files == (
        ("a.jsonl:11", r"has half a surrogate pair (\ud83d) in its text"),
        ("a.jsonl:12", "is an array, not a JSON object"),
        ("a.jsonl:13", "has a number for a text"),
        ("a.jsonl:14", "has no text"),
        ("a.jsonl:15", "has no label"),
        ("a.jsonl:16", "has a list for a label"),
    )
    assert "UTF-8" not in str(caught.value)


@pytest.mark.parametrize("skip_bad", [True, False])
def test_nothing_but_bad_rows(skip_bad: bool, tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", [("", "a"), ("b", "")])
    with pytest.raises(BadFilesError, match="none of the 2 rows in .* can be used: a.csv:2") as e:
        load(path, skip_bad=skip_bad)
    assert "--skip-bad" not in str(e.value)


def test_numbers_words_and_booleans_are_the_same_labels_in_every_file(tmp_path: Path) -> None:
    write(tmp_path / "train.csv", [(f"t{n}", ["1", "0", "1.0"][n % 3]) for n in range(12)])
    write(tmp_path / "val.jsonl", [("v", 1), ("w", 0.0)])
    write(tmp_path / "test.parquet", [("x", 1.0), ("y", None)])
    dataset = load(tmp_path, skip_bad=True)
    assert dataset.class_names == ("0", "1")
    assert [s.labels.tolist() for s in (dataset.validation, dataset.test) if s] == [[1, 0], [1]]
    assert dataset.skipped == (Skipped("test.parquet:2", "has no label"),)
    write(tmp_path / "b.csv", [(f"t{n}", n % 2 == 0) for n in range(12)])
    assert load(tmp_path / "b.csv").class_names == ("false", "true")


NO_SPLIT = "needs at least 3 .one each for train, test, validation."


@pytest.mark.parametrize(
    ("files", "name", "message"),
    [
        ({}, "none.csv", "there is no file or folder .*none.csv; check the path"),
        ({"a.doc": "text"}, "a.doc", "is not a table that can be read; name a file that ends in"),
        ({"a.json": "{}"}, "a.json", "write one JSON object a line and end its name in .jsonl"),
        ({}, "", "data has no class folders; name a table, a folder with a table called"),
        (
            {"a.csv": reviews(5, ("pos",))},
            "a.csv",
            "a.csv has a single class, 'pos'; add texts of a second class, or name the",
        ),
        (
            {"a.csv": [*reviews(8), ("rare text", "odd")]},
            "a.csv",
            rf"class 'odd' has 1 distinct text \(a.csv:10\), {NO_SPLIT}",
        ),
        (
            {"a.csv": [*reviews(8), ("x", "odd"), ("X", "odd"), ("x ", "odd")]},
            "a.csv",
            r"class 'odd' has 1 distinct text \(a.csv:10\)",
        ),
        ({"a.csv": [(f"t{n}", n / 3) for n in range(100)]}, "a.csv", "look like measurements"),
        ({"a.csv": []}, "a.csv", "data/a.csv has no rows"),
        (
            {"test.csv": reviews(3)},
            "",
            "data has test.csv but no train table; add one, or name a file itself",
        ),
        (
            {"train.csv": reviews(3), "train.jsonl": reviews(3)},
            "",
            "several tables for train .train.csv, train.jsonl.; keep one of them",
        ),
        (
            {"train.csv": reviews(3), "test/a.txt": "a"},
            "",
            "tables for splits beside the folder test; keep one or the other",
        ),
        (
            {"reviews.csv": reviews(3)},
            "",
            r"no table called train \(reviews.csv\); name the file itself: .*s.csv",
        ),
        (
            {
                "train.csv": reviews(9),
                "test.csv": [("a", "pos"), ("b", "meh"), ("c", "so"), ("d", "meh")],
            },
            "",
            r"test.csv:3 has the label 'meh', which no text of train has \(and 1 more labels",
        ),
        (
            {"train.csv": reviews(9), "test.csv": "text,class\na,b\n"},
            "",
            "test.csv has no column 'label'; its columns are 'text', 'class'",
        ),
        (
            {
                "train.csv": [*reviews(4), ("x", "odd")],
                "val.csv": reviews(2, start=50),
                "test.csv": reviews(2, start=60),
            },
            "",
            r"class 'odd' has 1 distinct text \(train.csv:6\), .* 2 to train on",
        ),
    ],
)
def test_what_cannot_be_loaded(
    files: dict[str, str | Rows], name: str, message: str, tmp_path: Path
) -> None:
    root = tmp_path / "data"
    root.mkdir()
    for file, content in files.items():
        if isinstance(content, str):
            (root / file).parent.mkdir(exist_ok=True)
            (root / file).write_text(content)
        else:
            write(root / file, content)
    with pytest.raises(DataError, match=message):
        load(root / name)


def test_evaluation_takes_the_test_split_or_the_whole_table(tmp_path: Path) -> None:
    write(tmp_path / "train.csv", reviews(4))
    test = write(tmp_path / "test.csv", [("a", "pos"), ("b", " neg"), ("b", "neg")])
    for path in (tmp_path, test):
        split, skipped = load_labelled_texts(path, ["pos", "neg", "unseen"])
        assert split.texts == ("a", "b", "b")
        assert split.labels.tolist() == [0, 1, 1]
        assert split.names == ("test.csv:2", "test.csv:3", "test.csv:4")
        assert skipped == ()
    test.unlink()
    with pytest.raises(DataError, match="has no test table; name a table itself"):
        load_labelled_texts(tmp_path, ["pos", "neg"])


def test_evaluation_names_the_first_row_of_an_unknown_label(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", [("a", "pos"), ("b", "meh"), ("c", "meh"), ("d", "so-so")])
    with pytest.raises(DataError) as caught:
        load_labelled_texts(path, ["neg", "pos"])
    assert str(caught.value) == (
        "a.csv:3 has the label 'meh', which is not one of the model's (and 1 more labels alike); "
        "the model knows 'neg', 'pos'"
    )


def test_evaluation_matches_labels_of_equal_meaning(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", [("a", True), ("b", False), ("c", "1.0"), ("d", "01")])
    split, _ = load_labelled_texts(path, ["True", "False", "1.0", "01"])
    assert split.labels.tolist() == [0, 1, 2, 3]


def test_texts_to_predict(tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.csv",
        [("1", "first"), ("2", ""), ("3", " "), ("4", "l\nm"), ("5", "z")],
        "id",
        "words",
    )
    names, texts = read_texts(path)
    assert texts == ["first", "", " ", "l\nm", "z"]
    assert names == [f"a.csv:{line}" for line in (2, 3, 4, 5, 7)]
    assert read_texts(path, "id")[1] == list("12345")
    nothing = write(tmp_path / "b.jsonl", [("a", 1), (None, 2)])
    assert read_texts(nothing) == (["b.jsonl:1", "b.jsonl:2"], ["a", ""])


def test_rows_that_cannot_be_predicted_are_listed(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b"text,x\nfine,1\nshort\ncaf\xe9,1\nnul\0,1\n")
    with pytest.raises(BadFilesError, match="3 of 4 rows in .* cannot be read: a.csv:3 ") as caught:
        read_texts(path)
    assert [name for name, _ in caught.value.files] == ["a.csv:3", "a.csv:4", "a.csv:5"]
    with pytest.raises(DataError, match="there is no file"):
        read_texts(tmp_path / "none.csv")
    with pytest.raises(DataError, match="is not a table that can be read"):
        read_texts(tmp_path)


def test_progress_is_in_bytes_of_all_files(tmp_path: Path) -> None:
    train = write(tmp_path / "train.csv", reviews(3000))
    test = write(tmp_path / "test.jsonl", reviews(3000, start=5000))
    total = train.stat().st_size + test.stat().st_size
    seen: list[tuple[int, int]] = []
    load(tmp_path, progress=lambda *step: seen.append(step))
    assert {all_bytes for _, all_bytes in seen} == {total}
    assert seen == sorted(seen)
    assert len(seen) > 4
    assert (train.stat().st_size, total) in seen
    assert seen[-1] == (total, total)


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
def test_folders_that_cannot_be_loaded(
    folders: dict[str, int], message: str, tmp_path: Path
) -> None:
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
