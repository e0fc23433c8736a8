"""Linear attention: weights φ(q)·φ(k), normalised by row, in time and memory linear in length."""

from __future__ import annotations

from typing import Literal, NamedTuple, overload

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from qkv.attention import bidirectional, causal
from qkv.attention.blocks import Attended, sum_dtype
from qkv.attention.checks import check_heads, check_mask
from qkv.attention.feature_maps import FeatureMap, FeatureMapName, feature_map_for
from qkv.errors import NormaliserError, ShapeError

# With signed weights, the least share of Σ|φ(q)|·|φ(k)| that must be left after they cancel. A
# float32 quotient then still has three digits.
SAFE_SHARE = 1e-3


class LinearAttentionState(NamedTuple):
    """All that linear attention remembers of the keys and values it has seen.

    Attributes:
        key_value: Σ_j φ(k_j) v_jᵀ, (*batch, features, value_dim).
        normaliser: Σ_j φ(k_j), (*batch, features).

    Both are float32, or float64 for inputs in float64.
    """

    key_value: Float[Tensor, "*batch features value_dim"]
    normaliser: Float[Tensor, "*batch features"]


@overload
def linear_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    feature_map: FeatureMapName | FeatureMap = ...,
    attention_mask: Tensor | None = ...,
    is_causal: bool = ...,
    initial_state: LinearAttentionState | None = ...,
    return_state: Literal[False] = ...,
) -> Tensor: ...
@overload
def linear_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    feature_map: FeatureMapName | FeatureMap = ...,
    attention_mask: Tensor | None = ...,
    is_causal: bool = ...,
    initial_state: LinearAttentionState | None = ...,
    return_state: Literal[True],
) -> tuple[Tensor, LinearAttentionState]: ...
def linear_attention(
    query: Float[Tensor, "*#batch queries head_dim"],
    key: Float[Tensor, "*#batch keys head_dim"],
    value: Float[Tensor, "*#batch keys value_dim"],
    *,
    feature_map: FeatureMapName | FeatureMap = "elu",
    attention_mask: Bool[Tensor, "*#batch #queries keys"] | None = None,
    is_causal: bool = False,
    initial_state: LinearAttentionState | None = None,
    return_state: bool = False,
) -> (
    Float[Tensor, "... queries value_dim"]
    | tuple[Float[Tensor, "... queries value_dim"], LinearAttentionState]
):
    """y_i = Σ_j φ(q_i)·φ(k_j) v_j / Σ_j φ(q_i)·φ(k_j), without ever forming the T×T weights.

    The product is taken in the other order, φ(Q) (φ(K)ᵀ V) over φ(Q) (φ(K)ᵀ 1), which is the same
    by associativity: O(T · features · value_dim) time, forward and backward, and beyond inputs and
    output only the state, a block of features, and one number a query (Katharopoulos et al. 2020,
    eq. 5 and 6). Half precisions are computed and summed in float32.

    Args:
        query: what each token asks.
        key: what each token offers.
        value: what each token gives. Batch dimensions of the three broadcast.
        feature_map: φ, by name or as an object: see `qkv.attention.feature_maps`.
        attention_mask: True where a key may be attended to, the same for every query, so of shape
            (…, 1, keys) or (keys). A query that may attend nowhere gets zeros.
        is_causal: a query attends only to keys at its own or an earlier position.
        initial_state: of the keys and values before the first of these; every query sees them.
        return_state: also return the state after the last key, from which a later call can go on.
            The pieces of a sequence, one call each, give the answer of one causal call.

    Returns:
        The output in the dtype of the inputs; with `return_state`, also the state.

    Raises:
        ShapeError: shapes, dtypes, mask or state do not fit, or `is_causal` with unequal lengths.
        NormaliserError: the weights of a query do not sum to a safely positive number. With
            "identity" they cancel; with a positive map they are too small for the dtype.
    """
    batch = check_heads(query, key, value, is_causal=is_causal)
    features = feature_map_for(feature_map, query.shape[-1])
    mask = _key_mask(attention_mask, batch, query.shape[-2], key.shape[-2])
    query, key, value = (_as_rows(tensor, batch) for tensor in (query, key, value))
    state = sums = None
    if initial_state is not None:
        _check_state(initial_state, query, value, features, batch)
        state = initial_state.key_value.reshape(len(query), -1, value.shape[-1])
        sums = initial_state.normaliser.reshape(len(query), -1)
    attended = _attend(query, key, value, mask, state, sums, features, is_causal=is_causal)
    if not attended.is_safe or features.sign == "any":
        _require_normaliser(attended.normaliser, query, key, mask, sums, features, is_causal)
    output = attended.output.view(*batch, *attended.output.shape[-2:])
    if not return_state:
        return output
    return output, LinearAttentionState(
        attended.state.reshape(*batch, *attended.state.shape[-2:]),
        attended.sums.reshape(*batch, attended.sums.shape[-1]),
    )


