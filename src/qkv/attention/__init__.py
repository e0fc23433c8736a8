"""Attention kernels as plain functions of tensors, and the module that uses them."""

from qkv.attention.feature_maps import FAVOR, FeatureMap, FeatureMapName
from qkv.attention.linear import LinearAttentionState, linear_attention, linear_attention_weights
from qkv.attention.multihead import MultiHeadAttention
from qkv.attention.softmax import softmax_attention, softmax_attention_weights

__all__ = [
    "FAVOR",
    "FeatureMap",
    "FeatureMapName",
    "LinearAttentionState",
    "MultiHeadAttention",
    "linear_attention",
    "linear_attention_weights",
    "softmax_attention",
    "softmax_attention_weights",
]
