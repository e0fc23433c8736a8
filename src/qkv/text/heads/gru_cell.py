"""The arithmetic of a gated recurrent unit, for both directions of a layer at once.

torch's form of the unit (after Cho et al. 2014), with h the state before a step and ĥ after it:

    r = σ(i_r + W_r h + b_r)        z = σ(i_z + W_z h + b_z)
    g = W_n h + b_n                 n = tanh(i_n + r·g)            ĥ = (1 − z)·n + z·h

where i = V x + c is the input's part. Below, H = hidden_size, and the two directions come first in
every shape.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

aten = torch.ops.aten


@dataclass(frozen=True)
class Weights:
    """The weights of a layer, as products take them.

    Attributes:
        of_input: V, (2, 3H, dim).
        of_state: W, (2, 3H, H).
        bias: c, and b of r and z with it, (2, 3H), all three of the dtype of products.
        candidate_bias: b_n, (2, 1, H), of the dtype of states.
    """

    of_input: Tensor
    of_state: Tensor
    bias: Tensor
    candidate_bias: Tensor

    @classmethod
    def of(
        cls,
        of_input: Tensor,
        of_state: Tensor,
        input_bias: Tensor,
        state_bias: Tensor,
        *,
        product_dtype: torch.dtype,
    ) -> Weights:
        """From the parameters of a layer."""
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
    """What a step computes on its way to a state, for some rows.

    Attributes:
        reset_update: r and z side by side, (2, rows, 2H).
        recalled: g, (2, rows, H).
        candidate: n, (2, rows, H).
    """

    reset_update: Tensor
    recalled: Tensor
    candidate: Tensor

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
        """Compute the gates.

        Args:
            given: i with the biases of r and z, (2, rows, 3H).
            product: W h, (2, rows, 3H).
            candidate_bias: b_n.
        """
        both = self.reset_update.shape[2]
        torch.add(given[..., :both], product[..., :both], out=self.reset_update).sigmoid_()
        torch.add(product[..., both:], candidate_bias, out=self.recalled)
        torch.mul(self.reset, self.recalled, out=self.candidate)
        self.candidate.add_(given[..., both:]).tanh_()

    def next_state(self, state: Tensor, out: Tensor) -> None:
        """Write ĥ to `out`."""
        torch.lerp(self.candidate, state, self.update, out=out)

    def gradients(self, state: Tensor, arriving: Tensor, at_gates: Tensor, past: Tensor) -> None:
        """From the gradient of ĥ to those at the gates.

        Args:
            state: h.
            arriving: the gradient of ĥ; it is written over.
            at_gates: (2, rows, 4H), gets the gradients of i_n, of i_r, of i_z and of g: the input's
                part takes the first three, W h the last three.
            past: gets the gradient of h that does not go through a gate, z·arriving.
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
