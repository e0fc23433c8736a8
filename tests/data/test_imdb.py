"""IMDB: the same reviews in the same order from every place, and one line where there are none."""

from __future__ import annotations

import doctest
import gzip
import hashlib
import io
import json
import sys
import tarfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import filelock
import numpy as np
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
)
from qkv.data import imdb as imdb_module
from qkv.data.dataset import TextDataset
from qkv.data.download import RetryPolicy
from qkv.data.imdb import IMDB, KEPT, Reviews, digests, gather, lines_for_breaks, load, locate
from qkv.data.locate import Located
from qkv.errors import DataError, DownloadError, MissingExtraError, RunError
from small_hub import COMMIT, SmallHub

CONTENT = archive(made_up_reviews())
FACTS = facts_of(CONTENT)
REVIEWS = gather(made_up_reviews(), FACTS, Path("here"))
TRAIN = "train-00000-of-00001.parquet"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("QKV_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "imdb"


def visible(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


def check(found: Located[Reviews]) -> None:
    assert found.content == REVIEWS
    assert all(path.exists() for path in found.files.values())


# --- breaks, order, hashes and counts -------------------------------------------------------


@given(st.lists(st.sampled_from(["<br />", "<br/>", "<br>", "<", ">", "br /", "\n", " ", "é"])))
def test_breaks_are_newlines_and_nothing_else_changes(parts: list[str]) -> None:
    text = "".join(parts)
    assert lines_for_breaks(text) == text.replace("<br />", "\n").replace("<br/>", "\n")


def test_the_example_is_true() -> None:
    assert doctest.testmod(imdb_module).failed == 0


def test_the_order_is_that_of_hashes_and_does_not_depend_on_the_source() -> None:
    pairs = made_up_reviews()
    pairs["train"][0] = ("same", 0)
    pairs["train"][-1] = ("same", 1)
    found = gather({split: rows[::-1] for split, rows in pairs.items()}, FACTS, Path())
    assert found == gather(pairs, FACTS, Path())
    for split, rows in found.items():
        assert sorted(rows) == sorted(pairs[split])
        hashes = [hashlib.sha256(text.encode()).digest() for text, _ in rows]
        assert hashes == sorted(hashes)
    assert [label for text, label in found["train"] if text == "same"] == [0, 1]


def test_the_hash_tells_texts_labels_and_order() -> None:
    same = [("a", 0), ("b", 1)]
    others = [[("a", 1), ("b", 0)], [("b", 1), ("a", 0)], [("ab", 0), ("", 1)], [("a", 0)]]
    assert len({digests({"x": pairs})["x"] for pairs in [same, *others]}) == 5
    both = b"".join(hashlib.sha256(text.encode()).digest() + bytes([n]) for text, n in same)
    assert digests({"x": same})["x"] == hashlib.sha256(both).hexdigest()


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda rows: rows.pop(), "test of IMDB has 6 neg, 5 pos reviews, not 6 of"),
        (lambda rows: rows.insert(0, (rows.pop(0)[0], 1)), "has 5 neg, 7 pos reviews"),
        (lambda rows: rows.append(("unsupervised", -1)), "1 of label -1, 6 neg, 6 pos"),
        (lambda rows: rows.clear(), "has no reviews"),
    ],
)
def test_wrong_counts_and_labels(spoil: Callable[[list[Any]], object], words: str) -> None:
    pairs = made_up_reviews()
    spoil(pairs["test"])
    with pytest.raises(DataError, match=f"here: .*{words}"):
        gather(pairs, FACTS, Path("here"))


# --- folders that the user names ------------------------------------------------------------


def check_small(dataset: TextDataset) -> None:
    assert (dataset.name, dataset.class_names) == ("imdb", ("neg", "pos"))
    assert dataset.validation is None
    assert dataset.test is not None
    assert dataset.sha256 == digests(REVIEWS)
    assert dataset.notes == ()
    for split, name in ((dataset.train, "train"), (dataset.test, "test")):
        assert split.texts == tuple(lines_for_breaks(text) for text, _ in REVIEWS[name])
        assert split.labels.tolist() == [label for _, label in REVIEWS[name]]
        assert split.labels.dtype == np.int64
    assert any("two\n\nbreaks and \n one more" in text for text in dataset.train.texts)
    assert any("\u2028separators\x85 and\r\nnewlines\n\n" in text for text in dataset.train.texts)


