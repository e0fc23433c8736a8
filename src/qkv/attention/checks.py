"""What queries, keys, values and masks must look like, and one clear error where they do not."""

from __future__ import annotations

import torch
from torch import Tensor

from qkv.errors import ShapeError


def check_heads(
    query: Tensor, key: Tensor, value: Tensor | None, *, is_causal: bool
) -> tuple[int, ...]:
    """The batch shape that the tensors share by broadcasting.

    Raises:
        ShapeError: shapes or dtypes do not fit, or `is_causal` with unequal lengths.
    """
    named = {"query": query, "key": key}
    if value is not None:
        named["value"] = value
    for name, tensor in named.items():
        if tensor.ndim < 2:
            raise ShapeError(
                f"{name} has shape {tuple(tensor.shape)}",
                remedy="pass at least (tokens, head_dim)",
            )
        if tensor.dtype != query.dtype or not tensor.is_floating_point():
            raise ShapeError(
                f"{name} has dtype {tensor.dtype} beside a query of {query.dtype}",
                remedy="pass query, key and value in one floating-point dtype",
            )
    if query.shape[-1] != key.shape[-1]:
        raise ShapeError(
            f"query has {query.shape[-1]} features a head and key {key.shape[-1]}",
            remedy="give both the same head_dim",
        )
    if value is not None and value.shape[-2] != key.shape[-2]:
        raise ShapeError(
            f"key has {key.shape[-2]} tokens and value {value.shape[-2]}",
            remedy="give both the same number of tokens",
        )
    if is_causal and query.shape[-2] != key.shape[-2]:
        raise ShapeError(
            f"causal attention of {query.shape[-2]} queries over {key.shape[-2]} keys",
            remedy="give as many queries as keys",
        )
    return _common_batch({name: tuple(tensor.shape[:-2]) for name, tensor in named.items()})


def check_mask(attention_mask: Tensor, weights_shape: tuple[int, ...]) -> None:
    """Refuse a mask that is not boolean or does not broadcast to (*batch, queries, keys).

    Raises:
        ShapeError: it is not, or does not.
    """
    if attention_mask.dtype != torch.bool:
        raise ShapeError(
            f"attention_mask has dtype {attention_mask.dtype}",
            remedy="pass booleans, True where a query may attend",
        )
    if not attention_mask.ndim or not _broadcasts(tuple(attention_mask.shape), weights_shape):
        raise ShapeError(
            f"attention_mask has shape {tuple(attention_mask.shape)} for weights {weights_shape}",
            remedy="give it the shape of the weights, or 1 where it is the same for all",
        )


def _common_batch(shapes: dict[str, tuple[int, ...]]) -> tuple[int, ...]:
    common = shapes["query"]
    for name, shape in shapes.items():
        if shape == common:
            continue
        try:
            common = tuple(torch.broadcast_shapes(common, shape))  # type: ignore[no-untyped-call]
        except RuntimeError:
            raise ShapeError(
                f"{name} has batch shape {shape} beside {common}",
                remedy="give batch dimensions that are equal, or 1 where they broadcast",
            ) from None
    return common


def _broadcasts(shape: tuple[int, ...], to: tuple[int, ...]) -> bool:
    pairs = zip(reversed(shape), reversed(to), strict=False)
    return len(shape) <= len(to) and all(own in (1, wanted) for own, wanted in pairs)
