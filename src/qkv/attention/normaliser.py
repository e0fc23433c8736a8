"""Which normalisers a quotient can rest on, and the error where one cannot."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from qkv.attention.blocks import Past, least_sum, sum_dtype
from qkv.attention.feature_maps import FeatureMap
from qkv.errors import NormaliserError

# With signed weights, the least share of Σ|φ(q)|·|φ(k)| that must be left after they cancel. A
# float32 quotient then still has three digits.
SAFE_SHARE = 1e-3


def require_normaliser(
    normaliser: Float[Tensor, "rows queries"],
    query: Float[Tensor, "rows queries head_dim"],
    key: Float[Tensor, "rows keys head_dim"],
    mask: Bool[Tensor, "rows keys"] | None,
    past: Past,
    features: FeatureMap,
    is_causal: bool,
) -> None:
    """Refuse sums that a quotient cannot rest on, of queries that see any key at all.

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
    if past.magnitudes is not None:
        came_before = (past.magnitudes != 0).any(dim=-1, keepdim=True)
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
    key: Tensor, mask: Tensor | None, past: Past, features: FeatureMap, *, is_causal: bool
) -> Float[Tensor, "rows sums features"]:
    """Σ_j |φ(k_j)| over the keys that a query sees: what sums would be if nothing cancelled."""
    offers = features(key.to(sum_dtype(key))).abs()
    if mask is not None:
        offers = offers.masked_fill(~mask[..., None], 0.0)
    totals = offers.cumsum(dim=1) if is_causal else offers.sum(dim=1, keepdim=True)
    return totals if past.magnitudes is None else totals + past.magnitudes[:, None]
