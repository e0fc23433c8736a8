"""`nn.GRU` on packed texts of many lengths, fast on a CPU.

torch's `nn.GRU` has no fused kernel there: it makes a dozen small calls a step and direction,
records each for its gradient, and adds to the gradient of the weights at every step. Here a step
is one batched product and a few elementwise calls for both directions, into memory that is there
already, and everything that needs no order is one large product over many steps.

torch's form of the unit (after Cho et al. 2014), with h the state before a step and ĥ after it:

    r = σ(i_r + W_r h + b_r)        z = σ(i_z + W_z h + b_z)
    g = W_n h + b_n                 n = tanh(i_n + r·g)            ĥ = (1 − z)·n + z·h

where i = V x + c is the input's part. Below, H = hidden_size, and the two directions come first
in every shape.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from qkv.attention.multihead_cpu import Dropout
from qkv.autograd import without_second_derivative

aten = torch.ops.aten

# Rows of a direction whose large products are taken together: enough for the products to run at
# full speed, few enough for what lies between them to stay in the cache.
SPAN_ROWS = 4096
# A gradient halves about once a token on its way back, so in a long text its floats soon are
# subnormal, and a processor takes twenty times as long over those. Entries this small become zero.
NEGLIGIBLE = 1e-20


class Span(NamedTuple):
    """Consecutive steps of a packed batch, and where their rows lie."""

    steps: range
    rows: slice


@dataclass(frozen=True)
class Packing:
    """Where each token of a padded batch lies in a packed one.

    A packed batch holds first tokens before second tokens and so on, longest texts first, so the
    texts that are still going on at a step lie next to each other, as in torch's `PackedSequence`.

    Attributes:
        places: the token of the padded batch, counted through all its texts, of each packed row.
        reverse: the row that stands as far from its text's end as this one from its beginning:
            `packed[reverse]` runs through each text backwards. It is its own inverse.
        active: texts that are going on at each step.
        starts: the first row of each step.
        order: the texts from the longest to the shortest.
        ranks: the place of each text in that order.
    """

    places: Int64[Tensor, " rows"]
    reverse: Int64[Tensor, " rows"]
    active: tuple[int, ...]
    starts: tuple[int, ...]
    order: Int64[Tensor, " texts"]
    ranks: Int64[Tensor, " texts"]

    @classmethod
    def of(cls, attention_mask: Bool[Tensor, "texts tokens"]) -> Packing:
        """The packing of the tokens that a mask marks; at least one in the batch."""
        lengths = attention_mask.sum(dim=1)
        sorted_lengths, order = lengths.sort(descending=True, stable=True)
        step = torch.arange(int(sorted_lengths[0]), device=lengths.device)
        going_on = step[:, None] < sorted_lengths
        active = going_on.sum(dim=1)
        starts = active.cumsum(0) - active
        step, rank = going_on.nonzero(as_tuple=True)
        reverse = starts[sorted_lengths[rank] - 1 - step] + rank
        tokens = attention_mask.flatten().nonzero()[:, 0]
        first_tokens = (lengths.cumsum(0) - lengths)[order]
        return cls(
            tokens[first_tokens[rank] + step],
            reverse,
            tuple(active.tolist()),
            tuple(starts.tolist()),
            order,
            order.argsort(),
        )

    def pack(self, padded: Float[Tensor, "texts tokens dim"]) -> Float[Tensor, "rows dim"]:
        """The marked tokens of a padded batch, packed; no other is read."""
        return padded.flatten(0, 1).index_select(0, self.places)

    @property
    def last_rows(self) -> Int64[Tensor, " texts"]:
        """The row of the last token of each text, longest text first."""
        return self.reverse[: self.active[0]]

    def rows(self, step: int) -> slice:
        """The rows of a step."""
        return slice(self.starts[step], self.starts[step] + self.active[step])

    def spans(self, rows: int) -> list[Span]:
        """The steps in their order, together as long as they have at most `rows` rows."""
        spans: list[Span] = []
        first, steps = 0, len(self.active)
        for step in range(1, steps + 1):
            if step == steps or self.rows(step).stop - self.starts[first] > rows:
                held = slice(self.starts[first], self.rows(step - 1).stop)
                spans.append(Span(range(first, step), held))
                first = step
        return spans


class Weights(NamedTuple):
    """The weights of a layer, all but the last in the dtype of products."""

    of_input: Tensor  # V, (2, 3H, dim)
    of_state: Tensor  # W, (2, 3H, H)
    bias: Tensor  # c, and b of r and z with it, (2, 3H)
    candidate_bias: Tensor  # b_n, (2, 1, H), of the dtype of states

    @classmethod
    def of(cls, parameters: Sequence[Tensor], product_dtype: torch.dtype) -> Weights:
        """From V, W, c and b of a layer, each (2, 3H, …)."""
        of_input, of_state, input_bias, state_bias = parameters
        hidden = of_state.shape[2]
        bias = input_bias.clone()
        bias[:, : 2 * hidden] += state_bias[:, : 2 * hidden]
        return cls(
            of_input.to(product_dtype),
            of_state.to(product_dtype),
            bias.to(product_dtype),
            state_bias[:, None, 2 * hidden :].contiguous(),
        )


@dataclass(frozen=True)
class Gates:
    """What a step computes on its way to a state, for some rows."""

    reset_update: Tensor  # r and z side by side, (2, rows, 2H)
    recalled: Tensor  # g, (2, rows, H)
    candidate: Tensor  # n, (2, rows, H)

    @classmethod
    def empty(cls, like: Tensor, rows: int, hidden: int) -> Gates:
        """Room for `rows` rows."""
        return cls(*(like.new_empty(2, rows, width * hidden) for width in (2, 1, 1)))

    def __getitem__(self, rows: slice) -> Gates:
        """Views of some rows."""
        return Gates(self.reset_update[:, rows], self.recalled[:, rows], self.candidate[:, rows])

    @property
    def reset(self) -> Tensor:
        """The gate r, (2, rows, H)."""
        return self.reset_update[..., : self.recalled.shape[2]]

    @property
    def update(self) -> Tensor:
        """The gate z, (2, rows, H)."""
        return self.reset_update[..., self.recalled.shape[2] :]

    def fill(self, given: Tensor, product: Tensor, candidate_bias: Tensor) -> None:
        """Compute the gates of i with the biases of r and z, and of W h, both (2, rows, 3H)."""
        both = self.reset_update.shape[2]
        torch.add(given[..., :both], product[..., :both], out=self.reset_update).sigmoid_()
        torch.add(product[..., both:], candidate_bias, out=self.recalled)
        torch.mul(self.reset, self.recalled, out=self.candidate)
        self.candidate.add_(given[..., both:]).tanh_()

    def gradients(self, state: Tensor, arriving: Tensor, at_gates: Tensor, past: Tensor) -> None:
        """From `arriving`, the gradient of ĥ, which is written over, to those at the gates.

        `state` is h. `at_gates` (2, rows, 4H) gets the gradients of i_n, i_r, i_z and g: the part
        of the input takes the first three, W h the last three. `past` gets the gradient of h that
        goes through no gate, z·arriving.
        """
        at_candidate, at_reset, at_update, at_recalled = at_gates.chunk(4, dim=2)
        torch.sub(state, self.candidate, out=past).mul_(arriving)
        aten.sigmoid_backward(past, self.update, grad_input=at_update)
        torch.mul(arriving, self.update, out=past)
        arriving.sub_(past)
        aten.tanh_backward(arriving, self.candidate, grad_input=at_candidate)
        torch.mul(at_candidate, self.reset, out=at_recalled)
        torch.mul(at_candidate, self.recalled, out=arriving)
        aten.sigmoid_backward(arriving, self.reset, grad_input=at_reset)


def visit(
    rows: Tensor, weights: Weights, packing: Packing, state_dtype: torch.dtype, *, keep_gates: bool
) -> tuple[Tensor, Gates | None]:
    """The states (2, rows, H) of a layer from zero, and the gates of all rows if they are kept.

    The packed tokens, `rows` (rows, dim), have the dtype of products; all else that a step computes
    has `state_dtype`. Both directions take a step together: step t is the t-th token of each text
    for one and the t-th from its end for the other, and the states stand in that order.
    """
    hidden = weights.of_state.shape[2]
    texts = packing.active[0]
    states = torch.empty(2, len(rows), hidden, dtype=state_dtype)
    kept = Gates.empty(states, len(rows), hidden) if keep_gates else None
    passing = Gates.empty(states, texts, hidden) if kept is None else kept
    given = rows.new_empty(2, min(len(rows), max(SPAN_ROWS, texts)), 3 * hidden)
    product = rows.new_empty(2 * texts * 3 * hidden)
    transposed = weights.of_state.transpose(1, 2).contiguous()
    state = states.new_zeros(2, texts, hidden)
    factor = rows.new_zeros(2, texts, hidden)
    for span in packing.spans(SPAN_ROWS):
        _input_part(_inputs(rows, packing, span), weights, given)
        for step in span.steps:
            held = packing.rows(step)
            count = packing.active[step]
            # A product into memory without gaps is one batched call.
            by_state = product[: 2 * count * 3 * hidden].view(2, count, 3 * hidden)
            torch.bmm(factor[:, :count], transposed, out=by_state)
            gates = passing[slice(0, count) if kept is None else held]
            offset = held.start - span.rows.start
            gates.fill(given[:, offset : offset + count], by_state, weights.candidate_bias)
            state = torch.lerp(gates.candidate, state[:, :count], gates.update, out=states[:, held])
            factor = state if rows.dtype == state_dtype else factor[:, :count].copy_(state)
    return states, kept


def _inputs(rows: Tensor, packing: Packing, span: Span) -> tuple[Tensor, Tensor]:
    """The rows of a span as each direction visits them."""
    return rows[span.rows], rows.index_select(0, packing.reverse[span.rows])


def _input_part(inputs: tuple[Tensor, Tensor], weights: Weights, out: Tensor) -> None:
    """V x + bias, in the first rows of `out` (2, rows, 3H)."""
    for direction, x in enumerate(inputs):
        factor = weights.of_input[direction].t()
        torch.addmm(weights.bias[direction], x, factor, out=out[direction, : len(x)])


class BackwardVisit:
    """From the gradient of a layer's states to those of its rows and weights.

    The steps are gone through backwards, span by span. All but what carries a gradient on to the
    step before is one call a span. States and gates are those of `visit`; gates that it did not
    keep are computed anew. `to_rows` says whether the gradient of the rows is wanted.
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
        hidden, texts = states.shape[2], packing.active[0]
        self._rows, self._weights, self._packing = rows, weights, packing
        self._states, self._hidden = states, hidden
        longest = min(len(rows), max(SPAN_ROWS, texts))  # rows of a span
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
        # The gradients of i and, until `run` ends, of V have the order n, r, z.
        self._input_factor = torch.roll(weights.of_input, hidden, dims=1)
        self._of_rows = rows.new_empty(2, *rows.shape) if to_rows else None
        self._of_input_weight = states.new_zeros(weights.of_input.shape)
        self._of_state_weight = states.new_zeros(weights.of_state.shape)
        self._of_gates = states.new_zeros(2, 4 * hidden)  # sums of those of i_n, i_r, i_z and g

    def run(self, of_last: Tensor, of_states: Tensor | None) -> tuple[Tensor | None, ...]:
        """The gradients of the rows (None if it is not wanted) and of V, W, c and b.

        They come from that of the last states, (2, texts, H), longest text first, which is written
        over, and that of all states, (2, rows, H), if they were used.
        """
        for span in reversed(self._packing.spans(SPAN_ROWS)):
            self._states_before(span)
            inputs, gates = self._gates(span)
            for step in reversed(span.steps):
                held = self._packing.rows(step)
                arriving = of_last[:, : held.stop - held.start]
                if of_states is not None:
                    arriving.add_(of_states[:, held])
                offset = held.start - span.rows.start
                self._step(arriving, gates, slice(offset, offset + arriving.shape[1]))
            self._add_products(span, inputs)
        hidden, of_rows = self._hidden, None
        if self._of_rows is not None:
            of_rows = self._of_rows[0] + self._of_rows[1].index_select(0, self._packing.reverse)
        of_input_weight = torch.roll(self._of_input_weight, -hidden, dims=1)
        of_input_bias = torch.roll(self._of_gates[:, : 3 * hidden], -hidden, dims=1)
        of_state_bias = self._of_gates[:, hidden:]
        return of_rows, of_input_weight, self._of_state_weight, of_input_bias, of_state_bias

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
        inputs = _inputs(self._rows, self._packing, span)
        if self._product is None:
            return inputs, self._passing[span.rows]
        _input_part(inputs, self._weights, self._given)
        held = slice(0, len(inputs[0]))
        for before, factor, product in zip(
            self._before_factor, self._weights.of_state, self._product, strict=True
        ):
            torch.mm(before[held], factor.t(), out=product[held])
        gates = self._passing[held]
        gates.fill(self._given[:, held], self._product[:, held], self._weights.candidate_bias)
        return inputs, gates

    def _step(self, arriving: Tensor, gates: Gates, held: slice) -> None:
        """One step back: `arriving` becomes the gradient of the states before it."""
        aten.hardshrink.out(arriving, NEGLIGIBLE, out=arriving)
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

    def _add_products(self, span: Span, inputs: tuple[Tensor, Tensor]) -> None:
        count = len(inputs[0])
        self._of_gates += self._at_gates[:, :count].sum(dim=1)
        for direction, x in enumerate(inputs):
            factor = self._gate_factor[direction, :count]
            at_input, at_state = factor[:, : 3 * self._hidden], factor[:, self._hidden :]
            # The sum over spans is taken in the dtype of states.
            before = self._before_factor[direction, :count]
            self._of_state_weight[direction] += at_state.t() @ before
            self._of_input_weight[direction] += at_input.t() @ x
            if self._of_rows is not None:
                out = self._of_rows[direction, span.rows]
                torch.mm(at_input, self._input_factor[direction], out=out)


