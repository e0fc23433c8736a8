"""Weights in the order in which the CPU reads them: the same products, to the last bit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_encoders import save_tiny_encoder
from torch import nn

from qkv.text.encoder import load_encoder, locate_encoder
from qkv.text.encoder import model as encoder_model
from qkv.text.encoder.blocks import LaidOutLinear, _can_lay_out, lay_out_linears

needs_the_means = pytest.mark.skipif(
    not _can_lay_out(),
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
        assert torch.equal(LaidOutLinear(linear)(x), linear(x))


@needs_the_means
def test_every_linear_map_within_a_module_is_replaced_and_nothing_else() -> None:
    module = nn.Sequential(
        nn.Linear(8, 8), nn.LayerNorm(8), nn.ModuleDict({"inner": nn.Linear(8, 4, bias=False)})
    ).to(torch.bfloat16)
    norm = module[1]
    lay_out_linears(module)
    assert isinstance(module[0], LaidOutLinear)
    assert isinstance(module[2]["inner"], LaidOutLinear)
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
    for lay_out in (lay_out_linears, lambda _: None):
        monkeypatch.setattr(encoder_model, "lay_out_linears", lay_out)
        encoder = load_encoder(files, device=torch.device("cpu"), precision="bfloat16")
        if by_size:
            encoder.compute_windows_by_size()
        states.append(encoder.packed_states(windows, [1, 3]))
    assert torch.equal(*states)


def test_without_the_means_maps_are_left_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qkv.text.encoder.blocks._can_lay_out", lambda: False)
    module = nn.Sequential(nn.Linear(4, 4)).to(torch.bfloat16)
    lay_out_linears(module)
    assert type(module[0]) is nn.Linear
