"""Cached states: filled once, found by content, and never believed when damaged."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter, namedtuple
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from known_states import KnownStates, PreparedWords, Progress
from qkv.errors import DataError
from qkv.files import locked
from qkv.text import encoder_cache
from qkv.text.encoder_cache import (
    CachedStates,
    EncoderCache,
    Kind,
    lock_path,
    pack,
    row_bytes,
    unpack,
)

TEXTS = ["one two three", "", "a b c d e f g", "lone \ud800 surrogate", "one two three", "ünï"]
MANY = [f"{'word ' * (number % 40)}{number}" for number in range(300)]
TOKENS = sum(len(text.split()) + 2 for text in MANY)
Usage = namedtuple("Usage", "total used free")


def cache_in(root: Path, *, kind: Kind = "float16", notes: list[str] | None = None) -> EncoderCache:
    encoder = KnownStates()
    note = None if notes is None else notes.append
    return EncoderCache(encoder.facts, encoder.dim, kind=kind, root=root, note=note)


def require_all(cache: EncoderCache, texts: list[str]) -> None:
    """Every text's states are those of the encoder, rounded to float16."""
    reader = cache.reader(texts)
    wanted = [KnownStates().states(text).half().float() for text in texts]
    assert reader.lengths.tolist() == [len(states) for states in wanted]
    states, mask = reader.padded(np.arange(len(texts)))
    for index, rows in enumerate(wanted):
        assert torch.equal(states[index][mask[index]], rows)
        assert not states[index][~mask[index]].any()


# How states are kept.

floats = st.floats(-(2.0**126), 2.0**126, width=32)


def matrices(entries: st.SearchStrategy[float], dim: int = 5) -> st.SearchStrategy[torch.Tensor]:
    rows = st.lists(st.lists(entries, min_size=dim, max_size=dim), max_size=7)
    return rows.map(lambda r: torch.tensor(r, dtype=torch.float32).reshape(-1, dim))


@given(states=matrices(floats))
@example(states=torch.tensor([[1e-44, 0, 0, -1e-44, 0], [1e-38, 0, 0, 0, 0]]))
def test_int8_is_off_by_half_a_scale_at_most(states: torch.Tensor) -> None:
    values, scales = pack(states, "int8")
    assert values.dtype == np.int8
    assert scales is not None
    assert values.nbytes + scales.nbytes == len(states) * row_bytes(5, "int8")
    back = unpack(values, scales).double()
    wide = torch.from_numpy(scales).double()[:, None]
    # The product is rounded to float32 once more.
    bound = wide / 2 * (1 + 1e-5) + states.double().abs() * 2**-23
    assert bool(((back - states.double()).abs() <= bound).all())
    largest = states.double().abs().amax(dim=1, keepdim=True) / 127
    ordinary = largest > torch.finfo(torch.float32).tiny
    assert torch.allclose(wide[ordinary], largest[ordinary], rtol=1e-6)


@given(states=matrices(st.floats(-65504, 65504, width=32)))
def test_float16_keeps_eleven_bits(states: torch.Tensor) -> None:
    values, scales = pack(states, "float16")
    assert values.nbytes == len(states) * row_bytes(5, "float16")
    bound = torch.maximum(states.abs() * 2**-11, torch.tensor(2.0**-25))
    assert bool(((unpack(values, scales) - states).abs() <= bound).all())


@pytest.mark.parametrize("kind", ["float16", "int8"])
def test_packing_takes_bfloat16_and_copies(kind: Kind) -> None:
    states = torch.randn(4, 3, generator=torch.Generator().manual_seed(1)).to(torch.bfloat16)
    assert torch.allclose(unpack(*pack(states, kind)), states.float(), atol=0.02)
    halves = states.half()
    kept = pack(halves, "float16")
    halves.zero_()
    assert kept.values.any()
    assert not unpack(*pack(torch.zeros(2, 3), kind)).any()


