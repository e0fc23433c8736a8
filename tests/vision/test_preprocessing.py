"""Pixels to input, by the formula of the exercise."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from qkv.errors import RecipeError
from qkv.vision.classifier import Preprocessing


def test_every_value_by_the_formula() -> None:
    pixels = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
    normalised = Preprocessing(image_size=16, channels=1).normalise(pixels)
    assert normalised.dtype == torch.float32
    expected = [(value / 255 - 0.5) / 0.5 for value in range(256)]
    torch.testing.assert_close(normalised.flatten(), torch.tensor(expected), rtol=0, atol=2e-7)
    assert normalised.min() == -1.0
    assert pixels.flatten().tolist() == list(range(256))


def test_other_means_and_deviations() -> None:
    pixels = torch.tensor([0, 51, 255], dtype=torch.uint8).view(1, 3, 1, 1)
    chosen = Preprocessing(image_size=1, channels=3, mean=0.2, std=0.4)
    assert chosen.normalise(pixels).flatten().tolist() == pytest.approx([-0.5, 0.0, 2.0], abs=1e-6)


def test_strides_do_not_matter() -> None:
    pixels = torch.randint(256, (2, 5, 7, 3), dtype=torch.uint8).permute(0, 3, 1, 2)
    chosen = Preprocessing(image_size=5, channels=3)
    assert torch.equal(chosen.normalise(pixels), chosen.normalise(pixels.contiguous()))


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"std": 0.0}, "std"),
        ({"channels": 4}, "channels"),
        ({"image_size": 0}, "image_size"),
        ({"mean": 2.0}, "mean"),
        ({"median": 0.5}, "median"),
    ],
)
def test_wrong_settings_are_refused(changes: dict[str, Any], key: str) -> None:
    with pytest.raises(RecipeError, match=key):
        Preprocessing.parse({"image_size": 8, "channels": 1, **changes}, where="config.json")
