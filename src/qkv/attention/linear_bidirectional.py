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
    Inputs,
    Pair,
    add_outer,
    add_sum,
    is_safe,
    joined,
    quotient_gradient,
)
from qkv.attention.feature_maps import FeatureMap


def attend(feature_map: FeatureMap, inputs: Inputs) -> tuple[Attended, Pair]:
    """Attend without autograd: the result, and its state and sums again for the backward pass."""
    query = inputs.query
    rows, queries, _ = query.shape
    blocks = Blocks(feature_map, query, max(queries, inputs.key.shape[1]))
    if blocks.is_one(rows):
        short = _attend_short_rows(blocks, inputs, None, None)
        return short, (short.state, short.sums)
    normaliser = torch.empty(rows, queries, dtype=blocks.dtype, device=query.device)
    output = normaliser.new_empty(rows, queries, inputs.value.shape[-1])
    states, totals = [], []
    for *group, out, divisors in blocks.rows(*inputs, output, normaliser):
        if blocks.is_long:
            row: list[Any] = [None if part is None else part[0] for part in group]
            last, last_sums = _attend_long_row(blocks, Inputs(*row), out[0], divisors[0])
        else:
            _, _, last, last_sums, _ = _attend_short_rows(blocks, Inputs(*group), out, divisors)
        states.append(last)
        totals.append(last_sums)
    ends = joined(states), joined(totals)
    return Attended(output, normaliser, *ends, is_safe(normaliser, output)), ends


def _attend_short_rows(
    blocks: Blocks, inputs: Inputs, output: Tensor | None, normaliser: Tensor | None
) -> Attended:
    """Rows that are one block together: as one would write it first, (rows, tokens, ·).

    Writes `output` and `normaliser`, where they are given, as well as returning them.
    """
    query, key, value, mask, state, sums = inputs
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


def _attend_long_row(blocks: Blocks, row: Inputs, output: Tensor, normaliser: Tensor) -> Pair:
    """One row of many blocks, (tokens, ·).

    Writes `output` and `normaliser`, and returns (1, …) state and sums after the last key.
    """
    query, key, value, mask, state, sums = row
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
    return state[None], sums[None]


def backward(
    feature_map: FeatureMap, saved: tuple[Any, ...], incoming: tuple[Tensor, Tensor, Tensor]
) -> tuple[Tensor, ...]:
    """Gradients of query, key, value, state and sums: see `linear.Form`."""
    query, key = saved[:2]
    blocks = Blocks(feature_map, query, max(query.shape[1], key.shape[1]))
    to_inputs = [torch.empty_like(x) for x in saved[:3]]
    for q, k, v, seen, s, z, y, n, dq, dk, dv, dy, ds, dz in blocks.rows(
        *saved, *to_inputs, *incoming
    ):
        for x, out, upstream, answer, total in blocks.spans(q, dq, dy, y, n):
            to_numerator, to_total = quotient_gradient(blocks, upstream, answer, total)
            features = blocks.features(x)
            add_outer(ds, features, to_numerator)
            add_sum(dz, to_total, features)
            gradient = blocks.scratch("gradient", *features.shape)
            torch.mul(to_total[..., None], z[:, None], out=gradient)
            gradient.baddbmm_(to_numerator, s.transpose(1, 2))
            blocks.backward(x, features, gradient, out)
        # What the queries ask of the two sums is complete, and every key adds to both.
        for x, out, value_block, value_out, seen_block in blocks.spans(k, dk, v, dv, seen):
            features = blocks.features(x, seen_block)
            value_out.copy_(torch.bmm(features, ds))
            gradient = blocks.scratch("gradient", *features.shape)
            torch.baddbmm(dz[:, None], blocks.load(value_block), ds.transpose(1, 2), out=gradient)
            if seen_block is not None:
                gradient.masked_fill_(~seen_block[..., None], 0.0)
            blocks.backward(x, features, gradient, out)
    return *to_inputs, *incoming[1:]