def test_states_that_cannot_be_kept_are_refused(tmp_path: Path) -> None:
    class Loud(KnownStates):
        factor = 1e6

        def states(self, text: str) -> torch.Tensor:
            return super().states(text) * self.factor

    encoder = Loud()
    with pytest.raises(DataError, match=r'beyond float16; keep them with states = "int8"'):
        cache_in(tmp_path).fill(encoder, TEXTS)
    cache = cache_in(tmp_path, kind="int8")
    cache.fill(encoder, TEXTS)
    states, _ = cache.reader(TEXTS[:1]).padded([0])
    assert torch.allclose(states[0], encoder.states(TEXTS[0]), atol=4e6 / 254)
    encoder.factor = float("nan")
    for kind in ("float16", "int8"):
        with pytest.raises(DataError, match="infinite or not numbers"):
            cache_in(tmp_path, kind=kind).fill(encoder, ["new"])


# Filling and finding.


def test_a_text_is_encoded_once_whatever_data_set_it_is_in(tmp_path: Path) -> None:
    encoder = KnownStates()
    cache = cache_in(tmp_path)
    assert cache.fill(encoder, []) == 0
    assert not cache.folder.exists()
    assert cache.fill(encoder, TEXTS[:3]) == 3
    second = cache_in(tmp_path)
    assert second.missing(TEXTS).tolist() == [3, 5]
    with pytest.raises(DataError, match="lacks the states of 2 of 6 texts"):
        second.reader(TEXTS)
    assert second.fill(encoder, TEXTS[::-1]) == 2
    assert second.fill(encoder, TEXTS) == 0
    assert Counter(encoder.encoded) == Counter(set(TEXTS))
    require_all(second, TEXTS)
    require_all(cache_in(tmp_path), TEXTS[::-1])
    assert cache.reader(TEXTS[::-1]).pieces.tolist() == [1, 3, 3, 7, 0, 3]
    states, mask = cache.reader([]).padded([])
    assert (states.shape, mask.shape) == ((0, 0, 6), (0, 0))


def test_caches_of_other_facts_width_or_kind_are_apart(tmp_path: Path) -> None:
    cache_in(tmp_path).fill(KnownStates(), TEXTS)
    other = KnownStates(name="../../else where/BERT base!")
    caches = [
        EncoderCache(other.facts, 6, root=tmp_path),
        EncoderCache(KnownStates().facts, 7, root=tmp_path),
        cache_in(tmp_path, kind="int8"),
    ]
    assert all(len(cache.missing(TEXTS)) == len(TEXTS) for cache in caches)
    assert len({cache.folder for cache in [*caches, cache_in(tmp_path)]}) == 4
    assert caches[0].folder.parent == tmp_path
    assert caches[0].folder.name.startswith("BERT-base-")
    with pytest.raises(ValueError, match="is not what"):
        caches[0].fill(KnownStates(), TEXTS)
    # Nor does one believe the files of another.
    shutil.copytree(cache_in(tmp_path).folder, caches[0].folder)
    assert len(caches[0].missing(TEXTS)) == len(TEXTS)


@pytest.mark.parametrize("name", ["", "/", "..", "\\", ".hidden", "-rf", "a" * 300, "模型"])
def test_any_name_makes_a_plain_folder_name(tmp_path: Path, name: str) -> None:
    folder = EncoderCache(KnownStates(name=name).facts, 6, root=tmp_path).folder
    assert folder.parent == tmp_path
    assert folder.name[0].isalnum()
    assert folder.name.isascii()
    assert len(folder.name) < 80


def test_the_facts_are_kept_for_people_and_mended(tmp_path: Path) -> None:
    cache = cache_in(tmp_path)
    cache.fill(KnownStates(), TEXTS[:2])
    facts = cache.folder / "facts.json"
    document = json.loads(facts.read_text())
    assert document == {"format": 2, "facts": KnownStates().facts, "dim": 6, "kind": "float16"}
    facts.write_text("{")
    cache.fill(KnownStates(), TEXTS)
    assert json.loads(facts.read_text()) == document


