"""Stems and fixed positions, against loops over patches."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from qkv.vision.vit import ConvolutionalStem, LinearStem, cut_patches, sine_cosine_positions


@given(
    st.integers(1, 2),
    st.sampled_from([1, 3]),
    st.integers(1, 3),
    st.integers(1, 3),
    st.integers(1, 4),
)
@settings(max_examples=20)
def test_patches_are_cut_row_by_row_as_row_column_channel(
    batch: int, channels: int, rows: int, columns: int, patch: int
) -> None:
    shape = (batch, channels, rows * patch, columns * patch)
    images = torch.arange(math.prod(shape), dtype=torch.float32).view(shape)
    cut = cut_patches(images, patch)
    assert cut.shape == (batch, rows * columns, channels * patch**2)
    for row in range(rows):
        for column in range(columns):
            top, left = row * patch, column * patch
            square = images[:, :, top : top + patch, left : left + patch]
            expected = square.permute(0, 2, 3, 1).flatten(1)
            assert torch.equal(cut[:, row * columns + column], expected)


def test_a_linear_stem_maps_each_patch_alone() -> None:
    stem = LinearStem(3, 2, 5)
    images = torch.randn(2, 3, 6, 6)
    tokens = stem(images)
    assert tokens.shape == (2, 9, 5)
    changed = images.clone()
    changed[:, :, 2:4, 4:6] += 1.0  # patch 5: row 1, column 2
    moved = (stem(changed) - tokens).abs().amax(dim=(0, 2)) > 1e-6
    assert moved.tolist() == [index == 5 for index in range(9)]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("patch", [1, 2, 4, 8])
@pytest.mark.parametrize("dim", [4, 6, 24])
def test_a_convolutional_stem_gives_one_token_a_patch(channels: int, patch: int, dim: int) -> None:
    stem = ConvolutionalStem(channels, patch, dim)
    images = torch.randn(2, channels, 3 * patch, 3 * patch)
    assert stem(images).shape == (2, 9, dim)


def test_a_convolutional_stem_keeps_the_order_of_patches() -> None:
    torch.manual_seed(0)
    stem = ConvolutionalStem(1, 4, 8)
    images = torch.zeros(1, 1, 20, 20)
    lit = images.clone()
    lit[:, :, 5:7, 13:15] = 1.0  # inside row 1, column 3 of a 5 × 5 grid
    change = (stem(lit) - stem(images)).abs().sum(-1)[0]
    assert change.argmax() == 8
    assert change[12:].max() > 0  # neighbours overlap
    assert change[20:].max() == 0  # and the far row does not


def test_sine_cosine_positions_by_the_formula() -> None:
    dim, grid = 12, 3
    table = sine_cosine_positions(grid, dim)
    assert table.shape == (9, 12)
    assert table.dtype == torch.float32
    for row in range(grid):
        for column in range(grid):
            expected = [
                wave(place * 10000 ** (-4 * k / dim))
                for place in (column, row)
                for wave in (math.sin, math.cos)
                for k in range(dim // 4)
            ]
            assert table[row * grid + column].tolist() == pytest.approx(expected, abs=1e-6)


def test_sine_cosine_positions_tell_all_places_apart() -> None:
    table = sine_cosine_positions(14, 16)
    distances = torch.cdist(table, table) + 10 * torch.eye(len(table))
    assert distances.min() > 0.1
