"""IMDB out of folders that the user names."""

from __future__ import annotations

import gzip
import importlib.util
import json
import sys
from dataclasses import replace
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imdb_forms import (
    NAME,
    PER_CLASS,
    archive,
    facts_of,
    made_up_reviews,
    write_folders,
    write_parquet,
    write_small,
)
from qkv.data.dataset import TextDataset
from qkv.errors import DataError, MissingExtraError
from qkv.sources import cache_dir
from qkv.text.imdb import keep, load, locate
from qkv.text.imdb.packed import NAME as PACKED
from qkv.text.imdb.packed import read_packed, write_packed
from qkv.text.imdb.reviews import gather

FACTS = facts_of(archive(made_up_reviews()))
TRAIN = "train-00000-of-00001.parquet"
REVIEWS = gather(made_up_reviews(), FACTS, where="here", remedy="none")


def check_small(dataset: TextDataset) -> None:
    assert dataset.name == "imdb"
    assert dataset.class_names == ("neg", "pos")
    assert dataset.validation is None
    assert dataset.test is not None
    assert dataset.sha256 == REVIEWS.sha256
    assert dataset.notes == ()
    for split, name in ((dataset.train, "train"), (dataset.test, "test")):
        expected = REVIEWS.split(name)
        assert split.texts == expected.texts
        assert split.labels.tolist() == expected.labels.tolist()


# --- each form ------------------------------------------------------------------------------


@pytest.mark.parametrize("below", [".", "plain_text"])
def test_the_hubs_files(tmp_path: Path, below: str) -> None:
    write_parquet(tmp_path / below, made_up_reviews())
    dataset = load(tmp_path, facts=FACTS)
    check_small(dataset)
    assert dataset.source == f"folder {tmp_path}"


@pytest.mark.parametrize("below", [".", "aclImdb"])
def test_the_published_folders(tmp_path: Path, below: str) -> None:
    write_folders(tmp_path / below, made_up_reviews())
    check_small(load(tmp_path, facts=FACTS))
    assert set(locate(tmp_path, facts=FACTS).files) == {
        "train/neg",
        "train/pos",
        "test/neg",
        "test/pos",
    }


def test_the_archive_as_it_was_downloaded(tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(archive(made_up_reviews()))
    check_small(load(tmp_path, facts=FACTS))
    assert [path.name for path in tmp_path.iterdir()] == [NAME]


def test_the_caches_own_file(tmp_path: Path) -> None:
    write_packed(REVIEWS, tmp_path / PACKED, source="somewhere")
    check_small(load(tmp_path, facts=FACTS))


def test_a_named_folder_is_read_where_it_is(tmp_path: Path) -> None:
    before = set(cache_dir().rglob("*"))
    check_small(write_small(tmp_path)(tmp_path))
    assert set(cache_dir().rglob("*")) == before


def test_kept_in_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QKV_CACHE", str(tmp_path / "cache"))
    write_parquet(tmp_path / "mine", made_up_reviews())
    kept = keep(tmp_path / "mine", facts=FACTS)
    assert kept.is_relative_to(tmp_path / "cache")
    dataset = load(facts=FACTS)
    check_small(dataset)
    assert dataset.source.startswith("cache: ")


def test_other_texts_are_remarked(tmp_path: Path) -> None:
    write_parquet(tmp_path, made_up_reviews())
    facts = replace(FACTS, sha256={**REVIEWS.sha256, "test": "0" * 64})
    (note,) = load(tmp_path, facts=facts).notes
    assert "the texts or labels of test are not exactly those of IMDB as published" in note


# --- what is missing ------------------------------------------------------------------------


def test_no_such_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere is not there; name the folder that holds IMDB"):
        load(tmp_path / "nowhere", facts=FACTS)
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="file is not a folder"):
        load(tmp_path / "file", facts=FACTS)