def test_states_of_a_wrong_shape_are_a_bug_of_the_encoder(tmp_path: Path) -> None:
    class Short(KnownStates):
        def states(self, text: str) -> torch.Tensor:
            return super().states(text)[1:]

    with pytest.raises(ValueError, match=r"shape \(1, 6\), not \(2, 6\)"):
        cache_in(tmp_path).fill(Short(), TEXTS)


def test_it_announces_tokens_disk_and_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoder_cache, "ESTIMATE_AFTER_SECONDS", 0.1)
    notes: list[tuple[str, int]] = []
    calls: list[tuple[int, int]] = []
    encoder, cache = Slow(0.002), cache_in(tmp_path)
    cache.fill(
        encoder,
        MANY,
        progress=lambda done, total: calls.append((done, total)),
        note=lambda note: notes.append((note, len(encoder.encoded))),
    )
    ahead, estimate = notes
    assert ahead == (
        f"300 texts to encode, {TOKENS:,} tokens; {TOKENS * 12 / 1024:.3g} KiB in {cache.folder}",
        0,
    )
    found = re.fullmatch(r"about (\d+) s to go at ([\d,]+) tokens/s", estimate[0])
    assert found
    done = sum(len(text.split()) + 2 for text in encoder.encoded[: estimate[1]])
    assert int(found[2].replace(",", "")) < done / (0.002 * (estimate[1] - 1))
    assert calls[-1] == (TOKENS, TOKENS)
    assert [done for done, _ in calls] == sorted(done for done, _ in calls)


# Reading.


