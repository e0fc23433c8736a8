"""The gradient of a bidirectional GRU layer on packed texts."""

from __future__ import annotations

import torch
from torch import Tensor

from qkv.text.heads.gru_cell import Gates, Weights
from qkv.text.heads.gru_forward import SPAN_ROWS, input_part
from qkv.text.heads.packed import Packing, Span

# A gradient halves about once a token on its way back, so in a long text its floats soon are
# subnormal, and a processor takes twenty times as long over those. Entries this small become zero.
NEGLIGIBLE = 1e-20


class BackwardVisit:
    """From the gradient of a layer's states to those of its rows and weights.

    The steps are gone through backwards, span by span. What needs no order is one call a span: the
    gates, where they were not kept, and all products but the one that carries a gradient on to the
    step before.

    Args:
        rows: packed tokens (rows, dim), of the dtype of products.
        weights: of the layer.
        packing: of the rows.
        states: (2, rows, H), as `visit` gave them.
        gates: as `visit` kept them; None: they are computed anew.
        to_rows: whether the gradient of the rows is wanted.
    """

    def __init__(
        self,
        rows: Tensor,
        weights: Weights,
        packing: Packing,
        states: Tensor,
        gates: Gates | None,
        *,
        to_rows: bool,
    ) -> None:
        hidden = states.shape[2]
        texts = packing.active[0]
        self._rows, self._weights, self._packing = rows, weights, packing
        self._states, self._kept, self._hidden = states, gates, hidden
        self._spans = packing.spans(SPAN_ROWS)
        longest = max(span.rows.stop - span.rows.start for span in self._spans)
        self._at_gates = states.new_empty(2, longest, 4 * hidden)
        self._before = states.new_empty(2, longest, hidden)
        self._same = rows.dtype == states.dtype
        # The same in the dtype of products.
        self._gate_factor = self._at_gates if self._same else rows.new_empty(self._at_gates.shape)
        self._before_factor = self._before if self._same else rows.new_empty(self._before.shape)
        self._given = rows.new_empty(2, longest, 3 * hidden)
        self._product = rows.new_empty(self._given.shape) if gates is None else None
        self._passing = Gates.empty(states, longest, hidden) if gates is None else gates
        self._past = states.new_empty(2, texts, hidden)
        self._carried = rows.new_empty(2 * texts * hidden)
        # The gradient of i has the order n, r, z.
        self._input_factor = torch.roll(weights.of_input, hidden, dims=1)
        self.of_rows = rows.new_empty(2, *rows.shape) if to_rows else None
        self.of_input_weight = states.new_zeros(weights.of_input.shape)
        self.of_state_weight = states.new_zeros(weights.of_state.shape)
        self.of_gates = states.new_zeros(2, 4 * hidden)

    def run(self, of_last: Tensor, of_states: Tensor | None) -> None:
        """Go through the steps.

        Args:
            of_last: gradient of the last states, (2, texts, H), longest text first; written over.
            of_states: gradient of all states, (2, rows, H), if they were used.
        """
        for span in reversed(self._spans):
            count = span.rows.stop - span.rows.start
            self._states_before(span)
            inputs, gates = self._gates(span)
            for step in reversed(span.steps):
                held = self._packing.rows(step)
                arriving = of_last[:, : self._packing.active[step]]
                if of_states is not None:
                    arriving.add_(of_states[:, held])
                offset = held.start - span.rows.start
                self._step(arriving, gates, slice(offset, offset + arriving.shape[1]))
            self.of_gates += self._at_gates[:, :count].sum(dim=1)
            self._add_products(span, inputs, count)

    def _states_before(self, span: Span) -> None:
        """The state before each row's step: that of the row one step earlier, or zero."""
        for step in span.steps:
            count = self._packing.active[step]
            offset = self._packing.starts[step] - span.rows.start
            before = self._before[:, offset : offset + count]
            if step == 0:
                before.zero_()
            else:
                earlier = self._packing.starts[step - 1]
                before.copy_(self._states[:, earlier : earlier + count])
        if not self._same:
            self._before_factor.copy_(self._before)

    def _gates(self, span: Span) -> tuple[tuple[Tensor, Tensor], Gates]:
        """The rows of each direction, and their gates."""
        if self._product is None:
            reverse = self._packing.reverse[span.rows]
            inputs = self._rows[span.rows], self._rows.index_select(0, reverse)
            return inputs, self._passing[span.rows]
        inputs = input_part(self._rows, self._weights, self._packing, span, self._given)
        held = slice(0, len(inputs[0]))
        for direction in range(2):
            torch.mm(
                self._before_factor[direction, held],
                self._weights.of_state[direction].t(),
                out=self._product[direction, held],
            )
        gates = self._passing[held]
        gates.fill(self._given[:, held], self._product[:, held], self._weights.candidate_bias)
        return inputs, gates

    def _step(self, arriving: Tensor, gates: Gates, held: slice) -> None:
        """One step back: `arriving` becomes the gradient of the states before it."""
        torch.ops.aten.hardshrink.out(arriving, NEGLIGIBLE, out=arriving)
        count = arriving.shape[1]
        at_gates = self._at_gates[:, held]
        past = self._past[:, :count]
        gates[held].gradients(self._before[:, held], arriving, at_gates, past)
        factor = self._gate_factor[:, held]
        if not self._same:
            factor.copy_(at_gates)
        carried = self._carried[: 2 * count * self._hidden].view(2, count, self._hidden)
        torch.bmm(factor[..., self._hidden :], self._weights.of_state, out=carried)
        torch.add(past, carried, out=arriving)

    def _add_products(self, span: Span, inputs: tuple[Tensor, Tensor], count: int) -> None:
        for direction, x in enumerate(inputs):
            factor = self._gate_factor[direction, :count]
            at_input, at_state = factor[:, : 3 * self._hidden], factor[:, self._hidden :]
            # The sum over spans is taken in the dtype of states.
            self.of_state_weight[direction] += at_state.t() @ self._before_factor[direction, :count]
            self.of_input_weight[direction] += at_input.t() @ x
            if self.of_rows is not None:
                torch.mm(
                    at_input, self._input_factor[direction], out=self.of_rows[direction, span.rows]
                )
