"""Batch augmentation: what may change, how far, and that the seed rules it."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from qkv.errors import RecipeError
from qkv.vision.augment import AugmentSettings, augment, random_erase, random_flip, random_shift


def numbered(batch: int, channels: int, height: int, width: int) -> Tensor:
    """Every pixel of an image another value, none of them 0; up to 255 pixels an image."""
    count = channels * height * width
    assert count <= 255
    image = torch.arange(1, count + 1, dtype=torch.uint8).view(1, channels, height, width)
    return image.expand(batch, -1, -1, -1).contiguous()


shapes = st.tuples(st.integers(1, 6), st.sampled_from([1, 3]), st.integers(1, 9), st.integers(1, 9))
seeds = st.integers(0, 2**32 - 1)


@given(shapes, seeds)
@settings(max_examples=25)
def test_a_flip_mirrors_whole_images_or_leaves_them(
    shape: tuple[int, int, int, int], seed: int
) -> None:
    images = numbered(*shape)
    torch.manual_seed(seed)
    for before, after in zip(images, random_flip(images), strict=True):
        assert torch.equal(after, before) or torch.equal(after, before.flip(-1))


def test_half_of_the_images_are_flipped() -> None:
    torch.manual_seed(0)
    images = numbered(1000, 1, 3, 3)
    changed = (random_flip(images) != images).flatten(1).any(1)
    assert 450 < changed.sum() < 550


def places(before: Tensor, after: Tensor, pixels: int) -> set[tuple[int, int]]:
    """Every (row, column) offset at which padding and cropping `before` gives `after`."""
    height, width = before.shape[1:]
    padded = torch.nn.functional.pad(before, (pixels,) * 4)
    return {
        (top, left)
        for top in range(2 * pixels + 1)
        for left in range(2 * pixels + 1)
        if torch.equal(padded[:, top : top + height, left : left + width], after)
    }


@given(shapes, st.integers(1, 4), seeds)
@settings(max_examples=25)
def test_a_shift_is_padding_and_cropping(
    shape: tuple[int, int, int, int], pixels: int, seed: int
) -> None:
    images = numbered(*shape)
    torch.manual_seed(seed)
    shifted = random_shift(images, pixels)
    assert shifted.shape == images.shape
    assert shifted.dtype == torch.uint8
    for before, after in zip(images, shifted, strict=True):
        assert places(before, after, pixels)


def test_every_shift_occurs_as_often_as_the_others() -> None:
    torch.manual_seed(0)
    images = numbered(900, 1, 5, 7)
    seen: dict[tuple[int, int], int] = {}
    for before, after in zip(images, random_shift(images, 1), strict=True):
        (place,) = places(before, after, 1)
        seen[place] = seen.get(place, 0) + 1
    assert len(seen) == 9
    assert all(60 < count < 140 for count in seen.values())


@given(shapes, st.floats(0.01, 1.0), seeds)
@settings(max_examples=25)
def test_erasing_blackens_one_rectangle_of_bounded_sides(
    shape: tuple[int, int, int, int], fraction: float, seed: int
) -> None:
    images = numbered(*shape)
    torch.manual_seed(seed)
    erased = random_erase(images, 1.0, fraction)
    for before, after in zip(images, erased, strict=True):
        black = after == 0
        assert torch.equal(after[~black], before[~black])
        assert torch.equal(black.all(0), black.any(0))  # the same place in every channel
        rows, columns = black[0].any(1), black[0].any(0)
        assert torch.equal(black[0], rows[:, None] & columns[None, :])
        for side, length in ((rows, shape[2]), (columns, shape[3])):
            run = torch.nonzero(side)[:, 0]
            assert 1 <= len(run) <= max(1, int(length * fraction))
            assert run[-1] - run[0] + 1 == len(run)


def test_erasing_reaches_every_pixel_and_keeps_to_its_probability() -> None:
    torch.manual_seed(0)
    images = numbered(2000, 1, 8, 8)
    black = (random_erase(images, 0.25, 0.5) == 0)[:, 0]
    assert 400 < black.flatten(1).any(1).sum() < 600
    assert black.any(0).all()


@given(st.booleans(), st.integers(0, 3), st.sampled_from([0.0, 0.5, 1.0]), seeds)
@settings(max_examples=25)
def test_the_seed_rules_and_the_originals_stay(
    flip: bool, shift: int, erase: float, seed: int
) -> None:
    chosen = AugmentSettings(horizontal_flip=flip, shift_pixels=shift, erase_probability=erase)
    images = numbered(5, 3, 6, 8)
    kept = images.clone()
    torch.manual_seed(seed)
    first = augment(images, chosen)
    torch.manual_seed(seed)
    assert torch.equal(augment(images, chosen), first)
    assert torch.equal(images, kept)
    for before, after in zip(images, first, strict=True):
        assert set(after.unique().tolist()) <= {0, *before.unique().tolist()}


def test_without_settings_nothing_is_drawn() -> None:
    images = numbered(4, 1, 5, 5)
    before = torch.get_rng_state()
    assert torch.equal(augment(images, AugmentSettings()), images)
    assert torch.equal(torch.get_rng_state(), before)


def test_images_of_a_batch_draw_for_themselves() -> None:
    torch.manual_seed(0)
    chosen = AugmentSettings(shift_pixels=2, erase_probability=1.0)
    changed = augment(numbered(64, 1, 9, 9), chosen)
    assert len({tuple(image.flatten().tolist()) for image in changed}) > 40


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("shift_pixels", -1),
        ("shift_pixels", 257),
        ("erase_probability", 1.5),
        ("erase_max_fraction", 0.0),
        ("erase_max_fraction", float("inf")),
    ],
)
def test_wrong_settings_are_refused(key: str, value: float) -> None:
    with pytest.raises(RecipeError, match=key):
        AugmentSettings.parse({key: value}, where="augment")