def _attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    state: Tensor | None,
    sums: Tensor | None,
    features: FeatureMap,
    *,
    is_causal: bool,
) -> Attended:
    arguments = query, key, value, mask, state, sums, features
    attend = causal.attend if is_causal else bidirectional.attend
    recorded = torch.is_grad_enabled() and any(
        tensor is not None and tensor.requires_grad for tensor in (query, key, value, state, sums)
    )
    if not recorded and not torch.is_autocast_enabled(query.device.type):
        return attend(*arguments)
    # Sums are taken in the dtype that qkv chooses, also where autocast would choose another.
    with torch.autocast(query.device.type, enabled=False):
        if not recorded:
            return attend(*arguments)
        function = causal.Causal if is_causal else bidirectional.Bidirectional
        return Attended(*function.apply(*arguments))  # type: ignore[no-untyped-call]


def linear_attention_weights(
    query: Float[Tensor, "*#batch queries head_dim"],
    key: Float[Tensor, "*#batch keys head_dim"],
    *,
    feature_map: FeatureMapName | FeatureMap = "elu",
    attention_mask: Bool[Tensor, "*#batch #queries keys"] | None = None,
    is_causal: bool = False,
) -> Float[Tensor, "... queries keys"]:
    """The weights that `linear_attention` implies, φ(q_i)·φ(k_j) over their sum in each row.

    For inspection: this one does form the T×T matrix. Arguments and errors are those of
    `linear_attention`; a row that may attend nowhere is zero.
    """
    batch = check_heads(query, key, None, is_causal=is_causal)
    features = feature_map_for(feature_map, query.shape[-1])
    mask = _key_mask(attention_mask, batch, query.shape[-2], key.shape[-2])
    dtype = sum_dtype(query)
    mapped_query, mapped_key = features(query.to(dtype)), features(key.to(dtype))
    scores = mapped_query @ mapped_key.transpose(-2, -1)
    if mask is not None:
        scores = scores * mask.view(*batch, 1, -1)
    if is_causal:
        scores = scores.tril()
    normaliser = scores.sum(dim=-1)
    rows = [_as_rows(tensor.detach(), batch) for tensor in (normaliser[..., None], query, key)]
    _require_normaliser(rows[0][..., 0], rows[1], rows[2], mask, None, features, is_causal)
    empty = (normaliser.abs() < torch.finfo(dtype).tiny)[..., None]
    return (scores / normaliser[..., None].masked_fill(empty, 1.0)).to(query.dtype)


def _as_rows(tensor: Tensor, batch: tuple[int, ...]) -> Tensor:
    """(*batch, tokens, width), broadcast where it must be, as (rows, tokens, width)."""
    if tensor.shape[:-2] != batch:
        tensor = tensor.expand(*batch, -1, -1)
    return tensor if tensor.ndim == 3 else tensor.reshape(-1, *tensor.shape[-2:])


