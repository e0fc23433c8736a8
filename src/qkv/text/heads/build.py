"""From settings to a head."""

from __future__ import annotations

from qkv.text.heads.attention import AttentionHead
from qkv.text.heads.gru import GRUHead
from qkv.text.heads.head import Head
from qkv.text.heads.mean import MeanHead
from qkv.text.heads.settings import AttentionHeadSettings, GRUHeadSettings, HeadSettings


def build_head(settings: HeadSettings, dim: int, num_classes: int) -> Head:
    """A head with random weights.

    Args:
        settings: which, and how large.
        dim: width of the states that it reads.
        num_classes: classes to tell apart, at least 2.
    """
    if isinstance(settings, GRUHeadSettings):
        return GRUHead(settings, dim, num_classes)
    if isinstance(settings, AttentionHeadSettings):
        return AttentionHead(settings, dim, num_classes)
    return MeanHead(settings, dim, num_classes)
