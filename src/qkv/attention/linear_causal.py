"""Causal linear attention by chunks: quadratic within a chunk, a carried state between chunks.

With S_c and z_c the sums of φ(k) vᵀ and of φ(k) over all tokens before chunk c, its outputs are
N/n with N = φ(Q_c) S_c + A_c V_c and n = φ(Q_c) z_c + A_c 1, where A_c = tril(φ(Q_c) φ(K_c)ᵀ) (Hua
et al. 2022, section 3.3). The chunks of a block are computed side by side.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from qkv.attention.blocks import (
    Attended,
    Blocks,
    Inputs,
    Pair,
    is_safe,
    joined,
    quotient_gradient,
)
from qkv.attention.feature_maps import FeatureMap

# Longer chunks cost more in their own square, shorter ones more in states: best on two CPUs.
CHUNK_TOKENS = 64


def attend(feature_map: FeatureMap, inputs: Inputs) -> tuple[Attended, Pair]:
    """Attend without autograd, with as many queries as keys.

    The state that goes in holds what came before the first token. Kept for the backward pass are
    state and sums before each block, (rows, blocks + 1, …).
    """
    query, key, value, mask, state, sums = inputs
    blocks = Blocks(feature_map, query, query.shape[1], CHUNK_TOKENS)
    normaliser = torch.empty(query.shape[:2], dtype=blocks.dtype, device=query.device)
    output = normaliser.new_empty(value.shape)
    if state is None or sums is None:
        sums = normaliser.new_zeros(len(query), blocks.num_features)
        state = normaliser.new_zeros(*sums.shape, value.shape[-1])
    states, totals = [], []
    for q, k, v, seen, s, z, out, divisor in blocks.rows(
        query, key, value, mask, state, sums, output, normaliser
    ):
        before_block = [(s, z)]
        for x, y, w, seen_block, out_block, total_block in blocks.spans(
            q, k, v, seen, out, divisor
        ):
            chunks = _Chunks(blocks, x, y, w, seen_block)
            before, s = _running(s, chunks.outer())
            earlier, z = _running(z, chunks.sums())
            before_block.append((s, z))
            scores = chunks.scores()
            total = scores.sum(dim=-1).add_(_times(chunks.query, earlier))
            numerator = torch.bmm(scores, chunks.value).baddbmm_(chunks.query, before)
            numerator.mul_(total.reciprocal()[..., None])
            total_block.copy_(total.view_as(total_block))
            out_block.copy_(numerator.view_as(out_block))
        states.append(torch.stack([s for s, _ in before_block], dim=1))
        totals.append(torch.stack([z for _, z in before_block], dim=1))
    kept = joined(states), joined(totals)
    safe = is_safe(normaliser, output)
    last, last_sums = (part[:, -1].clone() for part in kept)
    return Attended(output, normaliser, last, last_sums, safe), kept


def backward(
    feature_map: FeatureMap, saved: tuple[Any, ...], incoming: tuple[Tensor, Tensor, Tensor]
) -> tuple[Tensor, ...]:
    """Gradients of query, key, value, state and sums: see `linear.Form`."""
    query = saved[0]
    blocks = Blocks(feature_map, query, query.shape[1], CHUNK_TOKENS)
    to_inputs = [torch.empty_like(x) for x in saved[:3]]
    to_states, to_totals = [], []
    for q, k, v, seen, s, z, y, n, dq, dk, dv, dy, ds, dz in blocks.rows(
        *saved, *to_inputs, *incoming
    ):
        spans = blocks.spans(q, k, v, seen, y, n, dq, dk, dv, dy)
        for number, span in reversed(list(enumerate(spans))):
            x, x_key, x_value, seen_block, out, total, x_dq, x_dk, x_dv, upstream = span
            chunks = _Chunks(blocks, x, x_key, x_value, seen_block)
            before, _ = _running(s[:, number], chunks.outer())
            earlier, _ = _running(z[:, number], chunks.sums())
            to_numerator, to_total = map(_chunked, quotient_gradient(blocks, upstream, out, total))
            # What later queries ask of a chunk's keys comes through the state after it.
            asked = torch.bmm(chunks.query.transpose(1, 2), to_numerator)
            to_later, ds = _running(ds, asked, backwards=True)
            asked = torch.bmm(to_total[:, None], chunks.query)[:, 0]
            to_after, dz = _running(dz, asked, backwards=True)

            scores = chunks.scores()
            to_scores = torch.baddbmm(
                to_total[..., None], to_numerator, chunks.value.transpose(1, 2)
            ).tril_()
            to_queries = to_total[..., None] * earlier[:, None]
            to_queries.baddbmm_(to_numerator, before.transpose(1, 2))
            to_queries.baddbmm_(to_scores, chunks.key)
            to_keys = torch.baddbmm(
                to_after[:, None], chunks.value, to_later.transpose(1, 2)
            ).baddbmm_(to_scores.transpose(1, 2), chunks.query)
            to_values = torch.bmm(scores.transpose(1, 2), to_numerator)
            x_dv.copy_(to_values.baddbmm_(chunks.key, to_later).view_as(x_dv))
            if seen_block is not None:
                to_keys.masked_fill_(~_chunked(seen_block)[..., None], 0.0)
            shape = *x.shape[:2], blocks.num_features
            blocks.backward(x, chunks.query.view(shape), to_queries.view(shape), x_dq)
            blocks.backward(x_key, chunks.key.view(shape), to_keys.view(shape), x_dk)
        to_states.append(ds)
        to_totals.append(dz)
    return *to_inputs, joined(to_states), joined(to_totals)


class _Chunks:
    """One block as chunks side by side: φ(q), φ(k) and v of shape (rows · chunks, tokens, ·)."""

    def __init__(
        self, blocks: Blocks, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None
    ) -> None:
        self.query = _chunked(blocks.features(query, name="query"))
        self.key = _chunked(blocks.features(key, mask, name="key"))
        self.value = _chunked(blocks.load(value))

    def scores(self) -> Tensor:
        """tril(φ(Q) φ(K)ᵀ) of each chunk."""
        return torch.bmm(self.query, self.key.transpose(1, 2)).tril_()

    def outer(self) -> Tensor:
        """φ(K)ᵀ V of each chunk."""
        return torch.bmm(self.key.transpose(1, 2), self.value)

    def sums(self) -> Tensor:
        """φ(K)ᵀ 1 of each chunk."""
        return self.key.sum(dim=1)


def _chunked(block: Tensor) -> Tensor:
    """(rows, tokens, …) as (rows · chunks, tokens of a chunk, …)."""
    return block.reshape(-1, min(CHUNK_TOKENS, block.shape[1]), *block.shape[2:])


def _times(features: Tensor, vectors: Tensor) -> Tensor:
    """φ_t · z of each chunk: (chunks, tokens, m) and (chunks, m) to (chunks, tokens)."""
    return torch.bmm(features, vectors[..., None])[..., 0]


def _running(first: Tensor, steps: Tensor, *, backwards: bool = False) -> tuple[Tensor, Tensor]:
    """Sums before every chunk, (rows · chunks, …), and the sum over all, (rows, …).

    `first` (rows, …) is counted in each; `steps` (rows · chunks, …) are the chunks' own. With
    `backwards` the sums run from the last chunk to the first.
    """
    rows, shape = len(first), first.shape[1:]
    count = len(steps) // rows
    if count == 1:
        return first.clone(), first + steps
    last = [first.reshape(rows, 1, -1)]
    own = [steps.reshape(rows, count, -1)]
    parts = torch.cat(own + last if backwards else last + own, dim=1)
    if first.device.type == "cpu":
        # One small product outruns torch's cumulative sum along a dimension that is not the last.
        ones = parts.new_ones(count + 1, count + 1)
        sums = (ones.triu_() if backwards else ones.tril_()) @ parts
    else:
        sums = parts.flip(1).cumsum(1).flip(1) if backwards else parts.cumsum(1)
    sums = sums.view(rows, count + 1, *shape)
    # The last is copied, for a view of it would keep all of them in memory.
    if backwards:
        return sums[:, 1:].flatten(0, 1), sums[:, 0].clone()
    return sums[:, :-1].flatten(0, 1), sums[:, -1].clone()
