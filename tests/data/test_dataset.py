"""Carved splits: whole, seeded, stratified, and never with equal files on two sides."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qkv.data.dataset import ImageSplit, SplitName, carve_splits
from qkv.errors import DataError

BOTH: dict[SplitName, float] = {"test": 0.1, "validation": 0.2}


def pool(labels: list[int]) -> ImageSplit:
    rows = np.arange(len(labels), dtype=np.int64)
    return ImageSplit(np.zeros((len(labels), 1, 1, 1), np.uint8), rows, np.array(labels))


def carve(
    labels: list[int], contents: list[str] | None = None, seed: int = 0
) -> dict[SplitName, list[int]]:
    names = [f"class{number}" for number in range(max(labels) + 1)]
    keys = contents or [str(number) for number in range(len(labels))]
    result = carve_splits(pool(labels), keys, BOTH, class_names=names, seed=seed)
    return {name: split.rows.tolist() for name, split in result.items()}


def test_every_class_gives_its_share() -> None:
    labels = [0] * 50 + [1] * 20 + [2] * 3
    result = carve(labels)
    counts = {
        split: np.bincount(np.array(labels)[indices]).tolist() for split, indices in result.items()
    }
    assert counts == {"train": [35, 14, 1], "test": [5, 2, 1], "validation": [10, 4, 1]}


def test_the_seed_alone_rules() -> None:
    labels = [0, 1] * 30
    assert carve(labels, seed=5) == carve(labels, seed=5)
    assert carve(labels, seed=5) != carve(labels, seed=6)
    renamed = [f"other {number}" for number in range(60, 0, -1)]
    assert carve(labels, renamed, seed=5) == carve(labels, seed=5)


def test_without_fractions_all_is_train() -> None:
    result = carve_splits(pool([0, 0, 1, 1]), list("abcd"), {}, class_names="ab", seed=0)
    assert {name: split.rows.tolist() for name, split in result.items()} == {"train": [0, 1, 2, 3]}


@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 12)), max_size=60), st.integers(0, 2**32)
)
def test_splits_are_whole_disjoint_and_keep_copies_together(
    drawn: list[tuple[int, int]], seed: int
) -> None:
    # Three distinct images a class, then anything: copies within and across classes.
    pairs = [(label, 100 * label + 50 + n) for label in range(3) for n in range(3)] + drawn
    labels, contents = [label for label, _ in pairs], [str(content) for _, content in pairs]
    result = carve(labels, contents, seed)
    assert sorted(itertools.chain(*result.values())) == list(range(len(pairs)))
    side = {index: split for split, indices in result.items() for index in indices}
    sides: dict[str, set[str]] = {}
    for index, content in enumerate(contents):
        sides.setdefault(content, set()).add(side[index])
    assert all(len(found) == 1 for found in sides.values())
    first_of = {contents.index(content) for content in contents}
    for indices in result.values():
        assert indices == sorted(indices)
        assert {labels[index] for index in indices if index in first_of} == {0, 1, 2}


@pytest.mark.parametrize("fractions", [{"test": 0.9, "validation": 0.09}, {"test": 0.01}])
def test_extreme_fractions_leave_every_split_something(fractions: dict[SplitName, float]) -> None:
    images = pool([0] * 3 + [1] * 3)
    result = carve_splits(images, list("abcdef"), fractions, class_names="ab", seed=0)
    for split in result.values():
        assert set(split.labels) == {0, 1}


def test_too_few_distinct_images_are_refused() -> None:
    with pytest.raises(
        DataError,
        match=r"class 'class1' has 2 distinct images, needs at least 3 "
        r"\(one each for train, test, validation\); add distinct images to it or remove it",
    ):
        carve([0, 0, 0, 1, 1, 1], ["a", "b", "c", "d", "e", "e"])
    with pytest.raises(DataError, match=r"'class1' has 1 distinct image, .*and 1 more classes"):
        carve([0, 0, 0, 1, 2], ["a", "b", "c", "d", "e"])