def _key_mask(
    attention_mask: Tensor | None, batch: tuple[int, ...], queries: int, keys: int
) -> Tensor | None:
    """The mask as (rows, keys)."""
    if attention_mask is None:
        return None
    check_mask(attention_mask, (*batch, queries, keys))
    if attention_mask.ndim > 1 and attention_mask.shape[-2] != 1:
        raise ShapeError(
            f"attention_mask has shape {tuple(attention_mask.shape)}: a row for each query",
            remedy="linear attention can only hide a key from all queries: pass (…, 1, keys), "
            "and is_causal for causality",
        )
    mask = attention_mask if attention_mask.ndim == 1 else attention_mask[..., 0, :]
    return mask.expand(*batch, keys).reshape(-1, keys)


def _check_state(
    state: LinearAttentionState,
    query: Tensor,
    value: Tensor,
    features: FeatureMap,
    batch: tuple[int, ...],
) -> None:
    width = features.num_features(query.shape[-1])
    dtype = sum_dtype(query)
    wanted = {"key_value": (*batch, width, value.shape[-1]), "normaliser": (*batch, width)}
    for name, shape in wanted.items():
        part = getattr(state, name)
        if tuple(part.shape) != shape or part.dtype != dtype:
            raise ShapeError(
                f"{name} of the initial state is {part.dtype} of shape {tuple(part.shape)}",
                remedy=f"pass the state of an earlier call, here {dtype} of shape {shape}",
            )


def _require_normaliser(
    normaliser: Float[Tensor, "rows queries"],
    query: Float[Tensor, "rows queries head_dim"],
    key: Float[Tensor, "rows keys head_dim"],
    mask: Bool[Tensor, "rows keys"] | None,
    sums: Float[Tensor, "rows features"] | None,
    features: FeatureMap,
    is_causal: bool,
) -> None:
    """Refuse sums that a quotient cannot rest on, of queries that see any key at all."""
    if features.sign == "non-negative":
        return
    rows, queries = normaliser.shape
    seen = normaliser.new_ones(rows, key.shape[1]) if mask is None else mask.to(normaliser)
    seen = seen.cumsum(dim=1) if is_causal else seen.sum(dim=1, keepdim=True)
    visible = (seen > 0).expand(rows, queries)
    least = torch.full_like(normaliser, torch.finfo(normaliser.dtype).tiny)
    if sums is not None:
        visible = visible | (sums != 0).any(dim=-1, keepdim=True)
    share = torch.ones_like(normaliser)
    if features.sign == "any":
        with torch.no_grad():
            bound = _sum_of_magnitudes(query, key, mask, sums, features, is_causal)
        least = torch.maximum(SAFE_SHARE * bound, least)
        share = normaliser / bound
    # Written so that NaN passes, as it does through softmax attention.
    failing = (normaliser < least) & visible
    if not bool(failing.any()):
        return
    row, place = (int(index) for index in failing.nonzero()[0])
    where = f"query {place} of row {row}" if rows > 1 else f"query {place}"
    found = f"the weights of {where} sum to {float(normaliser[row, place]):.3g}"
    if features.sign == "any":
        raise NormaliserError(
            f"{found}, which leaves {float(share[row, place]):.2g} of their magnitudes and is not "
            f"safely positive (feature map {features.name!r})",
            remedy="make all dot products positive, or use a positive feature map such as 'elu'",
        )
    raise NormaliserError(
        f"{found} in {normaliser.dtype} (feature map {features.name!r})",
        remedy="scale queries and keys down",
    )


def _sum_of_magnitudes(
    query: Tensor,
    key: Tensor,
    mask: Tensor | None,
    sums: Tensor | None,
    features: FeatureMap,
    is_causal: bool,
) -> Float[Tensor, "rows queries"]:
    """Σ_j |φ(q_i)|·|φ(k_j)|: the normaliser if nothing cancelled."""
    dtype = sum_dtype(query)
    sizes, offers = (features(tensor.to(dtype)).abs() for tensor in (query, key))
    if mask is not None:
        offers = offers.masked_fill(~mask[..., None], 0.0)
    totals = offers.cumsum(dim=1) if is_causal else offers.sum(dim=1, keepdim=True)
    if sums is not None:
        totals = totals + sums[:, None].abs()
    return (sizes * totals).sum(dim=-1)
