"""Heads: from the states of a text to its logits."""

from qkv.text.heads.build import build_head
from qkv.text.heads.settings import (
    AttentionHeadSettings,
    GRUHeadSettings,
    HeadSettings,
    MeanHeadSettings,
)

__all__ = [
    "AttentionHeadSettings",
    "GRUHeadSettings",
    "HeadSettings",
    "MeanHeadSettings",
    "build_head",
]
