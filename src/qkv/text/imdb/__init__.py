"""IMDB: 50,000 reviews of films, half of them for training, half of them positive."""

from __future__ import annotations

from qkv.text.imdb.facts import CLASS_NAMES, IMDB, ImdbFacts
from qkv.text.imdb.load import keep, load
from qkv.text.imdb.locate import LocatedReviews, locate
from qkv.text.imdb.reviews import Reviews, lines_for_breaks

__all__ = [
    "CLASS_NAMES",
    "IMDB",
    "ImdbFacts",
    "LocatedReviews",
    "Reviews",
    "keep",
    "lines_for_breaks",
    "load",
    "locate",
]
