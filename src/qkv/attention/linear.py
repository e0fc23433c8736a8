"""Linear attention: weights φ(q)·φ(k), normalised by row, in time and memory linear in length."""

from __future__ import annotations

import math
from typing import Any, Literal, NamedTuple, Protocol, overload

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from qkv.attention import linear_bidirectional as bidirectional
from qkv.attention import linear_causal as causal
from qkv.attention.blocks import Attended, Inputs, Pair, least_sum, sum_dtype
from qkv.attention.checks import check_heads, check_mask
from qkv.attention.feature_maps import FeatureMap, FeatureMapName, feature_map_for
from qkv.autograd import without_second_derivative
from qkv.errors import NormaliserError, ShapeError

# With signed weights, the least share of Σ|φ(q)|·|φ(k)| that must be left after they cancel. A
# float32 quotient then still has three digits.
SAFE_SHARE = 1e-3


def require_normaliser(
    normaliser: Float[Tensor, "rows queries"],
    query: Float[Tensor, "rows queries head_dim"],
    key: Float[Tensor, "rows keys head_dim"],
    mask: Bool[Tensor, "rows keys"] | None,
    past: Float[Tensor, "rows features"] | None,
    features: FeatureMap,
    is_causal: bool,
) -> None:
    """Refuse sums that a quotient cannot rest on, of queries that see any key at all.

    `past` is Σ_j |φ(k_j)| over the keys before the first of these.

    Raises:
        NormaliserError: a sum is infinite, or too small where φ cannot be zero, or what is left
            where signed weights have cancelled.
    """
    rows, queries = normaliser.shape
    seen = normaliser.new_ones(rows, key.shape[1]) if mask is None else mask.to(normaliser)
    seen = seen.cumsum(dim=1) if is_causal else seen.sum(dim=1, keepdim=True)
    # Without a positive feature, a query may well see keys and match none.
    visible = (seen > 0).expand(rows, queries) & (features.sign != "non-negative")
    least = torch.full_like(normaliser, least_sum(normaliser.dtype))
    if past is not None:
        came_before = (past != 0).any(dim=-1, keepdim=True)
        visible = visible | (came_before & (features.sign != "non-negative"))
    share = torch.ones_like(normaliser)
    if features.sign == "any":
        with torch.no_grad():
            sizes = features(query.to(normaliser.dtype)).abs()
            bound = (sizes * magnitudes(key, mask, past, features, is_causal=is_causal)).sum(-1)
        least = torch.maximum(SAFE_SHARE * bound, least)
        share = normaliser / bound.masked_fill(bound == 0, 1.0)
    # Written so that NaN passes, as it does through softmax attention.
    failing = ((normaliser < least) & visible) | normaliser.isinf()
    if not bool(failing.any()):
        return
    row, place = (int(index) for index in failing.nonzero()[0])
    where = f"query {place} of row {row}" if rows > 1 else f"query {place}"
    found = f"the weights of {where} sum to {float(normaliser[row, place]):.3g}"
    if features.sign == "any" and share[row, place] < SAFE_SHARE:
        raise NormaliserError(
            f"{found}, which leaves {float(share[row, place]):.2g} of their magnitudes and is not "
            f"safely positive (feature map {features.name!r})",
            remedy="make all dot products positive, or use a positive feature map such as 'elu'",
        )
    raise NormaliserError(
        f"{found} in {normaliser.dtype} (feature map {features.name!r})",
        remedy="scale queries and keys down",
    )


def magnitudes(
    key: Tensor, mask: Tensor | None, past: Tensor | None, features: FeatureMap, *, is_causal: bool
) -> Float[Tensor, "rows sums features"]:
    """Σ_j |φ(k_j)| over the keys that a query sees: what sums would be if nothing cancelled."""
    offers = features(key.to(sum_dtype(key))).abs()
    if mask is not None:
        offers = offers.masked_fill(~mask[..., None], 0.0)
    totals = offers.cumsum(dim=1) if is_causal else offers.sum(dim=1, keepdim=True)
    return totals if past is None else totals + past[:, None]


