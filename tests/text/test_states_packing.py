"""How states are kept: the error that rounding makes, and its bound."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from qkv.text.states.packing import pack, row_bytes, unpack

floats = st.floats(-(2.0**126), 2.0**126, width=32)


def matrices(entries: st.SearchStrategy[float], dim: int = 5) -> st.SearchStrategy[torch.Tensor]:
    rows = st.lists(st.lists(entries, min_size=dim, max_size=dim), max_size=7)
    return rows.map(lambda r: torch.tensor(r, dtype=torch.float32).reshape(-1, dim))


@given(states=matrices(floats))
@example(states=torch.tensor([[1e-44, 0, 0, -1e-44, 0], [1e-38, 0, 0, 0, 0]]))
def test_int8_is_off_by_half_a_scale_at_most(states: torch.Tensor) -> None:
    packed = pack(states, "int8")
    assert packed.values.dtype == np.int8
    assert packed.scales is not None
    assert packed.bytes == len(states) * row_bytes(5, "int8")
    back = unpack(packed.values, packed.scales).double()
    scales = torch.from_numpy(packed.scales).double()[:, None]
    # The product is rounded to float32 once more.
    bound = scales / 2 * (1 + 1e-5) + states.double().abs() * 2**-23
    assert bool(((back - states.double()).abs() <= bound).all())
    largest = states.double().abs().amax(dim=1, keepdim=True) / 127
    ordinary = largest > torch.finfo(torch.float32).tiny
    assert torch.allclose(scales[ordinary], largest[ordinary], rtol=1e-6)


@given(states=matrices(st.floats(-65504, 65504, width=32)))
def test_float16_keeps_eleven_bits(states: torch.Tensor) -> None:
    packed = pack(states, "float16")
    assert packed.bytes == len(states) * row_bytes(5, "float16")
    back = unpack(packed.values, None)
    bound = torch.maximum(states.abs() * 2**-11, torch.tensor(2.0**-25))
    assert bool(((back - states).abs() <= bound).all())


@pytest.mark.parametrize("kind", ["float16", "int8"])
def test_packing_takes_bfloat16_and_copies(kind: str) -> None:
    states = torch.randn(4, 3, generator=torch.Generator().manual_seed(1)).to(torch.bfloat16)
    packed = pack(states, kind)
    back = unpack(packed.values, packed.scales)
    assert torch.allclose(back, states.float(), atol=0.02)
    halves = states.half()
    kept = pack(halves, "float16")
    halves.zero_()
    assert kept.values.any()


def test_a_state_of_zeros_stays_zero() -> None:
    packed = pack(torch.zeros(2, 3), "int8")
    assert not unpack(packed.values, packed.scales).any()
