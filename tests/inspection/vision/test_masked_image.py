"""An image with patches painted over: which pixels, with which colour, and what the model says."""

from __future__ import annotations

import numpy as np
import pytest
from tiny_vits import GRID, KINDS, PATCH, SIZE, pixels, pixels_for, tiny_vit

from qkv.explanation import vision as module
from qkv.explanation.vision import MaskedImage, border_colour


def test_the_border_is_the_outermost_ring_and_nothing_else() -> None:
    image = np.full((2, 4, 5), 200, dtype=np.uint8)
    image[0, 0], image[0, -1], image[0, :, 0], image[0, :, -1] = 7, 7, 7, 7
    assert border_colour(image).tolist() == [7, 200]
    image[1, 1:3, 1:4] = 0
    assert border_colour(image).tolist() == [7, 200]


@pytest.mark.parametrize(("shape", "colour"), [((1, 1, 1), 3), ((1, 2, 2), 3), ((1, 1, 5), 3)])
def test_an_image_that_is_all_border(shape: tuple[int, int, int], colour: int) -> None:
    assert border_colour(np.full(shape, colour, dtype=np.uint8)).tolist() == [colour]


def test_it_is_the_median_not_the_mean() -> None:
    image = np.zeros((1, 4, 4), dtype=np.uint8)
    image[0, 0] = 255  # four of the twelve border pixels
    assert border_colour(image).tolist() == [0]


def test_a_removed_patch_shows_the_border_and_the_others_stay() -> None:
    image = pixels(3)
    masked = MaskedImage(tiny_vit(), image)
    keep = np.ones((2, 9), dtype=bool)
    keep[0, 5] = False  # second row, last column
    keep[1] = False
    changed, empty = masked.images(keep)
    removed = np.zeros((SIZE, SIZE), dtype=bool)
    removed[PATCH : 2 * PATCH, 2 * PATCH :] = True
    assert (changed[:, ~removed] == image[:, ~removed]).all()
    assert (changed[:, removed] == border_colour(image)[:, None]).all()
    assert (empty == border_colour(image)[:, None, None]).all()
    assert (empty == masked.empty).all()
    assert (masked.parts, masked.grid_size) == (GRID**2, GRID)


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_answers_are_those_of_the_painted_images(
    kind: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CHUNK", 4)
    classifier = tiny_vit(temperature=0.7, **kind)
    masked = MaskedImage(classifier, pixels_for(classifier))
    keep = np.random.default_rng(0).random((11, 9)) < 0.5
    keep[7] = keep[2]
    found = masked.probabilities(keep)
    assert found.dtype == np.float64
    painted = [image.transpose(1, 2, 0) for image in masked.images(keep)]
    expected = classifier.predict_proba([image.squeeze() for image in painted])
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert np.array_equal(found[7], found[2])
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-12)


def test_what_is_asked_twice_is_computed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    classifier = tiny_vit()
    masked = MaskedImage(classifier, pixels())
    computed = []
    logits = classifier.logits
    monkeypatch.setattr(classifier, "logits", lambda x: computed.append(len(x)) or logits(x))
    masked.probabilities(np.repeat(np.eye(9, dtype=bool), 3, axis=0))
    assert sum(computed) == 9
