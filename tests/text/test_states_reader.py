"""Reading kept states in padded batches."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from known_states import KnownStates
from qkv.text.states import StatesReader, open_store, reader

TEXTS = [f"{'w ' * (number * 7 % 13)}{number}" for number in range(40)]


@pytest.fixture(scope="module", params=["float16", "int8"])
def read(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> StatesReader:
    encoder = KnownStates(dim=5)
    root = tmp_path_factory.mktemp("states")
    store = open_store(encoder.facts, 5, kind=request.param, root=root, segment_bytes=400)
    store.fill(encoder, TEXTS)
    return store.reader(TEXTS)


def expected(read: StatesReader, text: str) -> torch.Tensor:
    """What rounding leaves of a text's states, computed apart from the package."""
    states = KnownStates(dim=5).states(text).numpy()
    if read.kind == "float16":
        return torch.from_numpy(states.astype(np.float16).astype(np.float32))
    scales = np.abs(states).max(axis=1, keepdims=True) / np.float32(127)
    return torch.from_numpy(np.rint(states / scales).astype(np.float32) * scales)


@given(indices=st.lists(st.integers(0, len(TEXTS) - 1), max_size=10))
def test_any_batch_is_padded_with_zeros_to_its_longest(
    read: StatesReader, indices: list[int]
) -> None:
    states, mask = read.padded(np.array(indices, dtype=np.int64))
    wanted = [expected(read, TEXTS[index]) for index in indices]
    longest = max(map(len, wanted), default=0)
    assert states.shape == (len(indices), longest, 5)
    assert states.dtype == torch.float32
    assert mask.sum(dim=1).tolist() == [len(rows) for rows in wanted]
    for row, rows in enumerate(wanted):
        assert torch.allclose(states[row, : len(rows)], rows, rtol=1e-6, atol=1e-7)
        assert not states[row, len(rows) :].any()
        assert bool(mask[row, : len(rows)].all())


def test_a_batch_is_not_overwritten_by_the_next(read: StatesReader) -> None:
    first, _ = read.padded([3, 4])
    kept = first.clone()
    read.padded([5, 6])
    assert torch.equal(first, kept)


def test_a_reader_has_its_own_order_and_takes_copies(tmp_path: Path) -> None:
    encoder = KnownStates()
    store = open_store(encoder.facts, 6, root=tmp_path)
    texts = ["b b", "a", "b b", "c c c"]
    store.fill(encoder, texts)
    reader_of_copies = store.reader(texts)
    assert len(reader_of_copies) == 4
    assert reader_of_copies.lengths.tolist() == [4, 3, 4, 5]
    states, _ = reader_of_copies.padded([0, 2])
    assert torch.equal(states[0], states[1])


def test_few_files_are_open_at_a_time(
    read: StatesReader, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(reader, "MAX_OPEN_FILES", 2)
    read.close()
    order = np.random.default_rng(0).permutation(len(TEXTS))
    for index in order:
        states, _ = read.padded([index])
        assert torch.allclose(states[0], expected(read, TEXTS[index]), rtol=1e-6, atol=1e-7)
        assert len(read._files._files) <= 2


MEASURE = """
import sys, re
from pathlib import Path
import numpy as np, torch
torch.set_num_threads(1)
sys.path.insert(0, sys.argv[1])
from qkv.text.states import open_store

def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) * 1024

class Encoder:
    dim, facts = 384, {"name": "large"}
    def prepare(self, texts, *, progress=None):
        class Prepared:
            values = list(map(float, texts))
            rows = np.full(len(texts), 256)
            tokens = 256 * len(texts)
        return Prepared
    def encode(self, prepared, *, progress=None):
        for index, value in enumerate(prepared.values):
            yield index, torch.full((256, 384), value)

texts = [str(number) for number in range(1000)]
store = open_store(Encoder.facts, 384, root=Path(sys.argv[1]), segment_bytes=8 * 2**20)
Path("/proc/self/clear_refs").write_text("5")
before = peak()
store.fill(Encoder(), texts)
reader = store.reader(texts)
total = 0.0
for start in range(0, 1000, 10):
    states, mask = reader.padded(np.arange(start, start + 10))
    total += float(states[:, 0, 0].sum())
size = sum(path.stat().st_size for path in store.folder.glob("*.safetensors"))
print(total == sum(range(1000)), size, peak() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux's accounts")
def test_memory_does_not_grow_with_the_store(tmp_path: Path) -> None:
    """187 MiB of states are filled, checked and read within a few segments and batches."""
    answer = subprocess.run(
        [sys.executable, "-c", MEASURE, str(tmp_path)], capture_output=True, text=True, check=True
    )
    right, size, grown = answer.stdout.split()
    assert right == "True"
    assert int(size) > 187 * 2**20
    assert int(grown) < 80 * 2**20
