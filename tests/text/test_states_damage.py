"""Damaged, foreign and vanished files of a store: noticed, set aside, rebuilt."""

from __future__ import annotations

import errno
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open

from known_states import KnownStates
from qkv.errors import DataError
from qkv.text.states import StatesStore, open_store, segment, verified

TEXTS = [f"{'word ' * number}{number}" for number in range(12)]


def opened(root: Path, notes: list[str] | None = None, dim: int = 6) -> StatesStore:
    encoder = KnownStates(dim)
    note = None if notes is None else notes.append
    return open_store(encoder.facts, dim, root=root, segment_bytes=300, note=note)


@pytest.fixture
def store(tmp_path: Path) -> StatesStore:
    made = opened(tmp_path)
    made.fill(KnownStates(), TEXTS)
    return made


def files_of(store: StatesStore) -> list[Path]:
    files = sorted(store.folder.glob("*.safetensors"))
    assert len(files) > 3
    return files


def flip(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 0x10
    path.write_bytes(content)


def require_rebuilt(root: Path) -> list[str]:
    """Filling again gives the encoder's states; the notes of doing so."""
    notes: list[str] = []
    store = opened(root, notes)
    encoder = KnownStates()
    store.fill(encoder, TEXTS)
    states, mask = store.reader(TEXTS).padded(np.arange(len(TEXTS)))
    for index, text in enumerate(TEXTS):
        assert torch.equal(states[index][mask[index]], encoder.states(text).half().float())
    assert not len(opened(root).missing(TEXTS))
    return notes


def damages(path: Path) -> dict[str, Callable[[], object]]:
    size = path.stat().st_size
    return {
        "a flipped bit of the states": lambda: flip(path, size - 1),
        "a flipped bit of the index": lambda: flip(path, 8 + header_bytes(path) + 3),
        "a flipped bit of the header": lambda: flip(path, 20),
        "a flipped bit of the header's length": lambda: flip(path, 1),
        "the last byte lost": lambda: os.truncate(path, size - 1),
        "half of it lost": lambda: os.truncate(path, size // 2),
        "emptied": lambda: os.truncate(path, 0),
        "longer": lambda: path.write_bytes(path.read_bytes() + b"\0"),
        "another format": lambda: path.write_bytes(b"PK\3\4" * 100),
        "deep nesting": lambda: path.write_bytes((4000).to_bytes(8, "little") + b"[" * 4000),
    }


def header_bytes(path: Path) -> int:
    return int.from_bytes(path.read_bytes()[:8], "little")


@pytest.mark.parametrize("what", list(damages(Path(__file__))))
def test_damage_is_noticed_set_aside_and_rebuilt(store: StatesStore, what: str) -> None:
    path = files_of(store)[1]
    damages(path)[what]()
    notes: list[str] = []
    missing = opened(store.root, notes).missing(TEXTS)
    assert 0 < len(missing) < len(TEXTS)
    assert len(notes) == 1
    assert f"{path} is damaged: " in notes[0]
    assert f"set aside as {path.name}.damaged" in notes[0]
    assert path.with_name(f"{path.name}.damaged").exists()
    assert not path.exists()
    remarks = require_rebuilt(store.root)
    assert all("texts to encode" in remark for remark in remarks)


@settings(max_examples=100)
@given(data=st.data())
def test_no_flipped_bit_and_no_lost_end_goes_unnoticed(data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        opened(root).fill(KnownStates(), TEXTS[:5])
        path = data.draw(st.sampled_from(sorted(opened(root).folder.glob("*.safetensors"))))
        content = bytearray(path.read_bytes())
        at = data.draw(st.integers(0, len(content) - 1))
        if data.draw(st.booleans()):
            content[at] ^= 1 << data.draw(st.integers(0, 7))
        else:
            del content[at:]
        path.write_bytes(content)
        notes: list[str] = []
        assert len(opened(root, notes).missing(TEXTS[:5]))
        assert len(notes) == 1


def test_a_segment_of_another_store_is_not_taken(store: StatesStore, tmp_path: Path) -> None:
    other = open_store({"name": "other"}, 6, root=tmp_path / "other", segment_bytes=300)
    path = files_of(store)[0]
    other.folder.mkdir(parents=True)
    shutil.copy(path, other.folder)
    notes: list[str] = []
    other.note = notes.append
    assert len(other.missing(TEXTS)) == len(TEXTS)
    assert "of another store" in notes[0]


def test_damage_while_a_store_is_open_is_noticed_too(store: StatesStore) -> None:
    store.reader(TEXTS)
    flip(files_of(store)[2], -1)
    notes: list[str] = []
    store.note = notes.append
    with pytest.raises(DataError, match="lacks the states of"):
        store.reader(TEXTS)
    assert len(notes) == 1


def test_files_that_others_removed_only_lose_their_texts(store: StatesStore) -> None:
    files_of(store)[0].unlink()
    notes: list[str] = []
    store.note = notes.append
    assert 0 < len(store.missing(TEXTS)) < len(TEXTS)
    assert notes == []
    require_rebuilt(store.root)


def test_a_reader_whose_file_goes_or_shrinks_says_so(store: StatesStore) -> None:
    reader = store.reader(TEXTS)
    reader.padded([3])
    os.truncate(store.locate(TEXTS[3:4]).segments[0].path, 500)
    with pytest.raises(DataError, match=r"has shrunk since .* run again"):
        reader.padded([3])
    reader.close()
    shutil.rmtree(store.folder)
    with pytest.raises(DataError, match=r"cannot be read any more.*run again"):
        reader.padded([3])


def test_what_cannot_be_moved_is_passed_over_and_replaced(
    store: StatesStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = files_of(store)[1]
    flip(path, -1)
    replace = Path.replace

    def refuse(self: Path, target: Path) -> Path:
        if target.suffix == ".damaged":
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(self))
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", refuse)
    notes: list[str] = []
    again = opened(store.root, notes)
    missing = again.missing(TEXTS)
    assert len(missing)
    assert again.missing(TEXTS).tolist() == missing.tolist()
    assert len(notes) == 1
    assert "passed over" in notes[0]
    require_rebuilt(store.root)


def test_a_file_that_may_not_be_read_is_no_damage(
    store: StatesStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = files_of(store)[1]

    def refuse(found: segment.Segment) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(found.path))

    monkeypatch.setattr(verified, "check_rows", refuse)
    with pytest.raises(DataError, match=r"cannot be read: Permission denied; make it readable"):
        opened(store.root).missing(TEXTS)
    assert path.exists()


def test_a_sector_that_cannot_be_read_is_damage(
    store: StatesStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = files_of(store)[1]
    check = segment.check_rows

    def fail(found: segment.Segment) -> None:
        if found.path == bad:
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(bad))
        check(found)

    monkeypatch.setattr(verified, "check_rows", fail)
    notes: list[str] = []
    assert len(opened(store.root, notes).missing(TEXTS))
    assert f"{bad} cannot be read; set aside" in notes[0]


class Counting:
    """Counts how often states are hashed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.hashed: list[str] = []
        check = segment.check_rows

        def count(found: segment.Segment) -> None:
            self.hashed.append(found.path.name)
            check(found)

        monkeypatch.setattr(verified, "check_rows", count)


def settle(store: StatesStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the files had been lying for a while."""
    monkeypatch.setattr(verified, "SETTLED_SECONDS", -1.0)


def test_an_unchanged_file_is_hashed_once(
    store: StatesStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    settle(store, monkeypatch)
    counting = Counting(monkeypatch)
    opened(store.root).reader(TEXTS)
    assert sorted(counting.hashed) == [path.name for path in files_of(store)]
    opened(store.root).reader(TEXTS)
    assert len(counting.hashed) == len(files_of(store))


def test_a_file_just_written_is_not_taken_on_trust(
    store: StatesStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    counting = Counting(monkeypatch)
    opened(store.root).reader(TEXTS)
    opened(store.root).reader(TEXTS)
    assert len(counting.hashed) == 2 * len(files_of(store))


def test_a_change_behind_a_restored_time_is_noticed(
    store: StatesStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    settle(store, monkeypatch)
    opened(store.root).reader(TEXTS)
    path = files_of(store)[0]
    before = path.stat()
    time.sleep(0.05)  # longer than a tick of any file system's clock
    with path.open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(bytes([path.read_bytes()[-1] ^ 1]))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_mtime_ns == before.st_mtime_ns
    assert len(opened(store.root).missing(TEXTS))


def test_trust_ends_after_some_days(store: StatesStore, monkeypatch: pytest.MonkeyPatch) -> None:
    settle(store, monkeypatch)
    counting = Counting(monkeypatch)
    opened(store.root).reader(TEXTS)
    later = time.time() + verified.TRUST_SECONDS + 1
    monkeypatch.setattr(verified.time, "time", lambda: later)
    opened(store.root).reader(TEXTS)
    assert len(counting.hashed) == 2 * len(files_of(store))


def test_a_long_check_is_told(store: StatesStore, monkeypatch: pytest.MonkeyPatch) -> None:
    settle(store, monkeypatch)
    size = sum(path.stat().st_size for path in files_of(store))
    monkeypatch.setattr("qkv.text.states.store.WORTH_A_WORD_BYTES", size - 1)
    notes: list[str] = []
    opened(store.root, notes).missing(TEXTS)
    opened(store.root, notes).missing(TEXTS)
    assert notes == [f"checking {size / 1e6:.1f} MB of states against their digests"]


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"{", b'{"a": 1}', b'{"a": [1, 2, 3, 4, "x"]}', b"\xff", b"[" * 5000]
)
def test_a_damaged_memory_is_forgotten(
    store: StatesStore, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    settle(store, monkeypatch)
    (store.folder / "verified.json").write_bytes(content)
    assert not len(opened(store.root).missing(TEXTS))
    remembered = json.loads((store.folder / "verified.json").read_bytes())
    assert sorted(remembered) == [path.name for path in files_of(store)]


def test_segments_can_be_read_by_other_programs(store: StatesStore) -> None:
    located = store.locate(TEXTS)
    for number, found in enumerate(located.segments):
        with safe_open(found.path, framework="np") as file:
            states = file.get_tensor("states")
            lengths = file.get_tensor("lengths")
            hashes = file.get_tensor("hashes")
        assert states.dtype == np.float16
        assert states.shape == (lengths.sum(), 6)
        assert [bytes(row) for row in hashes] == list(found.hashes)
        for index in np.flatnonzero(located.segment == number):
            start, length = located.start[index], located.length[index]
            wanted = KnownStates().states(TEXTS[index]).half().numpy()
            assert np.array_equal(states[start : start + length], wanted)
