"""Tensors of safetensors files, by the names that a model expects, all of them or none."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from qkv.errors import DataError

# What the first converted models call the two vectors of a layer norm.
_OLD_NAMES = ((re.compile(r"\.gamma$"), ".weight"), (re.compile(r"\.beta$"), ".bias"))
_REMEDY = "fetch the encoder again, or name another"


def read_weights(
    paths: Sequence[Path], expected: Mapping[str, Tensor], prefix: str
) -> dict[str, Tensor]:
    """The expected tensors in float32; others in the files (heads, a pooler) are left unread.

    Args:
        paths: files in the safetensors format.
        expected: a tensor of the right shape for each name.
        prefix: what names begin with in files that also hold a head, without its dot.

    Raises:
        DataError: a file is damaged, or a tensor is missing, of another shape or not of floats.
    """
    found: dict[str, Tensor] = {}
    for path in paths:
        try:
            with safe_open(path, framework="pt") as file:
                for stored in file.keys():  # noqa: SIM118 (not a mapping)
                    name = _expected_name(stored, prefix)
                    if name in expected:
                        found[name] = file.get_tensor(stored)
        except (SafetensorError, OSError) as error:
            raise DataError(f"{path} cannot be read: {error}", remedy=_REMEDY) from None
    where = paths[0].parent
    if missing := sorted(set(expected) - set(found)):
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise DataError(f"the weights in {where} lack {missing[0]}{more}", remedy=_REMEDY)
    for name, tensor in found.items():
        if tensor.shape != expected[name].shape or not tensor.is_floating_point():
            raise DataError(
                f"the weights in {where} hold {name} as {tensor.dtype} {tuple(tensor.shape)}, but "
                f"config.json says float {tuple(expected[name].shape)}",
                remedy=_REMEDY,
            )
    return {name: tensor.to(torch.float32) for name, tensor in found.items()}


def _expected_name(stored: str, prefix: str) -> str:
    name = stored.removeprefix(f"{prefix}.") if prefix else stored
    for old, new in _OLD_NAMES:
        name = old.sub(new, name)
    return name
