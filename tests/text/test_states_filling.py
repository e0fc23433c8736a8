"""What filling announces and refuses, and several processes at one store."""

from __future__ import annotations

import errno
import multiprocessing
import os
import re
import shutil
import signal
import threading
import time
from collections import Counter, namedtuple
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from known_states import KnownStates, PreparedWords, Progress
from qkv.errors import DataError
from qkv.text.states import StatesStore, clear, disk, fill, open_store
from qkv.text.states.locking import store_lock

TEXTS = [f"{'word ' * (number % 40)}{number}" for number in range(300)]
TOKENS = sum(len(text.split()) + 2 for text in TEXTS)
Usage = namedtuple("Usage", "total used free")


class Slow(KnownStates):
    """Takes a time for every text and tells a file about each."""

    def __init__(self, seconds: float, told: Path | None = None) -> None:
        super().__init__()
        self.seconds = seconds
        self.told = told

    def encode(
        self, prepared: PreparedWords, *, progress: Progress | None = None
    ) -> Iterator[tuple[int, torch.Tensor]]:
        for index, states in super().encode(prepared, progress=progress):
            time.sleep(self.seconds)
            if self.told is not None:
                with self.told.open("a") as file:
                    file.write(f"{prepared.texts[index]}\n")
            yield index, states


def store_in(root: Path, segment_bytes: int = 2000) -> StatesStore:
    return open_store(KnownStates().facts, 6, root=root, segment_bytes=segment_bytes)


def test_it_announces_tokens_time_and_disk_once_the_speed_is_known(tmp_path: Path) -> None:
    notes: list[tuple[str, int]] = []
    encoder = Slow(0.002)
    store_in(tmp_path).fill(
        encoder, TEXTS, note=lambda note: notes.append((note, len(encoder.encoded)))
    )
    [(note, encoded)] = notes
    assert encoded == 32
    assert f"300 texts to encode, {TOKENS:,} tokens: about " in note
    speed = float(re.search(r"at ([\d,]+) tokens/s", note)[1].replace(",", ""))  # type: ignore[index]
    probed = sum(len(text.split()) + 2 for text in encoder.encoded[:32])
    assert speed < probed / (32 * 0.002)
    seconds = int(re.search(r"about (\d+) s", note)[1])  # type: ignore[index]
    assert seconds == max(1, round((TOKENS - probed) / speed))
    assert f"{TOKENS * 12 / 1e6:.1f} MB in {store_in(tmp_path).folder}" in note


def test_the_probe_has_texts_of_all_lengths(tmp_path: Path) -> None:
    encoder = KnownStates()
    store_in(tmp_path).fill(encoder, TEXTS)
    lengths = np.array([len(text.split()) for text in encoder.encoded[:32]])
    whole = np.array([len(text.split()) for text in TEXTS])
    assert abs(lengths.mean() - whole.mean()) < 2
    assert Counter(encoder.encoded) == Counter(TEXTS)


def test_few_texts_are_announced_before_they_are_encoded(tmp_path: Path) -> None:
    encoder, notes = KnownStates(), list[tuple[str, int]]()
    store_in(tmp_path).fill(
        encoder, TEXTS[:5], note=lambda note: notes.append((note, len(encoder.encoded)))
    )
    [(note, encoded)] = notes
    assert encoded == 0
    assert note.startswith("5 texts to encode, 25 tokens; 0.0 MB in ")


@pytest.mark.parametrize(("seconds", "words"), [(0.2, "1 s"), (61, "61 s"), (500, "8 min")])
def test_times_are_told_roughly(seconds: float, words: str) -> None:
    assert fill._roughly(seconds) == f"about {words}"


def test_it_refuses_before_encoding_if_the_disk_lacks_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    needed = TOKENS * 12
    monkeypatch.setattr(disk, "ROOM_BYTES", 2_000_000)
    free = needed + 2_000_000
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(10**12, 0, free - 1))
    encoder, store = KnownStates(), store_in(tmp_path / "not" / "there")
    with pytest.raises(DataError) as caught:
        store.fill(encoder, TEXTS)
    assert encoder.encoded == []
    message = str(caught.value)
    assert f"need {needed / 1e6:.1f} MB and 2.0 MB to spare" in message
    assert f"{store.root} has {(free - 1) / 1e6:.1f} MB free" in message
    assert "set QKV_CACHE" in message
    assert f'states = "int8" ({TOKENS * 10 / 1e6:.1f} MB)' in message
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(10**12, 0, free))
    store.fill(encoder, TEXTS)


def test_int8_is_not_offered_to_who_has_it(tmp_path: Path) -> None:
    store = open_store({"name": "a"}, 1000, kind="int8", root=tmp_path)
    with pytest.raises(DataError) as caught:
        store.require_disk(10**13)
    assert caught.value.remedy == "free the disk, set QKV_CACHE to a folder with more room"
    assert "10040000.0 GB" in str(caught.value)
    store.require_disk(1)


