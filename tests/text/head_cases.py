"""Heads of every kind, and batches to try them on."""

from __future__ import annotations

from typing import Any

import torch
from pydantic import TypeAdapter
from torch import Tensor

from qkv.text.heads import Head, HeadSettings, build_head

DIM = 12
HEADS: dict[str, dict[str, Any]] = {
    "gru": {"kind": "gru", "hidden_size": 7},
    "gru of one layer": {"kind": "gru", "hidden_size": 5, "num_layers": 1},
    "attention": {"kind": "attention", "token_mlp_dim": 8, "hidden_dim": 6},
    "attention, plain": {
        "kind": "attention",
        "input_norm": False,
        "token_mlp_dim": 0,
        "num_queries": 1,
        "hidden_dim": 0,
    },
    "attention, everything": {
        "kind": "attention",
        "token_mlp_dim": 8,
        "num_queries": 3,
        "num_heads": 2,
        "value_dim": 10,
        "max_pool": True,
        "state_dropout": 0.3,
    },
    "mean": {"kind": "mean"},
    "mean, hidden": {"kind": "mean", "hidden_dim": 5},
}


def parsed(values: dict[str, Any]) -> HeadSettings:
    settings: HeadSettings = TypeAdapter(HeadSettings).validate_python(values)
    return settings


def head(name: str, classes: int = 2, **changes: Any) -> Head:
    torch.manual_seed(5)
    return build_head(parsed({**HEADS[name], **changes}), DIM, classes).eval()


def batch(lengths: list[int], dim: int = DIM, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Random states, and the mask of texts of those lengths."""
    generator = torch.Generator().manual_seed(seed)
    states = torch.randn(len(lengths), max(lengths), dim, generator=generator)
    return states, torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
