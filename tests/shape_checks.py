"""Which functions the tests check at run time: those that declare the shape of a tensor."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, get_args

from beartype import beartype
from jaxtyping import AbstractArray


def checked(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function` under beartype if its signature names a tensor's shape, else itself."""
    signature = inspect.signature(function)
    hints = [parameter.annotation for parameter in signature.parameters.values()]
    if any(map(_names_a_shape, [*hints, signature.return_annotation])):
        return beartype(function)
    return function


def _names_a_shape(hint: Any) -> bool:
    is_shape = inspect.isclass(hint) and issubclass(hint, AbstractArray)
    return is_shape or any(map(_names_a_shape, get_args(hint)))