class Form(Protocol):
    """A module that computes linear attention without autograd: bidirectional or causal."""

    def attend(self, feature_map: FeatureMap, inputs: Inputs) -> tuple[Attended, Pair]:
        """The result, and what the backward pass needs of state and sums."""
        ...

    def backward(
        self,
        feature_map: FeatureMap,
        saved: tuple[Any, ...],
        incoming: tuple[Tensor, Tensor, Tensor],
    ) -> tuple[Tensor, ...]:
        """Gradients of query, key, value, state and sums.

        Args:
            feature_map: φ.
            saved: query, key, value, mask, what `attend` kept of state and of sums, output and
                normaliser.
            incoming: the gradients of output, state and sums; it may overwrite the last two.
        """
        ...


class Recorded(torch.autograd.Function):
    """(form, φ, *inputs) to `Attended`, differentiable once."""

    @staticmethod
    def forward(ctx: Any, form: Form, feature_map: FeatureMap, *parts: Any) -> Attended:
        """Attend; the normaliser has no gradient."""
        inputs = Inputs(*parts)
        attended, kept = form.attend(feature_map, inputs)
        ctx.form, ctx.feature_map = form, feature_map
        ctx.has_start = inputs.state is not None
        ctx.shapes = attended.state.shape, attended.sums.shape
        ctx.save_for_backward(*inputs[:4], *kept, attended.output, attended.normaliser)
        ctx.mark_non_differentiable(attended.normaliser)
        ctx.set_materialize_grads(False)
        return attended

    @staticmethod
    @without_second_derivative("linear attention")
    def backward(
        ctx: Any,
        to_output: Tensor | None,
        _normaliser: Tensor | None,
        to_state: Tensor | None,
        to_sums: Tensor | None,
        _is_safe: None,
    ) -> tuple[Tensor | None, ...]:
        """Gradients of everything but form, mask and φ."""
        saved, (state_shape, sums_shape) = ctx.saved_tensors, ctx.shapes
        output = saved[6]
        # Copies, for the sums are gathered in them.
        incoming = (
            torch.zeros_like(output) if to_output is None else to_output,
            output.new_zeros(state_shape) if to_state is None else to_state.clone(),
            output.new_zeros(sums_shape) if to_sums is None else to_sums.clone(),
        )
        with torch.autocast(output.device.type, enabled=False):
            *to_inputs, to_state, to_sums = ctx.form.backward(ctx.feature_map, saved, incoming)
        to_start = (to_state, to_sums) if ctx.has_start else (None, None)
        return None, None, *to_inputs, None, *to_start


