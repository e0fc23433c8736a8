"""Linear attention over all keys: two products, forward and backward, and no T×T matrix.

With S = Σ_j φ(k_j) v_jᵀ and z = Σ_j φ(k_j), the output is y_i = Sᵀφ(q_i) / φ(q_i)·z. Both sums are
taken first; then every query needs only them.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from qkv.attention.blocks import (
    LANES,
    Attended,
    Blocks,
    Pair,
    add_outer,
    add_sum,
    is_safe,
    joined,
    quotient_gradient,
)
from qkv.attention.feature_maps import FeatureMap


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    state: Tensor | None,
    sums: Tensor | None,
    feature_map: FeatureMap,
) -> tuple[Attended, Pair]:
    """Attend, off the record: the result, and state and sums once more for the backward pass.

    Args:
        query: (rows, queries, head_dim).
        key: (rows, keys, head_dim).
        value: (rows, keys, value_dim).
        mask: (rows, keys), False where a key is hidden.
        state: (rows, features, value_dim) to start from, zeros when None.
        sums: (rows, features) to start from, given when `state` is.
        feature_map: φ.
    """
    rows, queries, _ = query.shape
    blocks = Blocks(feature_map, query, max(queries, key.shape[1]))
    if blocks.is_one(rows):
        short = _attend_short_rows(blocks, query, key, value, mask, state, sums, None, None)
        return short, (short.state, short.sums)
    normaliser = torch.empty(rows, queries, dtype=blocks.dtype, device=query.device)
    output = normaliser.new_empty(rows, queries, value.shape[-1])
    states, totals = [], []
    for group in blocks.rows(query, key, value, mask, state, sums, output, normaliser):
        if blocks.is_long:
            row: tuple[Any, ...] = tuple(None if part is None else part[0] for part in group)
            last, last_sums = _attend_long_row(blocks, *row)
            last, last_sums = last[None], last_sums[None]
        else:
            _, _, last, last_sums, _ = _attend_short_rows(blocks, *group)
        states.append(last)
        totals.append(last_sums)
    ends = joined(states), joined(totals)
    return Attended(output, normaliser, *ends, is_safe(normaliser, output)), ends


def _attend_short_rows(
    blocks: Blocks,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    state: Tensor | None,
    sums: Tensor | None,
    output: Tensor | None,
    normaliser: Tensor | None,
) -> Attended:
    """Rows that are one block together: as one would write it first, (rows, tokens, ·).

    Writes `output` and `normaliser`, where they are given, as well as returning them.
    """
    features = blocks.feature_map(blocks.load(key))
    if mask is not None:
        features = features.masked_fill(~mask[..., None], 0.0)
    own = torch.bmm(features.transpose(1, 2), blocks.load(value))
    own_sums = features.sum(dim=1)
    if state is not None and sums is not None:
        own, own_sums = own + state, own_sums + sums
    features = blocks.feature_map(blocks.load(query))
    divisors = None if normaliser is None else normaliser.unsqueeze(-1)
    divisors = torch.bmm(features, own_sums.unsqueeze(-1), out=divisors)
    output = torch.bmm(features, own, out=output).div_(divisors)
    normaliser = divisors.squeeze(-1)
    return Attended(output, normaliser, own, own_sums, is_safe(normaliser, output))


def _attend_long_row(
    blocks: Blocks,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    state: Tensor | None,
    sums: Tensor | None,
    output: Tensor,
    normaliser: Tensor,
) -> tuple[Tensor, Tensor]:
    """One row of many blocks, (tokens, ·).

    Writes `output` and `normaliser`, and returns state and sums after the last key.
    """
    if state is None or sums is None:
        sums = normaliser.new_zeros(blocks.num_features)
        state = sums.new_zeros(blocks.num_features, value.shape[-1])
    else:
        state, sums = state.clone(), sums.clone()
    lanes = state.new_zeros(LANES, *state.shape)
    for keys, values, seen in blocks.spans(key, value, mask, dim=0):
        features = blocks.features(keys, seen)
        values = blocks.load(values)
        if len(values) % LANES:
            state.addmm_(features.t(), values)
        else:
            lanes.baddbmm_(
                features.view(LANES, -1, features.shape[-1]).transpose(1, 2),
                values.reshape(LANES, -1, values.shape[-1]),
            )
        # A product leaves the block with the cores that go on with it; `sum` would not.
        sums.addmv_(features.t(), features.new_ones(len(features)))
    state += lanes.sum(dim=0)
    for queries, out, divisors in blocks.spans(query, output, normaliser, dim=0):
        features = blocks.features(queries)
        torch.mv(features, sums, out=divisors)
        torch.mm(features, state, out=out).mul_(divisors.reciprocal()[:, None])
    return state, sums


def pull_back(
    feature_map: FeatureMap,
    inputs: tuple[Tensor, Tensor, Tensor, Tensor | None],
    kept: Pair,
    results: Pair,
    incoming: tuple[Tensor, Tensor, Tensor],
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients of query, key, value, state and sums: see `recorded.Form`."""
    query, key, value, mask = inputs
    blocks = Blocks(feature_map, query, max(query.shape[1], key.shape[1]))
    to_query, to_key, to_value = map(torch.empty_like, (query, key, value))
    for q, k, v, seen, y, n, s, z, dq, dk, dv, dy, ds, dz in blocks.rows(
        query, key, value, mask, *results, *kept,
        to_query, to_key, to_value, *incoming,
    ):  # fmt: skip
        for x, out, upstream, answer, total in blocks.spans(q, dq, dy, y, n):
            to_numerator, to_total = quotient_gradient(blocks, upstream, answer, total)
            features = blocks.features(x)
            add_outer(ds, features, to_numerator)
            add_sum(dz, to_total, features)
            gradient = blocks.scratch("gradient", *features.shape)
            torch.mul(to_total[..., None], z[:, None], out=gradient)
            gradient.baddbmm_(to_numerator, s.transpose(1, 2))
            blocks.pull_back(x, features, gradient, out)
        # What the queries ask of the two sums is complete, and every key adds to both.
        for x, out, value_block, value_out, seen_block in blocks.spans(k, dk, v, dv, seen):
            features = blocks.features(x, seen_block)
            value_out.copy_(torch.bmm(features, ds))
            gradient = blocks.scratch("gradient", *features.shape)
            torch.baddbmm(dz[:, None], blocks.load(value_block), ds.transpose(1, 2), out=gradient)
            if seen_block is not None:
                gradient.masked_fill_(~seen_block[..., None], 0.0)
            blocks.pull_back(x, features, gradient, out)
    return to_query, to_key, to_value, incoming[1], incoming[2]
