"""Weights of classes in the loss."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from qkv.data.dataset import IntArray


def inverse_frequencies(labels: IntArray, classes: int) -> Tensor:
    """`examples / (classes · count)` of each class, float32 (classes,); a missing one counts 1."""
    counts = np.bincount(labels, minlength=classes)
    weights = len(labels) / (classes * np.maximum(counts, 1))
    return torch.tensor(weights, dtype=torch.float32)
