"""Every window in one bin, no bin overfull, and few bins."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_encoders import save_tiny_encoder
from torch import nn

from qkv.text.encoder import Encoder, load_encoder, locate_encoder
from qkv.text.encoder import model as encoder_model
from qkv.text.encoder.blocks import (
    ROWS_STEP,
    WINDOW_ROWS,
    PrepackedLinear,
    _can_prepack,
    blocks_by_size,
    fill_bins,
    prepack_linears,
)
from qkv.text.tokenizer import Tokenizer
from qkv.text.windows import TruncationSettings, join, prepare

LENGTHS = st.lists(st.integers(1, 40), max_size=60)


def bins_of(lengths: list[int], capacity: int) -> list[list[int]]:
    return [indices.tolist() for indices in fill_bins(np.array(lengths, dtype=np.int64), capacity)]


def test_a_case_by_hand() -> None:
    # 7 alone leaves 3; 6 leaves 4, which the 4 fits exactly; the 3 goes to the 7.
    assert bins_of([4, 7, 3, 6], 10) == [[1, 2], [3, 0]]


@given(lengths=LENGTHS, capacity=st.integers(40, 100))
def test_bins_hold_everything_once_and_are_not_overfull(lengths: list[int], capacity: int) -> None:
    bins = bins_of(lengths, capacity)
    assert sorted(index for indices in bins for index in indices) == list(range(len(lengths)))
    assert all(sum(lengths[index] for index in indices) <= capacity for indices in bins)


@given(lengths=LENGTHS, capacity=st.integers(40, 100))
def test_no_two_bins_could_be_one(lengths: list[int], capacity: int) -> None:
    sizes = sorted(
        sum(lengths[index] for index in indices) for indices in bins_of(lengths, capacity)
    )
    assert len(sizes) < 2 or sizes[0] + sizes[1] > capacity


def test_a_window_that_fits_no_bin() -> None:
    with pytest.raises(ValueError, match="a window of 11 tokens does not fit into 10"):
        bins_of([3, 11], 10)


def test_no_windows() -> None:
    assert bins_of([], 10) == []


# Windows computed by their size: as soon as possible for one, and still each for itself.

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


# Weights in the order in which the CPU reads them: the same products, to the last bit.

needs_the_means = pytest.mark.skipif(
    not _can_prepack(),
    reason="this processor has no products of bfloat16",
)


@needs_the_means
@given(
    rows=st.integers(1, 700),
    inputs=st.sampled_from([1, 7, 32, 96, 384, 1536]),
    outputs=st.sampled_from([1, 5, 64, 384]),
    bias=st.booleans(),
)
def test_a_product_is_the_same_to_the_last_bit(
    rows: int, inputs: int, outputs: int, bias: bool
) -> None:
    torch.manual_seed(rows)
    linear = nn.Linear(inputs, outputs, bias=bias).to(torch.bfloat16)
    x = torch.randn(1, rows, inputs, dtype=torch.bfloat16)
    with torch.inference_mode():
        assert torch.equal(PrepackedLinear(linear)(x), linear(x))


@needs_the_means
def test_every_linear_map_within_a_module_is_replaced_and_nothing_else() -> None:
    module = nn.Sequential(
        nn.Linear(8, 8), nn.LayerNorm(8), nn.ModuleDict({"inner": nn.Linear(8, 4, bias=False)})
    ).to(torch.bfloat16)
    norm = module[1]
    prepack_linears(module)
    assert isinstance(module[0], PrepackedLinear)
    assert isinstance(module[2]["inner"], PrepackedLinear)
    assert module[1] is norm


@needs_the_means
@pytest.mark.parametrize("by_size", [False, True])
def test_states_are_those_of_weights_as_they_were(
    tmp_path: Path, by_size: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_tiny_encoder(tmp_path, max_position_embeddings=200)
    files = locate_encoder(str(tmp_path), None)
    random = np.random.default_rng(0)
    windows = [random.integers(4, 90, length).astype(np.int32) for length in (3, 70, 129, 200)]
    states = []
    for lay_out in (prepack_linears, lambda _: None):
        monkeypatch.setattr(encoder_model, "prepack_linears", lay_out)
        encoder = load_encoder(files, device=torch.device("cpu"), precision="bfloat16")
        if by_size:
            encoder.compute_windows_by_size()
        states.append(encoder.packed_states(windows, [1, 3]))
    assert torch.equal(*states)


def test_without_the_means_maps_are_left_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qkv.text.encoder.blocks._can_prepack", lambda: False)
    module = nn.Sequential(nn.Linear(4, 4)).to(torch.bfloat16)
    prepack_linears(module)
    assert type(module[0]) is nn.Linear
