"""None"""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_vits import GRID, KINDS, NAMES, PATCH, SIZE, pixels, pixels_for, tiny_vit

from qkv.errors import DataError, ImageError, RecipeError
from qkv.explanation import vision as module
from qkv.explanation.faithfulness import measure_faithfulness
from qkv.explanation.perturbation import occlusion, shapley_values
from qkv.explanation.vision import (
    DEFAULT_VISION_METHOD,
    VISION_METHODS,
    MaskedImage,
    border_colour,
    explain_image,
    integrated_gradients,
)
from tolerance import atol

# Sums of up to about a hundred products, added in another order.
ROUNDING = atol(torch.float32, 100)


def picture(channels: int = 3) -> np.ndarray:
    return pixels(1, channels).transpose(1, 2, 0).squeeze()


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("method", VISION_METHODS)
def test_every_method_explains_every_kind_of_model(method: str, kind: dict[str, Any]) -> None:
    classifier = tiny_vit(temperature=1.3, **kind)
    given = picture(classifier.preprocessing.channels)
    found = explain_image(classifier, given, method=method)
    prediction = classifier.predict([given])[0]
    assert (found.method, found.label, found.input) == (method, prediction.label, prediction.input)
    assert found.probability == pytest.approx(prediction.probability, abs=ROUNDING)
    assert found.probabilities == pytest.approx(prediction.probabilities, abs=ROUNDING)
    assert found.contributions.dtype == np.float64
    assert found.contributions.shape == (9,)
    assert (found.heat.dtype, found.heat.shape) == (np.float32, (12, 12))
    assert np.array_equal(found.pixels, given)
    assert found.grid_size == 3
    assert found.signed or found.contributions.min() >= 0
    assert found.faithfulness.deletion[0] == pytest.approx(found.probability)
    assert found.seconds > 0
    document = json.loads(json.dumps(found.document(), allow_nan=False))
    assert document["task"] == "vision"
    assert np.asarray(document["heat"]).shape == (12, 12)


@pytest.mark.parametrize("method", sorted(set(VISION_METHODS) - {"integrated-gradients"}))
def test_heat_of_a_patch_is_its_contribution(method: str) -> None:
    found = explain_image(tiny_vit(), picture(), method=method)
    for patch, value in enumerate(found.contributions):
        row, column = divmod(patch, 3)
        heat = found.heat[4 * row : 4 * row + 4, 4 * column : 4 * column + 4]
        np.testing.assert_allclose(heat, value, rtol=1e-6)


def test_integrated_gradients_tell_pixels_apart_and_patches_are_their_sums() -> None:
    classifier = tiny_vit()
    found = explain_image(classifier, picture(), method="integrated-gradients", label="bag")
    masked = MaskedImage(classifier, pixels())
    values = integrated_gradients(masked, 2).heat
    assert values is not None
    np.testing.assert_allclose(found.heat, values, atol=ROUNDING)
    assert found.contributions[5] == pytest.approx(values[4:8, 8:].sum(), abs=ROUNDING)
    assert found.contributions.sum() == pytest.approx(values.sum(), abs=ROUNDING)
    assert found.unit == "log odds"


@pytest.mark.parametrize("method", sorted(VISION_METHODS))
def test_the_document_says_by_how_much_a_path_is_incomplete(method: str) -> None:
    classifier = tiny_vit()
    document = explain_image(classifier, picture(), method=method, label="bag").document()
    if method == "integrated-gradients":
        masked = MaskedImage(classifier, pixels())
        ends = masked.probabilities(np.array([[True] * 9, [False] * 9]))[:, 2]
        odds = np.log(ends / (1 - ends))
        assert document["completeness_gap"] == pytest.approx(
            sum(document["contributions"]) - (odds[0] - odds[1]), abs=1e-5
        )
    else:
        assert document["completeness_gap"] is None
    assert document["coarsened"] is None


@pytest.mark.parametrize("label", NAMES)
def test_the_class_asked_for_is_the_one_explained(label: str) -> None:
    classifier = tiny_vit()
    found = explain_image(classifier, picture(), method="occlusion", label=label)
    masked = MaskedImage(classifier, pixels())
    number = NAMES.index(label)
    np.testing.assert_allclose(found.contributions, occlusion(masked, number))
    assert found.label == label
    assert found.probability == found.probabilities[label]
    again = measure_faithfulness(masked, found.contributions, number)
    assert again == found.faithfulness


def test_the_seed_rules_what_is_drawn() -> None:
    classifier = tiny_vit()
    one, same, other = (
        explain_image(classifier, picture(), method="shapley", seed=seed) for seed in (1, 1, 2)
    )
    assert np.array_equal(one.contributions, same.contributions)
    assert one.faithfulness == same.faithfulness
    assert not np.array_equal(one.contributions, other.contributions)
    assert one.faithfulness.random_deletion != other.faithfulness.random_deletion
    masked = MaskedImage(classifier, pixels())
    expected = shapley_values(masked, NAMES.index(one.label), unit="log odds", seed=1)
    np.testing.assert_array_equal(one.contributions, expected)


def test_every_kind_of_input_is_explained_alike(tmp_path: Path) -> None:
    array = picture()
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "PNG")
    path = tmp_path / "shoe.png"
    path.write_bytes(buffer.getvalue())
    classifier = tiny_vit()
    kinds = [path, str(path), buffer.getvalue(), Image.fromarray(array), array]
    found = [explain_image(classifier, kind, method="occlusion") for kind in kinds]
    assert [one.input for one in found] == [str(path), str(path), *["image 0"] * 3]
    for one in found:
        np.testing.assert_array_equal(one.contributions, found[0].contributions)


def test_the_default_method_is_one_of_them_and_used() -> None:
    assert explain_image(tiny_vit(), picture()).method == DEFAULT_VISION_METHOD


def test_wrong_names_are_told_with_the_nearest() -> None:
    with pytest.raises(RecipeError, match="'ocllusion'; did you mean 'occlusion'"):
        explain_image(tiny_vit(), picture(), method="ocllusion")
    with pytest.raises(DataError, match="no class 'shoes'; did you mean 'shoe'"):
        explain_image(tiny_vit(), picture(), label="shoes")


def test_an_image_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"nothing\.png"):
        explain_image(tiny_vit(), tmp_path / "nothing.png")
    with pytest.raises(ImageError, match="image 0 is an array of float64"):
        explain_image(tiny_vit(), np.zeros((4, 4)))  # type: ignore[arg-type]


def test_a_grey_model_shows_a_grey_image() -> None:
    classifier = tiny_vit(channels=1)
    found = explain_image(classifier, picture(), method="attention")
    assert found.pixels.shape == (12, 12)
    assert np.array_equal(found.pixels, classifier.read(picture())[0])
    assert pixels_for(classifier).shape == (1, 12, 12)


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
    np.testing.assert_allclose(found, expected, atol=ROUNDING)
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