@pytest.mark.parametrize("below", [".", "plain_text"])
def test_the_hubs_files(tmp_path: Path, cache: Path, below: str) -> None:
    write_parquet(tmp_path / below, made_up_reviews())
    dataset = load(tmp_path, facts=FACTS)
    check_small(dataset)
    assert dataset.source == f"folder {tmp_path}"
    assert not cache.exists()


@pytest.mark.parametrize("below", [".", "aclImdb"])
def test_the_published_folders(tmp_path: Path, below: str) -> None:
    write_folders(tmp_path / below, made_up_reviews())
    check_small(load(tmp_path, facts=FACTS))
    names = {"train/neg", "train/pos", "test/neg", "test/pos"}
    assert set(locate(tmp_path, facts=FACTS).files) == names


def test_the_archive_as_it_was_downloaded(tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(CONTENT)
    check_small(load(tmp_path, facts=FACTS))
    assert [path.name for path in tmp_path.iterdir()] == [NAME]
    content = bytearray(CONTENT)
    content[len(content) // 2] ^= 1
    (tmp_path / NAME).write_bytes(content)
    with pytest.raises(DataError, match=f"{NAME} is not {NAME}: its content has sha256"):
        load(tmp_path, facts=FACTS)


def test_other_texts_are_noted(tmp_path: Path) -> None:
    write_parquet(tmp_path, made_up_reviews())
    facts = replace(FACTS, sha256={**digests(REVIEWS), "test": "0" * 64})
    (note,) = load(tmp_path, facts=facts).notes
    assert "the texts or labels of test are not exactly those of IMDB as published" in note


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere is not there; name the folder that holds IMDB"):
        load(tmp_path / "nowhere", facts=FACTS)
    with pytest.raises(DataError, match=r"neither plain_text/.* nor aclImdb.* is in it"):
        load(tmp_path, facts=FACTS)
    write_folders(tmp_path, made_up_reviews())
    (tmp_path / "test/neg").rename(tmp_path / "elsewhere")
    with pytest.raises(DataError, match="does not hold IMDB: test/neg is missing"):
        load(tmp_path, facts=FACTS)
    write_parquet(tmp_path / "tables", made_up_reviews())
    (tmp_path / "tables" / TRAIN).unlink()
    with pytest.raises(DataError, match=f"does not hold IMDB: {TRAIN} is missing"):
        load(tmp_path / "tables", facts=FACTS)


def test_a_text_file_in_another_encoding_or_unreadable(tmp_path: Path) -> None:
    write_folders(tmp_path, made_up_reviews())
    path = min((tmp_path / "train/neg").glob("*.txt"))
    path.write_bytes("naïve".encode("latin-1"))
    with pytest.raises(DataError, match=f"{path.name} is not UTF-8"):
        load(tmp_path, facts=FACTS)
    path.unlink()
    path.mkdir()
    with pytest.raises(DataError, match=f"{path.name} cannot be read: Is a directory"):
        load(tmp_path, facts=FACTS)


NOT_UTF8 = pyarrow.array([b"\xff"] * 12, pyarrow.binary()).view(pyarrow.string())


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"review": ["a"] * 12, "label": [0, 1] * 6}, TRAIN),
        ({"text": ["a"] * 12, "label": ["neg", "pos"] * 6}, TRAIN),
        ({"text": ["a"], "label": [1]}, "1 pos reviews, not 6"),
        ({"text": ["a"] * 12, "label": [1, 0] * 5 + [-1, -1]}, "2 of label -1"),
        ({"text": [None, *["a"] * 11], "label": [0, 1] * 6}, "5 neg, 6 pos"),
        ({"text": NOT_UTF8, "label": [0, 1] * 6}, f"{TRAIN}:1 .*UTF-8"),
    ],
)
def test_a_table_of_something_else(tmp_path: Path, columns: dict[str, Any], words: str) -> None:
    write_parquet(tmp_path, made_up_reviews())
    pyarrow.parquet.write_table(pyarrow.table(columns), tmp_path / TRAIN)
    with pytest.raises(DataError, match=words) as error:
        load(tmp_path, facts=FACTS)
    assert "\n" not in str(error.value)


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


