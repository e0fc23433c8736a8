"""Feature maps φ of linear attention: the weight of key j for query i is φ(q_i)·φ(k_j).

| name | φ(x) | weights | features for width d |
|---|---|---|---|
| identity | x | any sign: refused where they do not sum to a safe positive | d |
| relu | max(x, 0) | ≥ 0, and a query may match no key | d |
| elu | elu(x) + 1 | > 0 | d |
| favor | exp(ω·x̂ − ‖x̂‖²/2)/√m for m random ω | > 0, in the mean exp(q·k/√d) | 4d |
| taylor | 1, x̂, x̂ ⊗ x̂/√2 | 1 + s + s²/2 ≥ ½ with s = q·k/√d | (d + 1)(d + 2)/2 |

x̂ is x/d^¼, so that x̂·ŷ = x·y/√d. Time and state grow in proportion to the number of features.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from functools import lru_cache
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor
from typing_extensions import override

from qkv.errors import ShapeError
from qkv.settings import nearest

FeatureMapName = Literal["identity", "relu", "elu", "favor", "taylor"]
Sign = Literal["positive", "non-negative", "any"]
Tokens = Float[Tensor, "*batch tokens head_dim"]
Features = Float[Tensor, "*batch tokens features"]


class FeatureMap(ABC):
    """φ, applied to queries and keys alike.

    Attributes:
        name: what messages call it.
        sign: what φ(q)·φ(k) can be. Where it is "non-negative", a query may match no key at all,
            and gets zeros; where it is "positive" that can only be an underflow, and is an error.
    """

    name: str
    sign: Sign

    @abstractmethod
    def num_features(self, head_dim: int) -> int:
        """Width of φ(x) for x of width `head_dim`.

        Raises:
            ShapeError: φ is made for another width.
        """

    @abstractmethod
    def __call__(self, x: Tokens) -> Features:
        """φ of every token, differentiable by autograd."""

    @abstractmethod
    def write(self, x: Tensor, out: Tensor) -> None:
        """Write φ(x) to `out`, without autograd."""

    @abstractmethod
    def backward(self, x: Tensor, features: Tensor, gradient: Tensor, out: Tensor) -> None:
        """Write the gradient for x to `out`, given φ(x) and the gradient for φ(x).

        It may overwrite `features`.
        """


class ElementwiseMap(FeatureMap):
    """φ of each number by itself, whose derivative is a function of φ: d features."""

    @override
    def num_features(self, head_dim: int) -> int:
        return head_dim

    @abstractmethod
    def derivative(self, features: Tensor) -> Tensor:
        """φ'(x) given φ(x), which it may overwrite."""

    @override
    def backward(self, x: Tensor, features: Tensor, gradient: Tensor, out: Tensor) -> None:
        torch.mul(self.derivative(features), gradient, out=out)


class RecordedMap(FeatureMap):
    """φ whose gradient autograd finds, block by block."""

    @override
    def write(self, x: Tensor, out: Tensor) -> None:
        with torch.no_grad():
            out.copy_(self(x))

    @override
    def backward(self, x: Tensor, features: Tensor, gradient: Tensor, out: Tensor) -> None:
        with torch.enable_grad():
            leaf = x.detach().requires_grad_()
            (to_x,) = torch.autograd.grad(self(leaf), leaf, gradient)
        out.copy_(to_x)


class Identity(ElementwiseMap):
    """φ(x) = x: attention without the exponential and nothing in its place.

    The weights are bare dot products, "assumed positive"; qkv holds the caller to that assumption.
    """

    name = "identity"
    sign: Sign = "any"

    @override
    def __call__(self, x: Tokens) -> Features:
        return x

    @override
    def write(self, x: Tensor, out: Tensor) -> None:
        out.copy_(x)

    @override
    def derivative(self, features: Tensor) -> Tensor:
        return torch.ones_like(features)


class ReLU(ElementwiseMap):
    """φ(x) = max(x, 0).

    Cheap and sparse, but a query whose positive features meet no key's has no weights, and its
    output is zero by definition. Used by Kasai et al. 2021, among others.
    """

    name = "relu"
    sign: Sign = "non-negative"

    @override
    def __call__(self, x: Tokens) -> Features:
        return x.relu()

    @override
    def write(self, x: Tensor, out: Tensor) -> None:
        torch.clamp_min(x, 0, out=out)

    @override
    def derivative(self, features: Tensor) -> Tensor:
        return (features > 0).to(features.dtype)


class ELU(ElementwiseMap):
    """φ(x) = elu(x) + 1 = x + 1 where x > 0, else exp(x) (Katharopoulos et al. 2020, eq. 7).

    One exponential a number. Written so that small features keep their relative precision, which
    exp(x) − 1 + 1 would round away.
    """

    name = "elu"
    sign: Sign = "positive"

    @override
    def __call__(self, x: Tokens) -> Features:
        # Not the form of `write`: where exp(x) is infinite its gradient would be 0 · ∞.
        return x.clamp_max(0).exp().add(x.relu())

    @override
    def write(self, x: Tensor, out: Tensor) -> None:
        # As 1 + x ≤ exp(x), clamping 1 to the range between the two picks the right branch: that
        # is one pass over memory fewer than computing both.
        torch.exp(x, out=out)
        torch.clamp(_one(x.dtype, x.device), x + 1, out, out=out)

    @override
    def derivative(self, features: Tensor) -> Tensor:
        return features.clamp_max_(1)