def last_gru_states(
    gru: nn.GRU, rows: Float[Tensor, "rows dim"], packing: Packing
) -> Float[Tensor, "texts features"]:
    """The top layer's last state of each direction, side by side.

    Under autocast the products, those with the state too, run in its dtype; states and gates stay
    in float32. Gates are kept for the gradient only where computing them anew costs more: where
    products run in the dtype of states. Differentiable once, in the rows and the GRU's weights.

    Args:
        gru: bidirectional, with biases, on the CPU; its dropout applies between layers.
        rows: packed tokens.
        packing: of the rows, back to the order of the padded batch.

    Raises:
        QKVError: while differentiating, if the gradient is to be differentiated again.
    """
    dtype = next(gru.parameters()).dtype
    state_dtype = torch.promote_types(dtype, torch.float32)
    product_dtype = dtype
    if torch.is_autocast_enabled("cpu") and dtype != torch.float64:
        product_dtype = torch.get_autocast_dtype("cpu")  # which leaves float64 alone
    dropout = Dropout(gru.dropout).train(gru.training)
    for layer in range(gru.num_layers):
        if layer > 0:
            rows = dropout(rows)
        parameters = [
            torch.stack([getattr(gru, f"{name}_l{layer}{end}") for end in ("", "_reverse")])
            for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        ]
        rows = _Layer.apply(  # type: ignore[no-untyped-call]
            rows.to(product_dtype),
            packing,
            layer + 1 == gru.num_layers,
            torch.is_grad_enabled() and product_dtype == state_dtype,
            *(parameter.to(state_dtype) for parameter in parameters),
        )
    return rows.index_select(0, packing.ranks)


