"""The honest baseline: a bag of word n-grams under a linear model."""

from __future__ import annotations

from qkv.text.ngrams.model import NGramModel
from qkv.text.ngrams.settings import NGramSettings

__all__ = ["NGramModel", "NGramSettings"]
