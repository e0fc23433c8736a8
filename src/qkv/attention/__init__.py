"""Attention kernels as plain functions of tensors, and the module that uses them."""

from qkv.attention.multihead import MultiHeadAttention
from qkv.attention.softmax import softmax_attention, softmax_attention_weights

__all__ = ["MultiHeadAttention", "softmax_attention", "softmax_attention_weights"]
