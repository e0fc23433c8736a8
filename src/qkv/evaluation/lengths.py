"""Whether long texts are classified as well as short ones."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

from qkv.errors import ShapeError
from qkv.evaluation.calibration import IntegerArray
from qkv.evaluation.metrics import wilson_interval


def accuracy_by_length(
    lengths: IntegerArray, labels: IntegerArray, predicted: IntegerArray, bins: int = 10
) -> dict[str, Any]:
    """Accuracy of texts grouped by length, in bins of about equal count, as plain JSON values.

    Texts of one length are always in one bin, so bins are ranges that do not overlap; there are
    fewer than `bins` where lengths repeat that much. Keys: `examples`, `accuracy` (of all) and
    `bins`, shortest first, each with `shortest` and `longest` (the lengths that occur in it),
    `count`, `accuracy` and `accuracy_interval_95` (Wilson).

    Args:
        lengths: (texts,) length of each text, in tokens.
        labels: (texts,) true class of each text.
        predicted: (texts,) predicted class of each text.
        bins: how many groups at most.

    Raises:
        ShapeError: there is no text or no bin, or the three are not one integer a text.
    """
    given = (lengths, labels, predicted)
    if (
        bins < 1
        or len(lengths) == 0
        or any(values.shape != (len(lengths),) for values in given)
        or not all(np.issubdtype(values.dtype, np.integer) for values in given)
    ):
        shapes = ", ".join(f"{values.dtype} {values.shape}" for values in given)
        raise ShapeError(
            f"accuracy by length: lengths, labels and predictions {shapes}, in {bins} bins",
            remedy="pass one integer a text, for at least one text and one bin",
        )
    order = np.argsort(lengths, kind="stable")
    ascending, right = lengths[order], (labels == predicted)[order]
    # Where a bin of equal count would end, moved to where the next length begins.
    ends = (np.arange(1, bins + 1) * len(order)) // bins
    lasts = ascending[ends[ends > 0] - 1]
    edges = np.unique([0, *np.searchsorted(ascending, lasts, side="right")])
    return {
        "examples": len(order),
        "accuracy": float(right.mean()),
        "bins": [
            {
                "shortest": int(ascending[start]),
                "longest": int(ascending[stop - 1]),
                "count": stop - start,
                "accuracy": float(right[start:stop].mean()),
                "accuracy_interval_95": list(
                    wilson_interval(int(right[start:stop].sum()), stop - start)
                ),
            }
            for start, stop in itertools.pairwise(edges.tolist())
        ],
    }