def test_without_pyarrow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_parquet(tmp_path / "tables", made_up_reviews())
    write_folders(tmp_path / "folders", made_up_reviews())
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtraError, match=r"needs pyarrow .*pip install 'qkv\[parquet\]'"):
        load(tmp_path / "tables", facts=FACTS)
    check_small(load(tmp_path / "folders", facts=FACTS))


# --- the official archive -------------------------------------------------------------------


def test_fetched_once_and_kept_as_one_file(server: Any, cache: Path) -> None:
    server.script = [{"body": CONTENT}]
    facts = facts_of(CONTENT, server.url)
    told: list[tuple[int, int]] = []
    first = locate(progress=lambda done, total: told.append((done, total)), facts=facts)
    check(first)
    assert first.source == "official archive"
    assert told[-1] == (len(CONTENT), len(CONTENT))
    assert visible(cache) == [KEPT]

    second = locate(facts=facts)
    check(second)
    assert second.source == f"cache: {cache / KEPT}, from the official archive"
    check_small(load(facts=facts))
    check_small(load(cache, facts=facts))  # named as a folder, too
    assert len(server.asked) == 1


def test_a_cut_connection_is_one_line_and_the_next_call_goes_on(server: Any, cache: Path) -> None:
    facts = facts_of(CONTENT, server.url)
    server.script = [{"body": CONTENT, "cut_after": 700, "ranges": False}] * 2 + [{"body": CONTENT}]
    with pytest.raises(DownloadError, match="after 2 attempts") as error:
        locate(facts=facts)
    assert "\n" not in str(error.value)
    assert f"download {server.url} into a folder and pass --data FOLDER" in str(error.value)
    assert visible(cache) == [f"{NAME}.part"]
    check(locate(facts=facts))
    assert server.ranges_asked[-1] == "bytes=700-"
    assert visible(cache) == [KEPT]


def test_other_bytes(server: Any, cache: Path) -> None:
    server.script = [{"body": CONTENT[:-1] + b"x"}]
    with pytest.raises(DownloadError, match="IMDB is not on this machine .*wrong"):
        locate(facts=facts_of(CONTENT, server.url))
    assert visible(cache) == []


def test_only_the_published_names_are_taken_and_all_must_be_there(
    server: Any, cache: Path, tmp_path: Path
) -> None:
    names = ("train/pos/1_1.text", "valid/pos/1_1.txt", "../train/pos/1_1.txt")
    strange = [tarfile.TarInfo(f"aclImdb/{name}") for name in names]
    link = tarfile.TarInfo("aclImdb/train/pos/99_9.txt")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/hostname"
    body = archive(made_up_reviews(), *strange, link)
    server.script = [{"body": body}]
    check(locate(facts=facts_of(body, server.url)))
    assert visible(tmp_path) == ["cache"]
    (cache / KEPT).unlink()
    pairs = made_up_reviews()
    pairs["test"].pop()
    body = archive(pairs)
    server.script = [{"body": body}]
    with pytest.raises(DownloadError, match="test of IMDB has 6 neg, 5 pos"):
        locate(facts=facts_of(body, server.url))


def test_no_network_or_no_way(server: Any, cache: Path) -> None:
    with pytest.raises(DownloadError, match="could not be fetched .it has no address."):
        locate(facts=facts_of())
    server.script = [{"body": CONTENT}]
    facts = facts_of(CONTENT, server.url)
    with pytest.raises(DownloadError, match="IMDB is not on this machine"):
        load(local_only=True, facts=facts)
    assert server.asked == []
    load(facts=facts)
    check_small(load(local_only=True, facts=facts))