class LinearAttentionState(NamedTuple):
    """All that linear attention remembers of the keys and values it has seen.

    Attributes:
        key_value: Σ_j φ(k_j) v_jᵀ, (*batch, features, value_dim).
        normaliser: Σ_j φ(k_j), (*batch, features).
        magnitude: Σ_j |φ(k_j)|, (*batch, features): what the normaliser would be if nothing had
            cancelled. For features that are never negative it is the normaliser.

    All are float32, or float64 for inputs in float64.
    """

    key_value: Float[Tensor, "*batch features value_dim"]
    normaliser: Float[Tensor, "*batch features"]
    magnitude: Float[Tensor, "*batch features"]


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
    attention_mask: Bool[Tensor, "*#batch #queries keys"] | Bool[Tensor, " keys"] | None = None,
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
        query: (*batch, queries, head_dim).
        key: (*batch, keys, head_dim).
        value: (*batch, keys, value_dim). Batch dimensions of the three broadcast.
        feature_map: φ, by name or as an object: see `qkv.attention.feature_maps`.
        attention_mask: True where a key may be attended to, the same for every query, so of shape
            (…, 1, keys) or (keys). A query that may attend nowhere gets zeros.
        is_causal: a query attends only to keys at its own or an earlier position.
        initial_state: of the keys and values before the first of these; every query sees them.
        return_state: also return the state after the last key, from which a later call can go on.
            The pieces of a sequence, one call each, give the output of one causal call.

    Returns:
        The output in the dtype of the inputs; with `return_state`, also the state.

    Raises:
        ShapeError: shapes, dtypes, mask or state do not fit, or `is_causal` with unequal lengths.
        NormaliserError: the weights of a query do not sum to a safely positive number. With
            "identity" they may cancel; otherwise they are too small or too large for the dtype.
            NaN is not refused: as with softmax attention, it makes outputs NaN, also those of
            other queries, and in the value of a masked key.
    """
    batch = check_heads(query, key, value, is_causal=is_causal)
    features = feature_map_for(feature_map, query.shape[-1])
    mask = _key_mask(attention_mask, batch, query.shape[-2], key.shape[-2])
    query, key, value = _as_rows(query, batch), _as_rows(key, batch), _as_rows(value, batch)
    state = sums = past = None
    if initial_state is not None:
        _check_state(initial_state, query, value, features, batch)
        state, sums, past = (
            part.reshape(math.prod(batch), *part.shape[len(batch) :]) for part in initial_state
        )
    attended = _attend(features, Inputs(query, key, value, mask, state, sums), is_causal=is_causal)
    if not attended.is_safe or features.sign == "any":
        require_normaliser(attended.normaliser, query, key, mask, past, features, is_causal)
    # Rounded only here: the gradient of a quotient needs the digits that a half precision drops.
    output = attended.output.view(*batch, *attended.output.shape[-2:]).to(query.dtype)
    if not return_state:
        return output
    parts = [attended.state, attended.sums, attended.sums]
    if features.sign == "any":
        with torch.no_grad():
            parts[2] = magnitudes(key, mask, past, features, is_causal=False)[:, 0]
    return output, LinearAttentionState(*(part.view(*batch, *part.shape[1:]) for part in parts))


def _attend(features: FeatureMap, inputs: Inputs, *, is_causal: bool) -> Attended:
    query = inputs.query
    # One token sees itself and the past either way.
    is_causal = is_causal and query.shape[1] > 1 and len(query) > 0
    form: Form = causal if is_causal else bidirectional
    recorded = torch.is_grad_enabled() and any(
        part is not None and part.requires_grad for part in inputs
    )
    if not recorded and not torch.is_autocast_enabled(query.device.type):
        return form.attend(features, inputs)[0]
    # Sums are taken in the dtype that qkv chooses, also where autocast would choose another.
    with torch.autocast(query.device.type, enabled=False):
        if not recorded:
            return form.attend(features, inputs)[0]
        return Attended(*Recorded.apply(form, features, *inputs))  # type: ignore[no-untyped-call]


def linear_attention_weights(
    query: Float[Tensor, "*#batch queries head_dim"],
    key: Float[Tensor, "*#batch keys head_dim"],
    *,
    feature_map: FeatureMapName | FeatureMap = "elu",
    attention_mask: Bool[Tensor, "*#batch #queries keys"] | Bool[Tensor, " keys"] | None = None,
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
    with torch.autocast(query.device.type, enabled=False):
        mapped_query, mapped_key = features(query.to(dtype)), features(key.to(dtype))
        scores = mapped_query @ mapped_key.transpose(-2, -1)
    if mask is not None:
        scores = scores * mask.view(*batch, 1, key.shape[-2])
    if is_causal:
        scores = scores.tril()
    normaliser = scores.sum(dim=-1)
    rows = [_as_rows(tensor.detach(), batch) for tensor in (normaliser[..., None], query, key)]
    require_normaliser(rows[0][..., 0], rows[1], rows[2], mask, None, features, is_causal)
    empty = (normaliser.abs() < least_sum(dtype))[..., None]
    return (scores / normaliser[..., None].masked_fill(empty, 1.0)).to(query.dtype)


def _as_rows(tensor: Tensor, batch: tuple[int, ...]) -> Tensor:
    """(*batch, tokens, width), broadcast where it must be, as (rows, tokens, width)."""
    if tensor.shape[:-2] != batch:
        tensor = tensor.expand(*batch, -1, -1)
    return tensor if tensor.ndim == 3 else tensor.reshape(math.prod(batch), *tensor.shape[-2:])


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
    return mask.expand(*batch, keys).reshape(math.prod(batch), keys)


def _check_state(
    state: LinearAttentionState,
    query: Tensor,
    value: Tensor,
    features: FeatureMap,
    batch: tuple[int, ...],
) -> None:
    width = features.num_features(query.shape[-1])
    dtype = sum_dtype(query)
    sums = *batch, width
    for name, part, shape in zip(
        state._fields, state, ((*sums, value.shape[-1]), sums, sums), strict=True
    ):
        if tuple(part.shape) != shape or part.dtype != dtype:
            raise ShapeError(
                f"{name} of the initial state is {part.dtype} of shape {tuple(part.shape)}",
                remedy=f"pass the state of an earlier call, here {dtype} of shape {shape}",
            )
