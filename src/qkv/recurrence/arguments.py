"""What the three forms of a recurrence take, checked and brought to one shape and dtype."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from qkv.errors import ShapeError

# The dtype that states are computed in, by the dtype of the inputs. Half precisions would lose
# every small input beside a large state.
STATE_DTYPES = {
    torch.float64: torch.float64,
    torch.float32: torch.float32,
    torch.float16: torch.float32,
    torch.bfloat16: torch.float32,
    torch.int64: torch.int64,
    torch.int32: torch.int32,
    torch.int16: torch.int16,
    torch.int8: torch.int8,
}


@dataclass(frozen=True)
class Arguments:
    """A recurrence h_t = a_t·h_{t−1} + u_t, ready to be solved.

    Attributes:
        drive: u_t = b_t·x_t in the full shape of the states.
        decay: a_t with as many dimensions as `drive`, of size 1 where it does not vary.
        initial: h_0, shaped like the states without time; None means zeros.
        dim: the time axis, counted from the front.
        dtype: of the states to give back; all the tensors here are of `STATE_DTYPES[dtype]`.
    """

    drive: Tensor
    decay: Tensor
    initial: Tensor | None
    dim: int
    dtype: torch.dtype


def prepare(
    inputs: Tensor,
    decay: Tensor | float,
    gain: Tensor | float | None,
    initial: Tensor | None,
    dim: int,
) -> Arguments:
    """Check the arguments of a recurrence and fold the gain into the inputs.

    Raises:
        ShapeError: they do not fit together; `recurrence_scan` lists how.
    """
    if inputs.dtype not in STATE_DTYPES:
        raise ShapeError(
            f"inputs have dtype {inputs.dtype}",
            remedy="use a floating-point or a signed integer dtype",
        )
    decay = _as_factor("decay", decay, inputs)
    factors = {"decay": decay}
    if gain is not None:
        factors["gain"] = gain = _as_factor("gain", gain, inputs)
    shape = _broadcast_shape({"inputs": inputs, **factors})
    if not -len(shape) <= dim < len(shape):
        raise ShapeError(
            f"dim is {dim} and the inputs have {len(shape)} dimensions",
            remedy="name an axis that is there, such as -1",
        )
    dim %= len(shape)
    if shape[dim] == 0:
        raise ShapeError(
            f"inputs have no steps along dim {dim}: their shape is {tuple(shape)}",
            remedy="give at least one step",
        )
    state_dtype = STATE_DTYPES[inputs.dtype]
    drive = inputs.to(state_dtype)
    if gain is not None:
        drive = drive * gain.to(state_dtype)
    decay = decay.to(state_dtype)
    return Arguments(
        drive=drive.expand(shape),
        decay=decay.reshape((1,) * (len(shape) - decay.ndim) + decay.shape),
        initial=_initial(initial, inputs, torch.Size(shape[:dim] + shape[dim + 1 :])),
        dim=dim,
        dtype=inputs.dtype,
    )


def _as_factor(name: str, factor: Tensor | float, inputs: Tensor) -> Tensor:
    """A decay or a gain as a tensor, which a Python number becomes without being rounded first."""
    if isinstance(factor, Tensor):
        _require_dtype(name, factor, inputs)
        return factor
    dtype = STATE_DTYPES[inputs.dtype]
    if not dtype.is_floating_point:
        limits = torch.iinfo(dtype)
        if not isinstance(factor, int) or not limits.min <= factor <= limits.max:
            raise ShapeError(
                f"{name} is {factor!r} and inputs have dtype {dtype}",
                remedy=f"use an integer that {dtype} holds, or floating-point inputs",
            )
    return torch.tensor(factor, dtype=dtype, device=inputs.device)


def _initial(initial: Tensor | None, inputs: Tensor, shape: torch.Size) -> Tensor | None:
    if initial is None:
        return None
    _require_dtype("initial", initial, inputs)
    if initial.shape != shape:
        raise ShapeError(
            f"initial has shape {tuple(initial.shape)} and a state {tuple(shape)}",
            remedy="give the shape of the states without the time axis",
        )
    return initial.to(STATE_DTYPES[inputs.dtype])


def _require_dtype(name: str, tensor: Tensor, inputs: Tensor) -> None:
    if tensor.dtype != inputs.dtype:
        raise ShapeError(
            f"{name} has dtype {tensor.dtype} and inputs {inputs.dtype}",
            remedy="give every tensor the dtype of the inputs",
        )


def _broadcast_shape(tensors: dict[str, Tensor]) -> torch.Size:
    try:
        shape: torch.Size = torch.broadcast_shapes(  # type: ignore[no-untyped-call]
            *(tensor.shape for tensor in tensors.values())
        )
    except RuntimeError:
        shapes = [f"{name} {tuple(tensor.shape)}" for name, tensor in tensors.items()]
        raise ShapeError(
            f"these shapes do not broadcast: {', '.join(shapes)}",
            remedy="make every size equal or 1, counted from the last axis",
        ) from None
    return shape
