"""Inputs for linear attention, and what it must give: features by formulas of their own."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from qkv.attention import FAVOR, LinearAttentionState
from qkv.attention.feature_maps import feature_map_for
from qkv.attention.reference import linear_attention_reference

MAPS = ["identity", "relu", "elu", "favor", "taylor"]
HEAD_DIM = 5


def draw(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)


def heads(
    name: str,
    batch: tuple[int, ...],
    queries: int,
    keys: int | None = None,
    *,
    head_dim: int = HEAD_DIM,
    value_dim: int = 3,
    dtype: torch.dtype = torch.float64,
) -> list[Tensor]:
    """Query, key and value that the map can serve: all positive where it needs that."""
    keys = queries if keys is None else keys
    query, key = (
        draw(*batch, count, head_dim, seed=seed) for seed, count in enumerate([queries, keys])
    )
    if name == "identity":
        query, key = query.abs() + 0.1, key.abs() + 0.1
    tensors = query, key, draw(*batch, keys, value_dim, seed=2)
    return [tensor.to(dtype).requires_grad_() for tensor in tensors]


def state_of(key_value: Tensor, normaliser: Tensor) -> LinearAttentionState:
    """The state with these sums, of features that are never negative."""
    return LinearAttentionState(key_value, normaliser, normaliser)


def earlier_state(name: str, batch: tuple[int, ...]) -> list[Tensor]:
    """A state of earlier keys, as leaves."""
    _, key, value = heads(name, batch, 4)
    key = (key + 0.3).detach()
    mapped = feature_map_for(name, HEAD_DIM)(key)
    state = [mapped.transpose(-2, -1) @ value, mapped.sum(dim=-2)]
    return [part.detach().requires_grad_() for part in state]


def features(name: str, x: Tensor) -> Tensor:
    """φ(x), written as the papers do."""
    head_dim = x.shape[-1]
    if name == "identity":
        return x
    if name == "relu":
        return torch.where(x > 0, x, 0.0)
    if name == "elu":
        return F.elu(x) + 1
    scaled = x / math.sqrt(math.sqrt(head_dim))
    if name == "favor":
        directions = FAVOR(head_dim).directions.to(x)
        norm = torch.einsum("...d,...d->...", scaled, scaled)[..., None]
        projected = torch.einsum("...d,md->...m", scaled, directions)
        return (projected - norm / 2).exp() / len(directions) ** 0.5
    outer = torch.einsum("...a,...b->...ab", scaled, scaled).flatten(-2)
    return torch.cat([torch.ones_like(scaled[..., :1]), scaled, outer / math.sqrt(2)], dim=-1)


def by_token_loop(
    name: str,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    attention_mask: Tensor | None = None,
    is_causal: bool = False,
) -> Tensor:
    """The reference over every batch index; the mask is (…, 1, keys) or (keys)."""
    mapped, offers = features(name, query), features(name, key)
    batch = query.shape[:-2]
    mask = torch.ones(key.shape[-2], dtype=torch.bool) if attention_mask is None else attention_mask
    mask = (mask if mask.ndim == 1 else mask[..., 0, :]).expand(*batch, key.shape[-2])
    rows = [
        linear_attention_reference(
            mapped[index], offers[index], value[index], attention_mask=mask[index],
            is_causal=is_causal,
        )
        for index in itertools.product(*map(range, batch))
    ]  # fmt: skip
    return torch.stack(rows).view(*batch, query.shape[-2], value.shape[-1])


def by_weights(
    name: str,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    attention_mask: Tensor | None = None,
    is_causal: bool = False,
    initial_state: LinearAttentionState | None = None,
) -> Tensor:
    """All T×T scores at once, plus those of the keys before, which only their sums remember.

    For the twin, the features of the state must be those of `qkv`'s own map.
    """
    mapped, offers = features(name, query), features(name, key)
    scores = torch.einsum("...if,...jf->...ij", mapped, offers)
    if attention_mask is not None:
        scores = torch.where(attention_mask, scores, 0.0)
    if is_causal:
        places = torch.arange(scores.shape[-1])
        scores = torch.where(places[:, None] >= places, scores, 0.0)
    numerator, total = torch.einsum("...ij,...jv->...iv", scores, value), scores.sum(dim=-1)
    if initial_state is not None:
        numerator = numerator + torch.einsum("...if,...fv->...iv", mapped, initial_state[0])
        total = total + torch.einsum("...if,...f->...i", mapped, initial_state[1])
    matched = total[..., None] > 0
    return torch.where(matched, numerator / torch.where(matched, total[..., None], 1.0), 0.0)


def with_gradients(function: Any, tensors: list[Tensor], *inputs: Any, **options: Any) -> Any:
    """Output, and the gradients of `tensors` for one upstream gradient."""
    output = function(*inputs, *tensors, **options)
    upstream = draw(*output.shape, seed=9, dtype=output.dtype)
    return [output, *torch.autograd.grad(output, tensors, upstream, materialize_grads=True)]


def assert_all_close(actual: Any, expected: Any, *, tolerance: float = 1e-10) -> None:
    for one, other in zip(actual, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=tolerance, atol=tolerance)


def as_numpy(tensor: Tensor) -> np.ndarray:
    return tensor.detach().numpy()
