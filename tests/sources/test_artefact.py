"""Artefacts: content is read or kept only when it is the right content."""

from __future__ import annotations

import gzip
import hashlib
import mmap
import random
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qkv.errors import DataError
from qkv.sources import Artefact, cache_dir, install, read_verified

CONTENT = random.Random(1).randbytes(300_007)
PACKED = gzip.compress(CONTENT, mtime=0)


def make_artefact(
    content: bytes, *urls: str, name: str = "thing", packed: bool = False
) -> Artefact:
    digest = hashlib.sha256(content).hexdigest()
    return Artefact(name, digest, len(content), urls, "gzip" if packed else None)


def test_cache_is_where_the_variable_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("QKV_CACHE", str(tmp_path / "here"))
    assert cache_dir() == tmp_path / "here"
    monkeypatch.setenv("QKV_CACHE", "")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_dir().is_absolute()
    assert cache_dir().name == "qkv"


@pytest.mark.parametrize("name", ["", "../up", "a/b", "/etc/x", ".hidden", "a\\b", "a\n"])
def test_artefact_name_is_never_a_path(name: str) -> None:
    with pytest.raises(ValueError, match="not a plain file name"):
        make_artefact(CONTENT, name=name)


def test_plain_file_is_mapped_and_packed_one_unpacked(tmp_path: Path) -> None:
    thing = make_artefact(CONTENT)
    (tmp_path / "thing").write_bytes(CONTENT)
    (tmp_path / "thing.gz").write_bytes(PACKED)
    plain = read_verified(thing, tmp_path / "thing")
    assert isinstance(plain, mmap.mmap)
    assert plain[:] == CONTENT
    assert read_verified(thing, tmp_path / "thing.gz") == CONTENT


@given(content=st.binary(max_size=200), packed=st.booleans(), data=st.data())
def test_any_content_survives_and_any_change_is_refused(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, packed: bool, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("roundtrip")
    thing = make_artefact(content)
    path = folder / ("thing.gz" if packed else "thing")
    path.write_bytes(gzip.compress(content) if packed else content)
    assert read_verified(thing, path)[:] == content
    (folder / "out").mkdir()
    final = install(thing, path, folder / "out", packed=packed)
    assert final.read_bytes() == content

    changed = bytearray(content or b"\0")
    if content:
        changed[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    path.write_bytes(gzip.compress(changed) if packed else bytes(changed))
    final.unlink()
    with pytest.raises(DataError):
        read_verified(thing, path)
    with pytest.raises(DataError):
        install(thing, path, folder / "out", packed=packed)
    assert list((folder / "out").iterdir()) == []


def test_wrong_hash_names_file_both_hashes_and_remedy(tmp_path: Path) -> None:
    thing = make_artefact(CONTENT, "http://example.test/thing.gz")
    other = CONTENT[::-1]
    for path, stored in (("thing", other), ("thing.gz", gzip.compress(other))):
        (tmp_path / path).write_bytes(stored)
        with pytest.raises(DataError) as caught:
            read_verified(thing, tmp_path / path)
        for words in (
            str(tmp_path / path),
            hashlib.sha256(other).hexdigest()[:12],
            thing.sha256[:12],
            "http://example.test/thing.gz",
        ):
            assert words in str(caught.value)


@pytest.mark.parametrize(
    ("name", "stored", "words"),
    [
        ("thing", CONTENT[:-1], "holds 300006 bytes, expected 300007"),
        ("thing", CONTENT + b"\0", "holds 300008 bytes, expected 300007"),
        ("thing", b"", "holds 0 bytes"),
        ("thing.gz", gzip.compress(CONTENT[:-1]), "holds 300006 bytes"),
        ("thing.gz", gzip.compress(CONTENT + b"\0"), "more than the 300007 bytes"),
        ("thing.gz", PACKED[:-9], "damaged gzip"),
        ("thing.gz", PACKED[:99] + b"\xff" * 50 + PACKED[149:], "thing.gz"),
        ("thing.gz", PACKED + b"tail", "damaged gzip"),
        ("thing.gz", b"", "holds 0 bytes"),
    ],
)
def test_damaged_copies_are_refused(tmp_path: Path, name: str, stored: bytes, words: str) -> None:
    (tmp_path / name).write_bytes(stored)
    with pytest.raises(DataError, match=words):
        read_verified(make_artefact(CONTENT), tmp_path / name)


def test_gzip_bomb_costs_no_memory(tmp_path: Path) -> None:
    bomb = tmp_path / "thing.gz"
    bomb.write_bytes(gzip.compress(bytes(64 << 20)))
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match="more than the 10 bytes"):
            read_verified(make_artefact(bytes(10)), bomb)
        assert tracemalloc.get_traced_memory()[1] < 1 << 19
    finally:
        tracemalloc.stop()


def test_content_unpacked_on_the_way_is_accepted(tmp_path: Path) -> None:
    (tmp_path / "thing.gz").write_bytes(CONTENT)
    assert read_verified(make_artefact(CONTENT), tmp_path / "thing.gz") == CONTENT