# --- the cache ------------------------------------------------------------------------------


def test_a_damaged_cache_is_replaced_and_noted(server: Any, cache: Path) -> None:
    server.script = [{"body": CONTENT}]
    facts = facts_of(CONTENT, server.url)
    path = locate(facts=facts).files["reviews"]
    whole = path.read_bytes()
    path.write_bytes(whole[:-20])
    found = locate(facts=facts)
    check(found)
    (note,) = found.notes
    assert "passed over a damaged copy" in note
    assert path.read_bytes() == whole
    assert locate(facts=facts).notes == ()


def test_the_kept_file_is_json_lines(server: Any, cache: Path) -> None:
    server.script = [{"body": CONTENT}]
    locate(facts=facts_of(CONTENT, server.url))
    plain = gzip.decompress((cache / KEPT).read_bytes())
    head, *rows = [json.loads(line) for line in plain.split(b"\n") if line]
    hashes = digests(REVIEWS)
    assert head == {"format": "qkv imdb 1", "source": "official archive", "sha256": hashes}
    assert len(rows) == 4 * PER_CLASS
    text, label = REVIEWS["train"][0]
    assert rows[0] == {"split": "train", "label": ("neg", "pos")[label], "text": text}


@given(st.data())
def test_any_damage_to_it_is_found(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.getbasetemp() / "damaged"
    imdb_module._write_kept(REVIEWS, folder / KEPT, "moon")
    whole = (folder / KEPT).read_bytes()
    (folder / KEPT).write_bytes(whole[: data.draw(st.integers(0, len(whole) - 1))])
    with pytest.raises(DataError, match=KEPT):
        load(folder, facts=FACTS)
    plain = bytearray(gzip.decompress(whole))
    plain[data.draw(st.integers(0, len(plain) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    (folder / KEPT).write_bytes(gzip.compress(plain))
    try:
        check_small(load(folder, facts=FACTS))  # the words for the source were hit
    except DataError as error:
        assert "\n" not in str(error)


@pytest.mark.parametrize("plain", [b"", b"[]", b"null\n", b"{}\n", b'{"format": "x"}\n', b"\xff"])
def test_what_is_not_it(tmp_path: Path, plain: bytes) -> None:
    (tmp_path / KEPT).write_bytes(gzip.compress(plain))
    with pytest.raises(DataError, match=f"{KEPT}|IMDB has no reviews"):
        load(tmp_path, facts=FACTS)


def test_a_cache_that_cannot_be_written(
    server: Any, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.script = [{"body": CONTENT}]

    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("qkv.files.os.fsync", full)
        with pytest.raises((RunError, DownloadError), match="No space left on device"):
            locate(facts=facts_of(CONTENT, server.url))
    assert KEPT not in visible(cache)
    (tmp_path / "file").touch()
    monkeypatch.setenv("QKV_CACHE", str(tmp_path / "file"))
    with pytest.raises(DownloadError, match=r"cannot write IMDB into .*pass --data FOLDER"):
        locate(facts=facts_of(CONTENT, server.url))


def test_one_process_fetches(server: Any, cache: Path) -> None:
    server.script = [{"body": CONTENT}]
    facts = facts_of(CONTENT, server.url)
    cache.mkdir(parents=True)
    with (
        filelock.FileLock(cache / ".fetching.lock"),
        pytest.raises(DownloadError, match="another process has been fetching IMDB"),
    ):
        locate(facts=replace(facts, policy=RetryPolicy(lock_timeout_seconds=0.05)))
    found: list[Located[Reviews]] = []
    threads = [threading.Thread(target=lambda: found.append(locate(facts=facts))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 3
    assert len(server.asked) == 1
    for each in found:
        check(each)


# --- the hub --------------------------------------------------------------------------------


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SmallHub]:
    files = {"README.md": b"read", "plain_text/unsupervised-00000-of-00001.parquet": b"unwanted"}
    for split, rows in made_up_reviews().items():
        table = pyarrow.table({"text": [t for t, _ in rows], "label": [n for _, n in rows]})
        out = io.BytesIO()
        pyarrow.parquet.write_table(table, out)
        files[f"plain_text/{split}-00000-of-00001.parquet"] = out.getvalue()
    small = SmallHub("people/imdb", files, kind="dataset").use(monkeypatch, tmp_path / "hub")
    yield small
    small.close()


HUB = {"repository": "people/imdb", "revision": COMMIT}


def test_the_hub_when_the_archive_is_not_to_be_had(server: Any, hub: SmallHub) -> None:
    server.script = [{"status": 404}]
    facts = facts_of(CONTENT, server.url, **HUB)
    found = locate(facts=facts)
    check(found)
    assert found.source == "hub"
    assert not any("unsupervised" in path or "README" in path for path in hub.asked)
    hub.close()
    check(locate(facts=facts))


def test_the_hubs_cache_comes_before_any_network(server: Any, hub: SmallHub, cache: Path) -> None:
    locate(facts=facts_of(CONTENT, **HUB))
    (cache / KEPT).unlink()
    asked = len(hub.asked)
    for local_only in (True, False):
        found = locate(local_only=local_only, facts=facts_of(CONTENT, server.url, **HUB))
        check(found)
        assert found.source == "hub's cache"
        (cache / KEPT).unlink()
    assert len(hub.asked) == asked
    assert server.asked == []


def test_nothing_can_be_reached(server: Any, hub: SmallHub) -> None:
    server.script = [{"status": 404}]
    hub.close()
    with pytest.raises(DownloadError, match=r"answered 404.*hub could not be reached") as error:
        locate(facts=facts_of(CONTENT, server.url, **HUB))
    assert "\n" not in str(error.value)
    assert str(error.value).count("people/imdb") == 1


def test_a_damaged_file_on_the_hub(hub: SmallHub) -> None:
    name = f"plain_text/{TRAIN}"
    hub.files[name] = hub.files[name][:-9]
    with pytest.raises(DownloadError, match=f"{TRAIN} is not a sound Parquet file"):
        locate(facts=facts_of(**HUB))


def test_a_file_that_the_hub_lacks(hub: SmallHub) -> None:
    del hub.files[f"plain_text/{TRAIN}"]
    with pytest.raises(DownloadError, match=f"does not hold IMDB: {TRAIN} is missing"):
        locate(facts=facts_of(**HUB))


# --- the real one ---------------------------------------------------------------------------


def test_the_published_counts() -> None:
    assert IMDB.reviews_per_class * 2 == 25_000
    assert IMDB.archive.size == 84_125_825
    assert set(IMDB.sha256) == {"train", "test"}


@pytest.mark.real_data
def test_the_real_one_is_the_published_one(imdb: TextDataset) -> None:
    assert imdb.test is not None
    assert imdb.sha256 == dict(IMDB.sha256)
    assert imdb.notes == ()
    # Bytes as the hub states them for this data set: 12 for each row beside the texts.
    # Each break was 6 bytes and is 1.
    for split, stated in ((imdb.train, 33_432_823), (imdb.test, 32_650_685)):
        np.testing.assert_array_equal(np.bincount(split.labels), [12_500, 12_500])
        assert not any("<br />" in text for text in split.texts)
        breaks = sum(text.count("\n") for text in split.texts)
        size = sum(len(text.encode()) for text in split.texts)
        assert size + 5 * breaks + 12 * len(split) == stated
    for start in range(0, 25_000, 1000):
        assert 0.4 < imdb.train.labels[start : start + 1000].mean() < 0.6


@pytest.mark.real_data
def test_known_reviews_have_their_labels(imdb: TextDataset) -> None:
    labels = dict(zip(imdb.train.texts, imdb.train.labels.tolist(), strict=True))
    known = {
        "Story of a man who has unnatural feelings for a pig.": 0,
        "Bromwell High is a cartoon comedy.": 1,
    }
    for beginning, label in known.items():
        (found,) = {labels[text] for text in labels if text.startswith(beginning)}
        assert found == label
