"""States as they are kept: halves, or eight bits with a scale for each token."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float
from torch import Tensor

from qkv.errors import DataError
from qkv.text.states.keys import Kind

STEPS = 127  # of eight bits on either side of zero
_SMALLEST = float(torch.finfo(torch.float32).tiny)


@dataclass(frozen=True)
class Packed:
    """The states of one text.

    Attributes:
        values: float16 or int8 (tokens, dim).
        scales: float32 (tokens,) by which a row of int8 is multiplied; None for float16.
    """

    values: npt.NDArray[Any]
    scales: npt.NDArray[np.float32] | None

    @property
    def bytes(self) -> int:
        """What they take on disk."""
        return self.values.nbytes + (0 if self.scales is None else self.scales.nbytes)


def row_bytes(dim: int, kind: Kind) -> int:
    """What one token's state takes on disk."""
    return 2 * dim if kind == "float16" else dim + 4


def pack(states: Float[Tensor, "tokens dim"], kind: Kind) -> Packed:
    """States as they are kept, in memory of their own.

    float16 rounds an entry to eleven significant bits. int8 keeps round(127 x / m) with m the
    greatest magnitude of the token's state, so an entry is off by at most half a scale, m / 254.

    Raises:
        DataError: a state is not finite, or too large for float16.
    """
    if kind == "float16":
        half = states.to(torch.float16, copy=True)
        _require_finite(half, states)
        return Packed(half.numpy(), None)
    wide = states.to(torch.float32)
    _require_finite(wide, states)
    # A scale below the normal numbers would lose bits itself, and the error its bound.
    scales = (wide.abs().amax(dim=1) / STEPS).clamp_min(_SMALLEST)
    values = torch.round(wide / scales[:, None]).to(torch.int8)
    return Packed(values.numpy(), scales.numpy())


def unpack(
    values: npt.NDArray[Any], scales: npt.NDArray[np.float32] | None
) -> Float[Tensor, "*batch dim"]:
    """float32 states from kept ones, in memory of their own.

    Args:
        values: float16 or int8 (..., dim).
        scales: float32 (...); None for float16.
    """
    if scales is None:
        return torch.from_numpy(values).to(torch.float32)
    return torch.from_numpy(values) * torch.from_numpy(scales)[..., None]


def _require_finite(kept: Tensor, states: Tensor) -> None:
    if bool(torch.isfinite(kept).all()):
        return
    if bool(torch.isfinite(states).all()):
        raise DataError(
            f"the encoder gives states up to {float(states.abs().max()):.3g}, beyond float16",
            remedy='keep them with states = "int8"',
        )
    raise DataError(
        "the encoder gives states that are infinite or not numbers",
        remedy='check its weights, or compute in precision "float32"',
    )
