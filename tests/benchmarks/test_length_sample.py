import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.length_sample import batches_at_quantiles


def test_batches_are_the_middle_ones_of_equal_shares():
    # 14 full batches of two, lengths falling, so that the sorting shows.
    lengths = np.arange(29)[::-1].copy()
    drawn = batches_at_quantiles(lengths, 2, 3)
    assert [sorted(lengths[batch]) for batch in drawn] == [[4, 5], [14, 15], [22, 23]]


@given(
    lengths=st.lists(st.integers(2, 512), min_size=12, max_size=80),
    batch_size=st.integers(1, 4),
    count=st.integers(1, 3),
)
def test_drawn_batches_are_disjoint_and_alike_in_length(lengths, batch_size, count):
    lengths = np.array(lengths)
    drawn = batches_at_quantiles(lengths, batch_size, count)
    together = np.concatenate(drawn)
    assert [len(batch) for batch in drawn] == [batch_size] * count
    assert len(set(together.tolist())) == len(together)
    assert (np.diff(lengths[together]) >= 0).all()
    for batch in drawn:
        low, high = lengths[batch].min(), lengths[batch].max()
        # Texts strictly in between would have been in the batch instead.
        between = np.flatnonzero((lengths > low) & (lengths < high))
        assert set(between.tolist()) <= set(batch.tolist())


def test_tokens_of_the_sample_stand_for_those_of_the_whole():
    lengths = np.minimum(np.random.default_rng(0).lognormal(5.4, 0.6, 17_500), 512).astype(np.int64)
    drawn = np.concatenate(batches_at_quantiles(lengths, 128, 5))
    assert lengths[drawn].mean() == pytest.approx(lengths.mean(), rel=0.05)


def test_too_few_texts_are_refused():
    with pytest.raises(ValueError, match="5 texts make 2 batches of 2, not 3"):
        batches_at_quantiles(np.arange(5), 2, 3)
