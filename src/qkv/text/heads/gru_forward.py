"""All states of a bidirectional GRU layer on packed texts."""

from __future__ import annotations

import torch
from torch import Tensor

from qkv.text.heads.gru_cell import Gates, Weights
from qkv.text.heads.packed import Packing, Span

# Rows of a direction whose large products are taken together: enough for the products to run at
# full speed, few enough for what lies between them to stay in the cache.
SPAN_ROWS = 4096


def visit(
    rows: Tensor, weights: Weights, packing: Packing, state_dtype: torch.dtype, *, keep_gates: bool
) -> tuple[Tensor, Gates | None]:
    """The states of a layer from zero, each direction in the order in which it visits its texts.

    Both directions take a step together: step t is the t-th token of each text for one and the
    t-th from its end for the other, so at each step they have the same number of rows.

    Args:
        rows: packed tokens (rows, dim), of the dtype of products.
        weights: of the layer.
        packing: of the rows.
        state_dtype: of what a step computes besides its product.
        keep_gates: whether the gates of all rows are returned too.

    Returns:
        States (2, rows, H), and gates.
    """
    hidden = weights.of_state.shape[2]
    texts = packing.active[0]
    states = torch.empty(2, len(rows), hidden, dtype=state_dtype)
    kept = Gates.empty(states, len(rows), hidden) if keep_gates else None
    passing = Gates.empty(states, texts, hidden) if kept is None else kept
    spans = packing.spans(SPAN_ROWS)
    longest = max(span.rows.stop - span.rows.start for span in spans)
    given = rows.new_empty(2, longest, 3 * hidden)
    product = rows.new_empty(2 * texts * 3 * hidden)
    transposed = weights.of_state.transpose(1, 2).contiguous()
    state = states.new_zeros(2, texts, hidden)
    factor = rows.new_zeros(2, texts, hidden)
    for span in spans:
        input_part(rows, weights, packing, span, given)
        for step in span.steps:
            held = packing.rows(step)
            count = packing.active[step]
            # A product into memory without gaps is one batched call.
            by_state = product[: 2 * count * 3 * hidden].view(2, count, 3 * hidden)
            torch.bmm(factor[:, :count], transposed, out=by_state)
            gates = passing[slice(0, count) if kept is None else held]
            offset = held.start - span.rows.start
            gates.fill(given[:, offset : offset + count], by_state, weights.candidate_bias)
            gates.next_state(state[:, :count], states[:, held])
            state = states[:, held]
            factor = state if rows.dtype == state_dtype else factor[:, :count].copy_(state)
    return states, kept


def input_part(
    rows: Tensor, weights: Weights, packing: Packing, span: Span, out: Tensor
) -> tuple[Tensor, Tensor]:
    """V x + bias for the rows of a span, in the first rows of `out`, (2, at least those, 3H).

    Returns:
        x of each direction.
    """
    inputs = rows[span.rows], rows.index_select(0, packing.reverse[span.rows])
    for direction, x in enumerate(inputs):
        torch.addmm(
            weights.bias[direction],
            x,
            weights.of_input[direction].t(),
            out=out[direction, : len(x)],
        )
    return inputs
