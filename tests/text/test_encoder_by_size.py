"""Windows computed by their size: as soon as possible for one, and still each for itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_encoders import save_tiny_encoder

from qkv.text.encoder import Encoder, load_encoder, locate_encoder
from qkv.text.encoder.blocks import ROWS_STEP, WINDOW_ROWS, blocks_by_size
from qkv.text.tokenizer import Tokenizer
from qkv.text.windows import TruncationSettings, join, prepare

POSITIONS = 200


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("encoder")
    save_tiny_encoder(path, max_position_embeddings=POSITIONS)
    return path


@pytest.fixture(scope="module")
def encoder(folder: Path) -> Encoder:
    files = locate_encoder(str(folder), None)
    loaded = load_encoder(files, device=torch.device("cpu"), precision="bfloat16")
    loaded.compute_windows_by_size()
    return loaded


def windows_of(lengths: list[int]) -> list[np.ndarray]:
    random = np.random.default_rng(sum(lengths))
    return [random.integers(4, 90, length).astype(np.int32) for length in lengths]


@given(lengths=st.lists(st.integers(1, POSITIONS), min_size=1, max_size=9))
def test_states_do_not_depend_on_the_other_windows(encoder: Encoder, lengths: list[int]) -> None:
    windows = windows_of(lengths)
    together = torch.split(encoder.packed_states(windows, [1, 3]), lengths)
    for window, states in zip(windows, together, strict=True):
        assert torch.equal(encoder.packed_states([window], [1, 3]), states)


@given(lengths=st.lists(st.integers(1, POSITIONS), min_size=1, max_size=30))
def test_the_rows_of_a_window_follow_from_its_length(lengths: list[int]) -> None:
    seen: dict[int, int] = {}
    for block in blocks_by_size(np.array(lengths)):
        assert sum(lengths[index] for index in block.windows) <= block.rows
        assert not block.masked or len(block.windows) == 1
        for index in block.windows.tolist():
            assert index not in seen
            seen[index] = block.rows
    for index, length in enumerate(lengths):
        alone = -(-length // ROWS_STEP) * ROWS_STEP
        assert seen[index] == next((rows for rows in WINDOW_ROWS if length <= rows), alone)


def test_states_are_nearly_those_of_large_blocks(folder: Path, encoder: Encoder) -> None:
    files = locate_encoder(str(folder), None)
    usual = load_encoder(files, device=torch.device("cpu"), precision="bfloat16")
    windows = windows_of([3, 64, 65, 128, 129, 200])
    one, other = (e.packed_states(windows, [1, 3]) for e in (encoder, usual))
    assert (one - other).abs().max() < 0.1
    assert (one - other).abs().mean() < 0.01


def test_attention_of_a_long_window_leaves_the_filling_out(folder: Path, encoder: Encoder) -> None:
    files = locate_encoder(str(folder), None)
    usual = load_encoder(files, device=torch.device("cpu"), precision="bfloat16")
    windows = windows_of([131, 160])
    pairs = zip(encoder.attention(windows, 2), usual.attention(windows, 2), strict=True)
    for window, (weights, expected) in zip(windows, pairs, strict=True):
        assert weights.shape[1:] == (len(window), len(window))
        torch.testing.assert_close(weights.sum(dim=-1), torch.ones(weights.shape[:2]))
        torch.testing.assert_close(weights, expected, atol=0.05, rtol=0)


def test_other_precisions_are_left_as_they_are(folder: Path) -> None:
    files = locate_encoder(str(folder), None)
    exact = load_encoder(files, device=torch.device("cpu"), precision="float32")
    windows = windows_of([3, 64, 150])
    before = exact.packed_states(windows, [3])
    exact.compute_windows_by_size()
    assert torch.equal(exact.packed_states(windows, [3]), before)


@pytest.mark.parametrize("kind", ["head", "windows"])
def test_prepared_texts_joined_are_those_prepared_together(folder: Path, kind: str) -> None:
    tokenizer = Tokenizer(folder)
    overlap = {"overlap_tokens": 5} if kind == "windows" else {}
    settings = TruncationSettings.parse({"kind": kind, "max_tokens": 20, **overlap}, where="test")
    texts = ["good film", "the bad film " * 15, "", "good " * 18]
    parts = [prepare([text], tokenizer, settings, positions=POSITIONS) for text in texts]
    whole = prepare(texts, tokenizer, settings, positions=POSITIONS)
    joined = join(parts)
    for name in ("ids", "starts", "keep", "first_windows", "pieces"):
        np.testing.assert_array_equal(getattr(joined, name), getattr(whole, name))
    assert joined.cut == whole.cut
    np.testing.assert_array_equal(joined.rows, whole.rows)
