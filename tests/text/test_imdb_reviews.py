"""IMDB's reviews: breaks, one order for all sources, counts."""

from __future__ import annotations

import doctest
import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imdb_forms import PER_CLASS, Pairs, facts_of, made_up_reviews
from qkv.errors import DataError
from qkv.text.imdb import IMDB, Reviews, lines_for_breaks, reviews
from qkv.text.imdb.reviews import digest, gather


def gathered(pairs: Pairs) -> Reviews:
    return gather(pairs, facts_of(), where="here", remedy="mend it")


# --- breaks ---------------------------------------------------------------------------------


@given(st.lists(st.sampled_from(["<br />", "<br/>", "<br>", "<", ">", "br /", "\n", " ", "é"])))
def test_breaks_are_newlines_and_nothing_else_changes(parts: list[str]) -> None:
    text = "".join(parts)
    assert lines_for_breaks(text) == text.replace("<br />", "\n").replace("<br/>", "\n")


@pytest.mark.parametrize("text", ["<br>", "<BR />", "<br  />", "< br />", "</br>", "a  b ", "\r\n"])
def test_what_is_no_break_stays(text: str) -> None:
    assert lines_for_breaks(text) == text


def test_the_example_is_true() -> None:
    assert doctest.testmod(reviews).failed == 0


# --- order and hashes -----------------------------------------------------------------------


@given(st.randoms(use_true_random=False))
def test_the_order_does_not_depend_on_the_source(random: object) -> None:
    pairs = made_up_reviews()
    for rows in pairs.values():
        random.shuffle(rows)  # type: ignore[attr-defined]
    assert gathered(pairs) == gathered(made_up_reviews())


def test_the_order_is_that_of_hashes() -> None:
    for split, rows in gathered(made_up_reviews()).pairs.items():
        assert sorted(rows) == sorted(made_up_reviews()[split])
        hashes = [hashlib.sha256(text.encode()).digest() for text, _ in rows]
        assert hashes == sorted(hashes)


def test_equal_texts_keep_their_labels() -> None:
    pairs = made_up_reviews()
    pairs["train"][0] = ("same", 0)
    pairs["train"][-1] = ("same", 1)
    found = gathered({split: rows[::-1] for split, rows in pairs.items()})
    assert [label for text, label in found.pairs["train"] if text == "same"] == [0, 1]


def test_the_hash_tells_texts_labels_and_order() -> None:
    same = [("a", 0), ("b", 1)]
    others = [[("a", 1), ("b", 0)], [("b", 1), ("a", 0)], [("ab", 0), ("", 1)], [("a", 0)]]
    assert len({digest(pairs) for pairs in [same, *others]}) == 5
    both = b"".join(hashlib.sha256(text.encode()).digest() + bytes([n]) for text, n in same)
    assert digest(same) == hashlib.sha256(both).hexdigest()


def test_a_split_is_ready_for_training() -> None:
    split = gathered(made_up_reviews()).split("test")
    assert len(split) == 2 * PER_CLASS
    assert split.labels.dtype == np.int64
    assert split.labels.sum() == PER_CLASS
    for text, label in zip(split.texts, split.labels, strict=True):
        assert ("lovely" in text) == label
        assert "<br />" not in text
        assert "<br/>" not in text
    assert any("two\n\nbreaks and \n one more" in text for text in split.texts)
    assert any("\u2028separators\x85 and\r\nnewlines\n\n" in text for text in split.texts)


# --- counts ---------------------------------------------------------------------------------


def test_a_missing_review() -> None:
    pairs = made_up_reviews()
    pairs["test"].pop()
    with pytest.raises(DataError, match="here: test of IMDB has 6 neg and 5 pos .*not 6 of each"):
        gathered(pairs)


def test_a_review_with_the_wrong_label() -> None:
    pairs = made_up_reviews()
    pairs["train"][0] = (pairs["train"][0][0], 1)
    with pytest.raises(DataError, match="train of IMDB has 5 neg and 7 pos"):
        gathered(pairs)


@pytest.mark.parametrize("label", [-1, 2])
def test_a_label_that_is_none(label: int) -> None:
    pairs = made_up_reviews()
    pairs["train"][3] = ("unsupervised", label)
    with pytest.raises(DataError, match=f"train has label {label}, not 0 .neg. or 1 .pos."):
        gathered(pairs)


def test_a_missing_split() -> None:
    with pytest.raises(DataError, match="test of IMDB has 0 neg and 0 pos"):
        gathered({"train": made_up_reviews()["train"]})


def test_the_published_counts() -> None:
    assert IMDB.reviews_per_class * 2 == 25_000
    assert IMDB.archive.size == 84_125_825
    assert set(IMDB.sha256) == {"train", "test"}
