"""Plain twins of the fast kernels, to read and to test against.

The loops follow the definitions one query at a time; the quadratic forms are what one would write
first with matrices, and what benchmarks call plain.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from qkv.errors import QKVError


def softmax_attention_reference(
    query: Float[Tensor, "queries head_dim"],
    key: Float[Tensor, "keys head_dim"],
    value: Float[Tensor, "keys value_dim"],
    *,
    attention_mask: Bool[Tensor, "queries keys"] | None = None,
    is_causal: bool = False,
    scale: float | None = None,
) -> Float[Tensor, "queries value_dim"]:
    """One head of softmax attention, one query at a time, straight from the definition.

    y_i = Σ_j exp(s_ij) v_j / Σ_j exp(s_ij) with s_ij = scale · q_i·k_j, over the keys j that
    query i may attend to (Vaswani et al. 2017, eq. 1). No key at all gives zeros.
    """
    factor = 1.0 / math.sqrt(query.shape[-1]) if scale is None else scale
    rows = []
    for i in range(query.shape[0]):
        visible = [
            j
            for j in range(key.shape[0])
            if (attention_mask is None or bool(attention_mask[i, j])) and (not is_causal or j <= i)
        ]
        total = value.new_zeros(value.shape[-1])
        if visible:
            scores = torch.stack([factor * (query[i] * key[j]).sum() for j in visible])
            powers = (scores - scores.max().detach()).exp()
            for power, j in zip(powers, visible, strict=True):
                total = total + power * value[j]
            total = total / powers.sum()
        rows.append(total)
    return torch.stack(rows)


def quadratic_softmax_attention(
    query: Float[Tensor, "*batch queries head_dim"],
    key: Float[Tensor, "*batch keys head_dim"],
    value: Float[Tensor, "*batch keys value_dim"],
    *,
    is_causal: bool = False,
    scale: float | None = None,
) -> Float[Tensor, "*batch queries value_dim"]:
    """softmax(scale · Q Kᵀ) V with the T×T weights in memory (Vaswani et al. 2017, eq. 1)."""
    factor = 1.0 / math.sqrt(query.shape[-1]) if scale is None else scale
    scores = query @ key.transpose(-2, -1) * factor
    if is_causal:
        later = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).triu(1)
        scores = scores.masked_fill(later, -math.inf)
    return scores.softmax(dim=-1) @ value


def linear_attention_reference(
    query: Float[Tensor, "queries features"],
    key: Float[Tensor, "keys features"],
    value: Float[Tensor, "keys value_dim"],
    *,
    attention_mask: Bool[Tensor, " keys"] | None = None,
    is_causal: bool = False,
) -> Float[Tensor, "queries value_dim"]:
    """One head of linear attention over features φ(q) and φ(k), token by token.

    Causal, it is a recurrence with a matrix for a state: S ← S + φ(k_t) v_tᵀ, z ← z + φ(k_t), then
    y_t = Sᵀφ(q_t)/φ(q_t)·z (Katharopoulos et al. 2020, eq. 16 to 20). Otherwise all keys come
    first. A query without any weight gets zeros.
    """
    state = value.new_zeros(key.shape[-1], value.shape[-1])
    normaliser = value.new_zeros(key.shape[-1])
    rows = []

    def read(features: Tensor) -> Tensor:
        total = (features * normaliser).sum()
        answer = (features[:, None] * state).sum(dim=0)
        return answer / total if float(total.detach()) != 0.0 else answer * 0.0

    for step in range(key.shape[0]):
        if attention_mask is None or bool(attention_mask[step]):
            state = state + key[step][:, None] * value[step][None, :]
            normaliser = normaliser + key[step]
        if is_causal:
            rows.append(read(query[step]))
    if not is_causal:
        rows = [read(features) for features in query]
    return torch.stack(rows)


def quadratic_linear_attention(
    query: Float[Tensor, "*batch queries head_dim"],
    key: Float[Tensor, "*batch keys head_dim"],
    value: Float[Tensor, "*batch keys value_dim"],
    *,
    feature_map: Callable[[Tensor], Tensor],
    is_causal: bool = False,
) -> Float[Tensor, "*batch queries value_dim"]:
    """Linear attention in the order that costs T²: normalise the rows of φ(Q) φ(K)ᵀ, times V."""
    weights = feature_map(query) @ feature_map(key).transpose(-2, -1)
    if is_causal:
        weights = weights.tril()
    return weights / weights.sum(dim=-1, keepdim=True) @ value


def naive_linear_attention(
    query: Float[Tensor, "*batch queries head_dim"],
    key: Float[Tensor, "*batch keys head_dim"],
    value: Float[Tensor, "*batch keys value_dim"],
) -> Float[Tensor, "*batch queries value_dim"]:
    """Linear attention with elu + 1 as first written: two products of whole tensors."""
    features, offers = F.elu(query) + 1, F.elu(key) + 1
    numerator = features @ (offers.transpose(-2, -1) @ value)
    return numerator / (features @ offers.sum(dim=-2).unsqueeze(-1))


Attend = Callable[[Tensor, Tensor, Tensor], Tensor]

CHECKED_TOKENS = 251
TOLERANCE = 1e-4  # of the largest entry
# Of entries that are all smaller, such as gradients that vanish, the size to go by.
LEAST_SCALE = 0.01


def require_agreement(pairs: Mapping[str, tuple[Attend, Attend]], head_dim: int) -> float:
    """Hold each kernel to its twin at 251 tokens, a length that is odd and prime, in float32.

    A wrong kernel has no speed.

    Args:
        pairs: by name, a kernel and its twin: query, key and value, (1, 1, tokens, head_dim) each,
            to an output.
        head_dim: width of queries, keys and values.

    Returns:
        The largest difference, as a share of the largest entry.

    Raises:
        QKVError: one differs by more than 1e-4 of the largest entry.
    """
    generator = torch.Generator().manual_seed(0)
    shape = 4, 1, 1, CHECKED_TOKENS, head_dim
    *inputs, upstream = torch.randn(shape, generator=generator).unbind()
    largest = 0.0
    for name, pair in pairs.items():
        ours, theirs = (_results(attend, inputs, upstream) for attend in pair)
        for one, other in zip(ours, theirs, strict=True):
            scale = max(LEAST_SCALE, float(other.abs().max()))
            difference = float((one - other).abs().max()) / scale
            # Written so that NaN fails too.
            if not difference <= TOLERANCE:
                raise QKVError(
                    f"{name} attention and its plain form differ by {difference:.2g} of the "
                    f"largest entry at {CHECKED_TOKENS} tokens",
                    remedy="mend the one that is wrong before timing either",
                )
            largest = max(largest, difference)
    return largest


def _results(attend: Attend, inputs: list[Tensor], upstream: Tensor) -> list[Tensor]:
    leaves = [tensor.clone().requires_grad_() for tensor in inputs]
    output = attend(*leaves)
    return [output.detach(), *torch.autograd.grad(output, leaves, upstream)]
