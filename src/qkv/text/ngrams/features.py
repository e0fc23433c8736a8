"""From bags of n-grams to the features of a linear model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from qkv.data.dataset import IntArray
from qkv.text.ngrams.words import Bags


@dataclass(frozen=True, eq=False)
class Features:
    """A sparse matrix (texts, features) by rows, each row of length 1 or empty.

    Attributes:
        columns: int32 (entries,), ascending within a row.
        values: float64 (entries,).
        bounds: int64 (texts + 1,): row i has the entries from bounds[i] up to bounds[i + 1].
    """

    columns: npt.NDArray[np.int32]
    values: npt.NDArray[np.float64]
    bounds: IntArray

    def owners(self) -> IntArray:
        """int64 (entries,): the row of each entry."""
        return np.repeat(np.arange(len(self.bounds) - 1), np.diff(self.bounds))

    def scores(self, weights: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        """The matrix times `weights` (rows, features), transposed: (texts, rows)."""
        owners, texts = self.owners(), len(self.bounds) - 1
        sums = [
            np.bincount(owners, weights=self.values * row[self.columns], minlength=texts)
            for row in weights
        ]
        return np.stack(sums, axis=1)


def bag_features(
    bags: Bags, buckets: npt.NDArray[np.int32], idf: npt.NDArray[np.float32] | None
) -> Features:
    """The features of bags: their n-grams among `buckets`, weighted, each text scaled to length 1.

    Args:
        bags: the n-grams of some texts.
        buckets: int32 (features,), ascending: the n-grams that count.
        idf: float32 (features,) to weight counts with; None takes presence alone.
    """
    places = np.searchsorted(buckets, bags.buckets)
    known = np.zeros(len(places), dtype=np.bool_)
    inside = places < len(buckets)
    known[inside] = buckets[places[inside]] == bags.buckets[inside]
    columns = places[known].astype(np.int32)
    owners, texts = bags.owners()[known], bags.texts
    if idf is None:
        values = np.ones(len(columns))
    else:
        values = (1.0 + np.log(bags.counts[known])) * idf[columns]
    lengths = np.sqrt(np.bincount(owners, weights=values * values, minlength=texts))
    bounds = np.concatenate([[0], np.cumsum(np.bincount(owners, minlength=texts))])
    return Features(columns=columns, values=values / lengths[owners], bounds=bounds)


def joined(parts: Sequence[Features]) -> Features:
    """The rows of all parts, in order."""
    sizes = [np.diff(part.bounds) for part in parts]
    return Features(
        columns=np.concatenate([part.columns for part in parts]),
        values=np.concatenate([part.values for part in parts]),
        bounds=np.cumsum(np.concatenate([[0], *sizes])),
    )