@pytest.fixture(scope="module", params=["float16", "int8"])
def read(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> CachedStates:
    cache = cache_in(tmp_path_factory.mktemp("states"), kind=request.param)
    cache.fill(KnownStates(), MANY)
    return cache.reader(MANY)


def expected(read: CachedStates, text: str) -> torch.Tensor:
    """What rounding leaves of a text's states, computed apart from the package."""
    states = KnownStates().states(text).numpy()
    if read.kind == "float16":
        return torch.from_numpy(states.astype(np.float16).astype(np.float32))
    scales = np.abs(states).max(axis=1, keepdims=True) / np.float32(127)
    return torch.from_numpy(np.rint(states / scales).astype(np.float32) * scales)


@given(indices=st.lists(st.integers(0, len(MANY) - 1), max_size=10))
def test_any_batch_is_padded_with_zeros_to_its_longest(
    read: CachedStates, indices: list[int]
) -> None:
    states, mask = read.padded(np.array(indices, dtype=np.int64))
    kept = states.clone()
    read.padded([5, 6])  # overwrites nothing
    assert torch.equal(states, kept)
    wanted = [expected(read, MANY[index]) for index in indices]
    assert states.shape == (len(indices), max(map(len, wanted), default=0), 6)
    assert states.dtype == torch.float32
    assert mask.sum(dim=1).tolist() == [len(rows) for rows in wanted]
    for row, rows in enumerate(wanted):
        assert torch.allclose(states[row, : len(rows)], rows, rtol=1e-6, atol=1e-7)
        assert not states[row, len(rows) :].any()
        assert bool(mask[row, : len(rows)].all())


def test_a_reader_outlives_a_clearing_and_notices_a_loss(tmp_path: Path) -> None:
    cache = cache_in(tmp_path)
    cache.fill(KnownStates(), MANY)
    reader = cache.reader(MANY)
    before, _ = reader.padded([3])
    shutil.rmtree(cache.folder)
    cache.fill(KnownStates(), MANY[::-1][:100])  # other states at the same places
    assert torch.equal(reader.padded([3])[0], before)
    reader = cache.reader(MANY[-2:])
    os.truncate(cache.folder / "states.bin", 50)
    with pytest.raises(DataError, match=r"has shrunk since .* run again"):
        reader.padded([0])


MEASURE = """
import sys, re
from pathlib import Path
import numpy as np, torch
torch.set_num_threads(1)
from qkv.text.encoder_cache import EncoderCache

def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) * 1024

class Encoder:
    dim, facts = 384, {"name": "large"}
    def prepare(self, texts):
        class Prepared:
            values = list(map(float, texts))
            rows = pieces = np.full(len(texts), 256)
            tokens = 256 * len(texts)
        return Prepared
    def encode(self, prepared, *, progress):
        for index, value in enumerate(prepared.values):
            yield index, torch.full((256, 384), value)

texts = [str(number) for number in range(1000)]
cache = EncoderCache(Encoder.facts, 384, root=Path(sys.argv[1]))
Path("/proc/self/clear_refs").write_text("5")
before = peak()
cache.fill(Encoder(), texts)
reader = cache.reader(texts)
total = 0.0
for start in range(0, 1000, 10):
    states, mask = reader.padded(np.arange(start, start + 10))
    total += float(states[:, 0, 0].sum())
size = (cache.folder / "states.bin").stat().st_size
print(total == sum(range(1000)), size, peak() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux's accounts")
def test_memory_does_not_grow_with_the_cache(tmp_path: Path) -> None:
    """187 MiB of states are filled, checked and read within a few batches."""
    answer = subprocess.run(
        [sys.executable, "-c", MEASURE, str(tmp_path)], capture_output=True, text=True, check=True
    )
    right, size, grown = answer.stdout.split()
    assert right == "True"
    assert int(size) > 187 * 2**20
    assert int(grown) < 80 * 2**20  # libraries that are paged in count too


# Interruptions, other processes, and disks.


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


words = st.lists(st.sampled_from(["a", "b", "cc"]), max_size=4).map(" ".join)
steps = st.lists(
    st.tuples(
        st.lists(words, max_size=8),  # texts to have
        st.none() | st.integers(0, 6),  # encoded before the process is interrupted
        st.booleans(),  # whether the cache is opened anew
    ),
    min_size=1,
    max_size=5,
)


@settings(max_examples=60)
@given(steps=steps, error=st.sampled_from([KeyboardInterrupt, SystemExit, MemoryError]))
def test_any_history_of_fillings_and_interruptions_ends_in_the_encoders_states(
    steps: list[tuple[list[str], int | None, bool]], error: type[BaseException]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        cache = cache_in(Path(folder))
        everything: list[str] = []
        encoded: Counter[str] = Counter()
        for texts, fail_after, opened_anew in steps:
            cache = cache_in(Path(folder)) if opened_anew else cache
            encoder = KnownStates(fail_after=fail_after, error=error)
            everything += texts
            try:
                cache.fill(encoder, texts)
            except error:
                pass
            else:
                require_all(cache, texts)
            encoded.update(encoder.encoded)
        encoder = KnownStates()
        cache.fill(encoder, everything)
        assert encoded + Counter(encoder.encoded) == Counter(set(everything))
        require_all(cache, everything)
        require_all(cache_in(Path(folder)), everything)


def _fill_slowly(root: Path, told: Path, seconds: float) -> None:
    cache_in(root).fill(Slow(seconds, told), MANY[:60])


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
    assert Counter(told.read_text().splitlines()) == Counter(MANY[:60])
    require_all(cache_in(tmp_path), MANY[:60])


def test_after_a_kill_it_goes_on_from_what_was_encoded(tmp_path: Path) -> None:
    process = start(tmp_path, tmp_path / "told", 0.05)
    cache = cache_in(tmp_path)
    deadline = time.monotonic() + 60
    while len(cache.missing(MANY[:60])) > 50 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join(20)
    left = len(cache.missing(MANY[:60]))
    assert 0 < left <= 50
    assert cache.fill(KnownStates(), MANY[:60]) == left
    require_all(cache, MANY[:60])


@pytest.mark.parametrize("lost", range(1, 53, 7))
def test_a_kill_between_two_bytes_costs_one_text(tmp_path: Path, lost: int) -> None:
    cache = cache_in(tmp_path)
    cache.fill(KnownStates(), MANY[:9])
    os.truncate(cache.folder / "index.bin", 9 * 52 - lost)
    assert len(cache.missing(MANY[:9])) == 1
    assert cache.fill(KnownStates(), MANY[:12]) == 4
    require_all(cache_in(tmp_path), MANY[:12])


def test_the_second_waits_says_so_and_finds_what_is_there(tmp_path: Path) -> None:
    notes: list[str] = []
    cache, encoder = cache_in(tmp_path), KnownStates()
    with locked(lock_path(cache.folder)):
        thread = threading.Thread(
            target=cache.fill, args=(encoder, MANY[:50]), kwargs={"note": notes.append}
        )
        thread.start()
        deadline = time.monotonic() + 20
        while not notes and time.monotonic() < deadline:
            time.sleep(0.01)
        assert notes == ["another process is encoding for the same states; waiting for it"]
        assert encoder.encoded == []
        cache_in(tmp_path)._append(KnownStates(), MANY[:49], None)
    thread.join(20)
    assert encoder.encoded == MANY[49:50]


def test_it_refuses_before_encoding_if_the_disk_lacks_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    needed = TOKENS * 12
    monkeypatch.setattr(encoder_cache, "SPARE_BYTES", 2 * 2**20)
    free = needed + 2 * 2**20
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(10**12, 0, free - 1))
    encoder, cache = KnownStates(), cache_in(tmp_path / "not" / "there")
    with pytest.raises(DataError) as caught:
        cache.fill(encoder, MANY)
    assert encoder.encoded == []
    message = str(caught.value)
    assert f"need {needed / 1024:.3g} KiB and 2 MiB to spare, but {cache.root} has" in message
    assert "set QKV_CACHE" in message
    assert f'states = "int8" ({TOKENS * 10 / 1024:.3g} KiB)' in message
    with pytest.raises(DataError) as caught:
        cache_in(tmp_path, kind="int8").fill(encoder, MANY * 1 + ["w " * 10**5])
    assert caught.value.remedy == "free the disk, set QKV_CACHE to a folder with more room"
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(10**12, 0, free))
    cache.fill(encoder, MANY)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a full device")
@pytest.mark.parametrize("name", ["states.bin", "index.bin"])
def test_a_disk_that_is_full_gets_one_line(tmp_path: Path, name: str) -> None:
    cache = cache_in(tmp_path)
    cache.fill(KnownStates(), TEXTS[:1])
    (cache.folder / name).unlink()
    (cache.folder / name).symlink_to("/dev/full")
    with pytest.raises(DataError, match=r"cannot write .*No space left on device; free the disk"):
        cache._append(KnownStates(), TEXTS, None)


FILL_A_LITTLE = """
import resource, sys
from pathlib import Path
from test_encoder_cache import *
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
try:
    cache_in(Path(sys.argv[1])).fill(KnownStates(), MANY)
except DataError as error:
    print(error)
"""


@pytest.mark.skipif(os.name != "posix", reason="needs limits on files")
def test_a_disk_that_fills_up_keeps_what_was_finished(tmp_path: Path) -> None:
    """The system refuses to write beyond 20 kB of states."""
    run = subprocess.run(
        [sys.executable, "-c", FILL_A_LITTLE, str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert run.stdout.startswith("cannot write ")
    assert run.stdout.count("\n") == 1
    cache = cache_in(tmp_path)
    left = len(cache.missing(MANY))
    assert 0 < left < len(MANY)
    assert cache.fill(KnownStates(), MANY) == left
    require_all(cache, MANY)


def test_where_nothing_can_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says so, and a complete cache is used all the same."""
    blocked = tmp_path / "file"
    blocked.write_bytes(b"")
    with pytest.raises(DataError, match=r"cannot write .*set QKV_CACHE to another folder"):
        cache_in(blocked / "states").fill(KnownStates(), TEXTS)

    cache_in(tmp_path).fill(KnownStates(), MANY)
    shutil.rmtree(tmp_path / "locks")

    def refuse(*arguments: object, **_: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    for name in ("utime", "mkdir", "replace", "fsync"):
        monkeypatch.setattr(os, name, refuse)
    cache, encoder = cache_in(tmp_path), KnownStates()
    assert cache.fill(encoder, MANY) == 0
    assert cache.reader(MANY).lengths.sum() == TOKENS
    with pytest.raises(DataError, match=r"cannot write .*Read-only file system"):
        cache.fill(encoder, [*MANY, "new"])


# Damage.


@settings(max_examples=150)
@given(data=st.data())
def test_no_flipped_bit_and_no_lost_end_is_believed(data: st.DataObject) -> None:
    texts = MANY[:5]
    with tempfile.TemporaryDirectory() as folder:
        cache = cache_in(Path(folder))
        cache.fill(KnownStates(), texts)
        path = cache.folder / data.draw(st.sampled_from(["states.bin", "index.bin"]))
        content = bytearray(path.read_bytes())
        at = data.draw(st.integers(0, len(content) - 1))
        if data.draw(st.booleans()):
            content[at] ^= 1 << data.draw(st.integers(0, 7))
        else:
            del content[at:]
        path.write_bytes(content)
        notes: list[str] = []
        again = cache_in(Path(folder), notes=notes)
        missing = again.missing(texts)
        assert len(missing)
        assert again.missing(texts).tolist() == missing.tolist()
        assert len(notes) <= 1
        assert all(f"{cache.folder / 'states.bin'} is damaged" in note for note in notes)
        assert again.fill(KnownStates(), texts) == len(missing)
        require_all(cache_in(Path(folder)), texts)


def test_damage_while_a_cache_is_open_is_noticed_too(tmp_path: Path) -> None:
    notes: list[str] = []
    cache = cache_in(tmp_path, notes=notes)
    cache.fill(KnownStates(), TEXTS)
    cache.reader(TEXTS)
    path = cache.folder / "states.bin"
    before = path.stat()
    time.sleep(0.05)  # longer than a tick of any file system's clock
    with path.open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(bytes([path.read_bytes()[-1] ^ 1]))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    notes.clear()
    with pytest.raises(DataError, match="lacks the states of 1 of 6"):
        cache.reader(TEXTS)
    assert notes == [f"{path} is damaged: states of 1 texts; they are encoded again"]
    path.unlink()
    assert len(cache.missing(TEXTS)) == len(TEXTS)
    cache.fill(KnownStates(), TEXTS)
    require_all(cache, TEXTS)


@pytest.mark.parametrize("content", [b"", b"\0" * 52, b"\xff" * 520, b"PK\3\4" * 100])
def test_any_bytes_in_place_of_the_index(tmp_path: Path, content: bytes) -> None:
    cache = cache_in(tmp_path)
    cache.fill(KnownStates(), TEXTS)
    (cache.folder / "index.bin").write_bytes(content)
    assert cache.fill(KnownStates(), TEXTS) == 5
    require_all(cache_in(tmp_path), TEXTS)


def test_an_unchanged_file_is_checked_once_in_a_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache_in(tmp_path).fill(KnownStates(), TEXTS)
    monkeypatch.setattr(encoder_cache, "WORTH_A_NOTE_BYTES", 1)
    notes: list[str] = []
    cache = cache_in(tmp_path, notes=notes)
    cache.missing(TEXTS[:2])
    cache.reader(TEXTS[:2])
    cache.reader(TEXTS)
    rows = [2 + len(text.split()) for text in dict.fromkeys(TEXTS)]
    assert notes == [
        f"checking {12 * sum(rows[:2])} bytes of cached states",
        f"checking {12 * sum(rows[2:])} bytes of cached states",
    ]


@pytest.mark.parametrize(("code", "damage"), [(errno.EACCES, False), (errno.EIO, True)])
def test_what_cannot_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, damage: bool
) -> None:
    """A sector that cannot be read is damage; a lacking right is not."""
    cache = cache_in(tmp_path)
    cache.fill(KnownStates(), TEXTS)

    class Bad(encoder_cache.FileIO):  # type: ignore[misc, name-defined]
        def read(self, *_: Any) -> bytes:
            raise OSError(code, os.strerror(code))

    monkeypatch.setattr(encoder_cache, "FileIO", Bad)
    if damage:
        assert len(cache_in(tmp_path).missing(TEXTS)) == len(TEXTS)
    else:
        with pytest.raises(DataError, match=r"cannot be read: Permission denied; make it readable"):
            cache_in(tmp_path).missing(TEXTS)