def test_a_folder_without_the_files(tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    with pytest.raises(
        DataError, match=r"neither plain_text/\{train,test\}-\*.parquet nor aclImdb"
    ):
        load(tmp_path, facts=FACTS)


def test_one_of_the_hubs_files(tmp_path: Path) -> None:
    write_parquet(tmp_path, made_up_reviews())
    (tmp_path / TRAIN).unlink()
    with pytest.raises(DataError, match=f"does not hold IMDB: {TRAIN} is missing"):
        load(tmp_path, facts=FACTS)


def test_some_of_the_published_folders(tmp_path: Path) -> None:
    for name in ("train/neg", "train/pos", "test/pos"):
        (tmp_path / "aclImdb" / name).mkdir(parents=True)
    with pytest.raises(DataError, match="does not hold IMDB: test/neg is missing"):
        load(tmp_path, facts=FACTS)


def test_a_missing_text_file(tmp_path: Path) -> None:
    write_folders(tmp_path, made_up_reviews())
    next((tmp_path / "test/pos").glob("*.txt")).unlink()
    with pytest.raises(DataError, match="test of IMDB has 6 neg and 5 pos reviews"):
        load(tmp_path, facts=FACTS)


# --- what is wrong --------------------------------------------------------------------------


def test_a_text_file_in_another_encoding(tmp_path: Path) -> None:
    write_folders(tmp_path, made_up_reviews())
    path = min((tmp_path / "train/neg").glob("*.txt"))
    path.write_bytes("naïve".encode("latin-1"))
    with pytest.raises(DataError, match=f"{path.name} is not UTF-8"):
        load(tmp_path, facts=FACTS)


def test_a_text_file_that_cannot_be_read(tmp_path: Path) -> None:
    write_folders(tmp_path, made_up_reviews())
    path = min((tmp_path / "train/neg").glob("*.txt"))
    path.unlink()
    path.mkdir()
    with pytest.raises(DataError, match=f"{path.name} cannot be read: Is a directory"):
        load(tmp_path, facts=FACTS)


def wrong_table(folder: Path, **columns: object) -> None:
    write_parquet(folder, made_up_reviews())
    pyarrow.parquet.write_table(pyarrow.table(columns), folder / TRAIN)


def test_wrong_columns(tmp_path: Path) -> None:
    wrong_table(tmp_path, review=["a"], label=[1])
    with pytest.raises(DataError, match="has the columns review, label, not text and label"):
        load(tmp_path, facts=FACTS)


def test_wrong_types(tmp_path: Path) -> None:
    wrong_table(tmp_path, text=["a"], label=["pos"])
    with pytest.raises(DataError, match="has text as string and label as string, not as string"):
        load(tmp_path, facts=FACTS)


def test_wrong_counts(tmp_path: Path) -> None:
    wrong_table(tmp_path, text=["a"], label=[1])
    with pytest.raises(DataError, match=f"{TRAIN} has 1 rows, not 12"):
        load(tmp_path, facts=FACTS)


def test_wrong_labels(tmp_path: Path) -> None:
    wrong_table(tmp_path, text=["a"] * 12, label=[1, 0] * 5 + [-1, -1])
    with pytest.raises(DataError, match="train has label -1"):
        load(tmp_path, facts=FACTS)


@pytest.mark.parametrize("column", ["text", "label"])
def test_empty_cells(tmp_path: Path, column: str) -> None:
    columns: dict[str, list[object]] = {"text": ["a"] * 12, "label": [0, 1] * 6}
    columns[column][4] = None
    wrong_table(tmp_path, **columns)
    with pytest.raises(DataError, match=f"{TRAIN} has rows without a text or a label"):
        load(tmp_path, facts=FACTS)


def test_a_parquet_text_in_another_encoding(tmp_path: Path) -> None:
    raw = pyarrow.array([b"\xff"] * 12, pyarrow.binary()).view(pyarrow.string())
    wrong_table(tmp_path, text=raw, label=[0, 1] * 6)
    with pytest.raises(DataError, match=f"{TRAIN} has a text that is not UTF-8"):
        load(tmp_path, facts=FACTS)


@given(st.data())
def test_a_cut_or_changed_parquet_file(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.getbasetemp() / "cut-parquet"
    write_parquet(folder, made_up_reviews())
    path = folder / TRAIN
    whole = path.read_bytes()
    at = data.draw(st.integers(0, len(whole) - 1))
    path.write_bytes(whole[:at])
    with pytest.raises(DataError, match=TRAIN) as error:
        load(folder, facts=FACTS)
    assert "\n" not in str(error.value)
    changed = bytearray(whole)
    changed[at] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(changed)
    try:
        dataset = load(folder, facts=FACTS)
    except DataError as damage:
        assert "\n" not in str(damage)
    else:  # the texts have no checksum in the file, but our hash tells
        assert len(dataset.train) == 2 * PER_CLASS


def test_another_archive(tmp_path: Path) -> None:
    content = bytearray(archive(made_up_reviews()))
    content[len(content) // 2] ^= 1
    (tmp_path / NAME).write_bytes(content)
    with pytest.raises(DataError, match=f"{NAME} is not {NAME}: its content has sha256"):
        load(tmp_path, facts=FACTS)


def test_without_pyarrow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_parquet(tmp_path / "tables", made_up_reviews())
    write_folders(tmp_path / "folders", made_up_reviews())
    for name in [each for each in sys.modules if each.split(".")[0] == "pyarrow"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert importlib.util.find_spec("pyarrow") is None
    with pytest.raises(MissingExtraError, match=r"needs pyarrow .*pip install 'qkv\[text\]'"):
        load(tmp_path / "tables", facts=FACTS)
    check_small(load(tmp_path / "folders", facts=FACTS))
    write_packed(REVIEWS, tmp_path / PACKED, source="somewhere")
    check_small(load(tmp_path, facts=FACTS))


# --- the cache's own file -------------------------------------------------------------------


def test_what_is_packed_comes_back(tmp_path: Path) -> None:
    path = tmp_path / PACKED
    write_packed(REVIEWS, path, source="moon")
    assert read_packed(path, FACTS) == (REVIEWS, "moon")
    first = path.read_bytes()
    write_packed(REVIEWS, path, source="moon")
    assert path.read_bytes() == first
    assert [each.name for each in tmp_path.iterdir()] == [PACKED]
    head, *rows = [json.loads(line) for line in gzip.decompress(first).split(b"\n") if line]
    assert head["sha256"] == REVIEWS.sha256
    assert len(rows) == 4 * PER_CLASS
    assert rows[0] == {
        "split": "train",
        "label": ("neg", "pos")[REVIEWS.pairs["train"][0][1]],
        "text": REVIEWS.pairs["train"][0][0],
    }


@given(st.data())
def test_any_damage_to_it_is_found(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.getbasetemp() / "damaged.jsonl.gz"
    write_packed(REVIEWS, path, source="moon")
    whole = path.read_bytes()
    at = data.draw(st.integers(0, len(whole) - 1))
    path.write_bytes(whole[:at])
    with pytest.raises(DataError, match="damaged.jsonl.gz"):
        read_packed(path, FACTS)
    plain = bytearray(gzip.decompress(whole))
    where = data.draw(st.integers(0, len(plain) - 1))
    plain[where] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(gzip.compress(plain))
    try:
        reviews, source = read_packed(path, FACTS)
    except DataError as error:
        assert "\n" not in str(error)
    else:  # the words for the source, which nothing depends on
        assert reviews == REVIEWS
        assert source != "moon" or bytes(plain) != gzip.decompress(whole)


@pytest.mark.parametrize(
    "plain", [b"", b"[]", b"null\n", b"{}\n", b'{"format": "other"}\n', b"[" * 90_000, b"\xff"]
)
def test_what_is_not_it(tmp_path: Path, plain: bytes) -> None:
    path = tmp_path / PACKED
    path.write_bytes(gzip.compress(plain))
    with pytest.raises(DataError, match="is damaged"):
        read_packed(path, FACTS)


def test_a_bomb_in_its_place(tmp_path: Path) -> None:
    path = tmp_path / PACKED
    write_packed(REVIEWS, path, source="moon")
    plain = gzip.decompress(path.read_bytes())
    path.write_bytes(gzip.compress(plain + b" " * 2_000_000))
    with pytest.raises(DataError, match="holds more than 1,000,000 bytes"):
        read_packed(path, FACTS)
