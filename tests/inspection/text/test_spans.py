"""Spans part a row of parts, and share out what they are given."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from qkv.explanation.faithfulness import BoolArray, FloatArray
from qkv.explanation.perturbation import occlusion
from qkv.explanation.text_masking import MaskedSpans, equal_spans

WEIGHTS = np.array([0.1, 0.05, 0.2, 0.0, 0.15])


class Additive:
    """Class 1 has the weights of the parts that are there."""

    parts = len(WEIGHTS)

    def probabilities(self, keep: BoolArray) -> FloatArray:
        value = keep @ WEIGHTS
        return np.stack([1 - value, value], axis=1)


@given(parts=st.integers(1, 300), most=st.integers(0, 80))
def test_spans_are_a_partition_into_like_lengths(parts: int, most: int) -> None:
    spans = equal_spans(parts, most)
    assert 1 <= len(spans) == min(parts, max(most, 1))
    assert spans.lengths.sum() == parts
    assert spans.lengths.max() - spans.lengths.min() <= 1
    assert (np.diff(spans.of_parts) >= 0).all()
    np.testing.assert_array_equal(np.bincount(spans.of_parts), spans.lengths)
    missing = ~spans.all_but_one()
    assert missing.shape == (len(spans), parts)
    assert (missing.sum(axis=0) == 1).all()


@given(parts=st.integers(1, 50), most=st.integers(1, 60))
def test_shares_of_a_span_are_equal_and_complete(parts: int, most: int) -> None:
    spans = equal_spans(parts, most)
    values = np.random.default_rng(parts).standard_normal(len(spans))
    shares = spans.shared(values)
    np.testing.assert_allclose(np.bincount(spans.of_parts, weights=shares), values)
    for span in range(len(spans)):
        assert len(np.unique(shares[spans.of_parts == span])) == 1


def test_a_span_is_taken_away_as_a_whole() -> None:
    spans = equal_spans(5, 2)
    lost = occlusion(MaskedSpans(Additive(), spans), 1)
    np.testing.assert_allclose(lost, [WEIGHTS[spans.of_parts == span].sum() for span in (0, 1)])
    alone = equal_spans(5, 9)
    lost = occlusion(MaskedSpans(Additive(), alone), 1)
    np.testing.assert_allclose(alone.shared(lost), WEIGHTS, atol=1e-12)
