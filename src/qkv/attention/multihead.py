"""Multi-head self-attention around a kernel chosen by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from qkv.attention.linear import linear_attention, linear_attention_weights
from qkv.attention.multihead_cpu import Dropout, short_multihead_attention
from qkv.attention.softmax import softmax_attention, softmax_attention_weights
from qkv.autograd import autocast_dtype

AttentionKernel = Literal["softmax", "linear"]


# Queries, keys and values (batch, heads, tokens, head_dim) to outputs of the same shape.
KERNELS: dict[AttentionKernel, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "softmax": softmax_attention,
    "linear": linear_attention,
}
# Queries and keys to the weights of that kernel, (batch, heads, tokens, tokens).
WEIGHTS: dict[AttentionKernel, Callable[[Tensor, Tensor], Tensor]] = {
    "softmax": softmax_attention_weights,
    "linear": linear_attention_weights,
}

# Up to this many tokens `short_multihead_attention` beats torch's fused kernel on a CPU where a
# gradient is wanted. Without one the fused kernel is 5 to 45 % faster, but in float32 with 50
# tokens and heads of 64 it is 5 % slower.
SHORT_TOKENS = 260


class MultiHeadAttention(nn.Module):
    """Project to queries, keys and values, attend in every head, and project back.

    Args:
        dim: width of the tokens.
        num_heads: number of heads.
        head_dim: width of one head; the inner width is `num_heads · head_dim`.
        kernel: which attention the heads compute.
        qkv_bias: whether the projection to queries, keys and values has a bias.
        dropout: drop probability after the output projection.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        head_dim: int,
        *,
        kernel: AttentionKernel = "softmax",
        qkv_bias: bool = False,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.head_dim = head_dim
        self.kernel: AttentionKernel = kernel
        self.qkv = nn.Linear(dim, 3 * num_heads * head_dim, bias=qkv_bias)
        self.output = nn.Linear(num_heads * head_dim, dim)
        self.dropout = Dropout(dropout)

    def forward(
        self, tokens: Float[Tensor, "batch tokens dim"], queries: int | None = None
    ) -> Float[Tensor, "batch queries dim"]:
        """The first `queries` tokens (all when None) attend to every token."""
        if queries is None and self._is_short(tokens):
            output = self._short(tokens)
        else:
            attended = KERNELS[self.kernel](*self._project(tokens, queries))
            output = self.output(attended.transpose(1, 2).flatten(2))
        dropped: Tensor = self.dropout(output)
        return dropped

    def weights(
        self, tokens: Float[Tensor, "batch tokens dim"]
    ) -> Float[Tensor, "batch heads tokens tokens"]:
        """The weights that `forward` applies: row i is how token i weighs all tokens."""
        query, key, _ = self._project(tokens)
        return WEIGHTS[self.kernel](query, key)

    def forward_with_weights(
        self, tokens: Float[Tensor, "batch tokens dim"]
    ) -> tuple[Float[Tensor, "batch tokens dim"], Float[Tensor, "batch heads tokens tokens"]]:
        """What `forward` gives, computed from the weights, and the weights themselves.

        Slower and larger than `forward`, whatever the kernel, but here the output has gradients
        with respect to the weights.
        """
        query, key, value = self._project(tokens)
        weights = WEIGHTS[self.kernel](query, key)
        output: Tensor = self.output((weights @ value).transpose(1, 2).flatten(2))
        return self.dropout(output), weights

    def _project(self, tokens: Tensor, queries: int | None = None) -> tuple[Tensor, Tensor, Tensor]:
        heads = (self.num_heads, self.head_dim)
        shape = tokens.shape[:2]
        if queries is None:
            packed = self.qkv(tokens).view(*shape, 3, *heads)
            query, key, value = packed.permute(2, 0, 3, 1, 4).unbind(0)
            return query, key, value
        inner = self.num_heads * self.head_dim
        weight, bias = self.qkv.weight, self.qkv.bias
        query_bias, rest_bias = (None, None) if bias is None else (bias[:inner], bias[inner:])
        query = F.linear(tokens[:, :queries], weight[:inner], query_bias)
        rest = F.linear(tokens, weight[inner:], rest_bias).view(*shape, 2, *heads)
        key, value = rest.permute(2, 0, 3, 1, 4).unbind(0)
        return query.view(shape[0], -1, *heads).transpose(1, 2), key, value

    def _is_short(self, tokens: Tensor) -> bool:
        return (
            self.kernel == "softmax"
            and torch.is_grad_enabled()
            and tokens.device.type == "cpu"
            and tokens.shape[1] <= SHORT_TOKENS
            and not torch.compiler.is_compiling()
        )

    def _short(self, tokens: Tensor) -> Tensor:
        dtype, bias = autocast_dtype(tokens), self.qkv.bias
        return short_multihead_attention(
            tokens.to(dtype),
            self.qkv.weight.to(dtype),
            None if bias is None else bias.to(dtype),
            self.output.weight.to(dtype),
            self.output.bias.to(dtype),
            self.num_heads,
        )