def test_a_disk_that_fills_up_keeps_what_was_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = 0
    fsync = os.fsync

    def full(handle: int) -> None:
        nonlocal written
        written += 1
        if written > 3:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fsync(handle)

    store, encoder = store_in(tmp_path), KnownStates()
    store.fill(encoder, TEXTS[:1])
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(DataError, match=r"No space left on device; free the disk"):
            store.fill(encoder, TEXTS)
    assert not list(store.folder.glob(".*"))
    left = len(store.missing(TEXTS))
    assert 0 < left < len(TEXTS) - 1
    assert store.fill(encoder, TEXTS).texts == left


def test_where_nothing_can_be_written_it_says_so(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_bytes(b"")
    with pytest.raises(DataError, match=r"cannot write .*set QKV_CACHE to another folder"):
        store_in(blocked / "states").fill(KnownStates(), TEXTS)


def test_a_full_store_is_used_where_nothing_can_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store_in(tmp_path).fill(KnownStates(), TEXTS)
    shutil.rmtree(tmp_path / "locks")

    def refuse(*arguments: object, **_: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    for name in ("utime", "mkdir", "replace", "fsync"):
        monkeypatch.setattr(os, name, refuse)
    monkeypatch.setattr("qkv.text.states.verified.SETTLED_SECONDS", -1.0)
    store, encoder = store_in(tmp_path), KnownStates()
    assert store.fill(encoder, TEXTS).texts == 0
    assert store.reader(TEXTS).lengths.sum() == TOKENS
    with pytest.raises(DataError, match=r"cannot write .*Read-only file system"):
        store.fill(encoder, [*TEXTS, "new"])


def test_the_second_waits_says_so_and_finds_what_is_there(tmp_path: Path) -> None:
    notes: list[str] = []
    store, encoder = store_in(tmp_path), KnownStates()
    store.fill(KnownStates(), TEXTS[:10])
    with store_lock(tmp_path, store.key.name, waiting=None):
        thread = threading.Thread(
            target=store.fill, args=(encoder, TEXTS[:50]), kwargs={"note": notes.append}
        )
        thread.start()
        deadline = time.monotonic() + 20
        while not notes and time.monotonic() < deadline:
            time.sleep(0.01)
        assert notes == ["another process is encoding for the same states; waiting for it"]
        assert encoder.encoded == []
        with pytest.raises(DataError, match="another process is adding to the states of fake-"):
            clear(root=tmp_path)
        other = KnownStates()
        inner = store_in(tmp_path)
        job = fill._Job(inner, other, TEXTS[10:49], None, None)
        job.run()
    thread.join(20)
    assert encoder.encoded == TEXTS[49:50]


def _fill_slowly(root: Path, told: Path, seconds: float) -> None:
    store_in(root, 500).fill(Slow(seconds, told), TEXTS[:60])


def start(root: Path, told: Path, seconds: float) -> multiprocessing.process.BaseProcess:
    process = multiprocessing.get_context("spawn").Process(
        target=_fill_slowly, args=(root, told, seconds)
    )
    process.start()
    return process


def test_two_processes_share_the_work_of_one(tmp_path: Path) -> None:
    told = tmp_path / "told"
    processes = [start(tmp_path, told, 0.005) for _ in range(2)]
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    assert Counter(told.read_text().splitlines()) == Counter(TEXTS[:60])
    assert not len(store_in(tmp_path).missing(TEXTS[:60]))


def test_after_a_kill_it_goes_on_from_the_finished_segments(tmp_path: Path) -> None:
    told = tmp_path / "told"
    process = start(tmp_path, told, 0.05)
    store = store_in(tmp_path)
    deadline = time.monotonic() + 60
    while len(store.missing(TEXTS[:60])) > 50 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join(20)
    left = len(store.missing(TEXTS[:60]))
    assert 0 < left <= 50
    encoder = KnownStates()
    assert store.fill(encoder, TEXTS[:60]).texts == left
    states, mask = store.reader(TEXTS[:60]).padded(np.arange(60))
    for index, text in enumerate(TEXTS[:60]):
        assert torch.equal(states[index][mask[index]], encoder.states(text).half().float())


def test_damage_found_while_filling_is_told_to_who_listens(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    store.fill(KnownStates(), TEXTS)
    path = store.locate(TEXTS[:1]).segments[0].path
    path.write_bytes(b"")
    notes: list[str] = []
    store_in(tmp_path).fill(KnownStates(), TEXTS, note=notes.append)
    assert "is damaged" in notes[0]
    assert "texts to encode" in notes[1]


def test_a_disk_that_cannot_be_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(path: Path) -> Usage:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(shutil, "disk_usage", fail)
    with pytest.raises(DataError, match=r"cannot write .*Input/output error"):
        store_in(tmp_path).require_disk(1)