class FAVOR(RecordedMap):
    """Positive random features of the softmax kernel: E[φ(q)·φ(k)] = exp(q·k/√d).

    φ_r(x) = exp(ω_r·x̂ − ‖x̂‖²/2)/√m with ω from N(0, I), orthogonal in blocks of d (FAVOR+,
    Choromanski et al. 2021, lemma 1 and section 3.2). The error of a weight grows as
    exp(‖q̂ + k̂‖²)/m, so it serves queries and keys of moderate norm.

    Args:
        head_dim: width d of queries and keys.
        num_features: m, 4·head_dim when None.
        seed: of the draw of ω.

    Raises:
        ShapeError: one of the numbers is below 1.
    """

    name = "favor"
    sign: Sign = "positive"

    def __init__(self, head_dim: int, num_features: int | None = None, seed: int = 0) -> None:
        num_features = 4 * head_dim if num_features is None else num_features
        if num_features < 1 or head_dim < 1:
            raise ShapeError(
                f"{num_features} random features of head_dim {head_dim}",
                remedy="ask for at least one of each",
            )
        self.head_dim = head_dim
        self.directions = _orthogonal_directions(num_features, head_dim, seed)

    @override
    def num_features(self, head_dim: int) -> int:
        if head_dim != self.head_dim:
            raise ShapeError(
                f"random features for head_dim {self.head_dim} got vectors of {head_dim}",
                remedy="make the map for the width of the queries and keys",
            )
        return self.directions.shape[0]

    @override
    def __call__(self, x: Tokens) -> Features:
        scaled = x * self.head_dim**-0.25
        directions = self.directions.to(x)
        exponents = scaled @ directions.t() - scaled.square().sum(dim=-1, keepdim=True) / 2
        features: Tensor = exponents.exp() / math.sqrt(len(directions))
        return features


class Taylor(RecordedMap):
    """The second-order Taylor polynomial of the exponential: φ(q)·φ(k) = 1 + s + s²/2, s = q·k/√d.

    As in Keles et al. 2023 and Arora et al. 2024. It is ((1 + s)² + 1)/2, so never below ½. The
    products x̂_a·x̂_b are kept once for a < b, with a factor √2: (d + 1)(d + 2)/2 features, so a
    head of 64 pays 34 times what elu + 1 costs.
    """

    name = "taylor"
    sign: Sign = "positive"

    @override
    def num_features(self, head_dim: int) -> int:
        return (head_dim + 1) * (head_dim + 2) // 2

    @override
    def __call__(self, x: Tokens) -> Features:
        head_dim = x.shape[-1]
        scaled = x * head_dim**-0.25
        rows, columns = torch.triu_indices(head_dim, head_dim, device=x.device).unbind(0)
        factors = torch.where(rows == columns, x.new_tensor(math.sqrt(0.5)), x.new_ones(()))
        products = scaled[..., rows] * scaled[..., columns] * factors
        return torch.cat([torch.ones_like(x[..., :1]), scaled, products], dim=-1)


def feature_map_for(feature_map: FeatureMapName | FeatureMap, head_dim: int) -> FeatureMap:
    """The map itself, or the map of that name, for vectors of width `head_dim`.

    Raises:
        ShapeError: there is no such map, and the nearest name is offered; or the map is made for
            another width.
    """
    if isinstance(feature_map, FeatureMap):
        feature_map.num_features(head_dim)
        return feature_map
    if feature_map == "favor":
        return _favor(head_dim)
    if feature_map not in FEATURE_MAPS:
        raise ShapeError(
            f"unknown feature map {feature_map!r}",
            remedy=nearest(str(feature_map), [*FEATURE_MAPS, "favor"], what="feature maps"),
        )
    return FEATURE_MAPS[feature_map]


# The maps that serve every width; `favor` is drawn for one.
FEATURE_MAPS: dict[str, FeatureMap] = {
    "identity": Identity(),
    "relu": ReLU(),
    "elu": ELU(),
    "taylor": Taylor(),
}


@lru_cache(maxsize=16)
def _one(dtype: torch.dtype, device: torch.device) -> Tensor:
    # Kept tensors are used again, also after the inference mode of the first call has ended.
    with torch.inference_mode(False):
        return torch.ones((), dtype=dtype, device=device)


@lru_cache(maxsize=16)
def _favor(head_dim: int) -> FAVOR:
    with torch.inference_mode(False):
        return FAVOR(head_dim)


def _orthogonal_directions(
    num_features: int, head_dim: int, seed: int
) -> Float[Tensor, "num_features head_dim"]:
    """Rows distributed as N(0, I), orthogonal within each block of `head_dim` rows, float64."""
    generator = torch.Generator().manual_seed(seed)
    blocks = []
    for _ in range(math.ceil(num_features / head_dim)):
        square = torch.randn(head_dim, head_dim, generator=generator, dtype=torch.float64)
        rotation, upper = torch.linalg.qr(square)
        # The signs make the rotation uniform (Mezzadri 2007).
        blocks.append((rotation * upper.diagonal().sign()).t())
    directions = torch.cat(blocks)[:num_features]
    lengths = torch.randn(directions.shape, generator=generator, dtype=torch.float64).norm(dim=1)
    scaled: Tensor = directions * lengths[:, None]
    return scaled
