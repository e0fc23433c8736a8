"""From an image to a sequence of tokens: patch stems and fixed positions."""

from __future__ import annotations

from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn


class LinearStem(nn.Linear):
    """Cut the image into patches, flatten each, and map it linearly to a token."""

    def __init__(self, channels: int, patch_size: int, dim: int) -> None:
        super().__init__(channels * patch_size**2, dim)
        self.patch_size = patch_size

    def forward(
        self, images: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch patches dim"]:
        """Tokens of the patches, row by row."""
        return super().forward(cut_patches(images, self.patch_size))


class ConvolutionalStem(nn.Sequential):
    """3×3 convolutions of stride 2 with GELU between, until one cell a patch remains.

    Neighbouring patches overlap in what they see, which suits small images and short training
    (Xiao et al. 2021, "Early convolutions help transformers see better").
    """

    def __init__(self, channels: int, patch_size: int, dim: int) -> None:
        halvings = patch_size.bit_length() - 1
        widths = [channels, *(max(min(8, dim), dim >> (halvings - 1 - i)) for i in range(halvings))]
        layers: list[nn.Module] = []
        for narrow, wide in pairwise(widths):
            layers += [nn.Conv2d(narrow, wide, 3, stride=2, padding=1), nn.GELU()]
        layers[-1:] = [] if layers else [nn.Conv2d(channels, dim, 1)]
        super().__init__(*layers)

    def forward(
        self, images: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch patches dim"]:
        """Tokens of the patches, row by row."""
        cells: Tensor = super().forward(images)  # type: ignore[no-untyped-call]
        return cells.flatten(2).transpose(1, 2)


def cut_patches(
    images: Float[Tensor, "batch channels height width"], patch_size: int
) -> Float[Tensor, "batch patches pixels"]:
    """Square patches row by row, each flattened as (row, column, channel)."""
    batch, channels, height, width = images.shape
    rows, columns = height // patch_size, width // patch_size
    cut = images.reshape(batch, channels, rows, patch_size, columns, patch_size)
    return cut.permute(0, 2, 4, 3, 5, 1).reshape(batch, rows * columns, -1)


def sine_cosine_positions(grid_size: int, dim: int) -> Float[Tensor, "patches dim"]:
    """Fixed embeddings of a patch's row and column, a half of the width each.

    For frequency ω_k = 10000^(−4k/dim), k < dim/4: sin(ω_k·column), cos(ω_k·column),
    sin(ω_k·row), cos(ω_k·row): the scheme of Vaswani et al. 2017, section 3.5, in two dimensions.
    """
    quarter = dim // 4
    frequencies = 10000.0 ** (-torch.arange(quarter) / quarter)
    angles = torch.arange(grid_size)[:, None] * frequencies
    waves = torch.cat([angles.sin(), angles.cos()], dim=1)
    columns = waves[None].expand(grid_size, -1, -1)
    rows = waves[:, None].expand(-1, grid_size, -1)
    return torch.cat([columns, rows], dim=-1).reshape(grid_size**2, dim)