class _Layer(torch.autograd.Function):
    """A layer: all states (rows, 2H) as the next one reads them, or the last (texts, 2H)."""

    @staticmethod
    def forward(
        ctx: Any,
        rows: Tensor,
        packing: Packing,
        last_only: bool,
        keep_gates: bool,
        *parameters: Tensor,
    ) -> Tensor:
        weights = Weights.of(parameters, rows.dtype)
        states, gates = visit(rows, weights, packing, parameters[0].dtype, keep_gates=keep_gates)
        kept = () if gates is None else (gates.reset_update, gates.recalled, gates.candidate)
        ctx.save_for_backward(rows, *parameters, states, *kept)
        ctx.packing, ctx.last_only = packing, last_only
        if last_only:
            return torch.cat(states.index_select(1, packing.last_rows).unbind(), dim=1)
        backwards = states[1].index_select(0, packing.reverse)
        return torch.cat([states[0], backwards], dim=1).to(rows.dtype)

    @staticmethod
    @without_second_derivative("the packed GRU")
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        rows, *parameters = ctx.saved_tensors[:5]
        states, *kept = ctx.saved_tensors[5:]
        packing = ctx.packing
        # The gradient of each direction, in the order in which it visits.
        forwards, backwards = gradient.to(states.dtype).chunk(2, dim=1)
        if ctx.last_only:
            of_last, of_states = torch.stack([forwards, backwards]), None
        else:
            of_last = states.new_zeros(2, packing.active[0], states.shape[2])
            of_states = torch.stack([forwards, backwards.index_select(0, packing.reverse)])
        back = BackwardVisit(
            rows,
            Weights.of(parameters, rows.dtype),
            packing,
            states,
            Gates(*kept) if kept else None,
            to_rows=ctx.needs_input_grad[0],
        )
        with torch.autocast("cpu", enabled=False):
            of_rows, *of_parameters = back.run(of_last, of_states)
        return of_rows, None, None, None, *of_parameters
