"""A classifier's answers: for every kind of input, alone or in company."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from qkv.data.dataset import ImageSplit, UInt8Array
from qkv.errors import ImageError, RecipeError
from qkv.predictions import FailedInput, Prediction
from qkv.vision.classifier import Preprocessing, VisionClassifier, predict_logits
from qkv.vision.vit import ViT, ViTSettings

NAMES = ("coat", "shoe", "bag")


def classifier(channels: int = 3) -> VisionClassifier:
    torch.manual_seed(0)
    settings = ViTSettings.parse(
        {
            "image_size": 8,
            "channels": channels,
            "num_classes": 3,
            "dim": 8,
            "depth": 1,
            "num_heads": 2,
            "head_dim": 4,
            "mlp_dim": 8,
            "dropout": 0.5,
            "embedding_std": 1.0,
        },
        where="test",
    )
    preprocessing = Preprocessing.parse({"image_size": 8, "channels": channels}, where="test")
    return VisionClassifier(ViT(settings), preprocessing, NAMES, torch.device("cpu"))


def pixels(seed: int, size: int = 8) -> UInt8Array:
    return np.random.default_rng(seed).integers(0, 256, (size, size, 3), dtype=np.uint8)


def png(array: UInt8Array) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "PNG")
    return buffer.getvalue()


def test_every_kind_of_input_gets_the_same_answer(tmp_path: Path) -> None:
    array = pixels(1, size=11)
    path = tmp_path / "shoe.png"
    path.write_bytes(png(array))
    kinds = [path, str(path), path.read_bytes(), Image.fromarray(array), array, Image.open(path)]
    answers = classifier().predict(kinds)
    assert [answer.input for answer in answers] == [
        str(path),
        str(path),
        "image 2",
        "image 3",
        "image 4",
        "image 5",
    ]
    assert len({tuple(answer.probabilities.values()) for answer in answers}) == 1


def test_an_answer_is_whole() -> None:
    (answer,) = classifier().predict([pixels(0)])
    assert list(answer.probabilities) == list(NAMES)
    assert sum(answer.probabilities.values()) == pytest.approx(1.0, abs=1e-6)
    assert answer.probability == max(answer.probabilities.values())
    assert answer.probabilities[answer.label] == answer.probability


def test_neighbours_in_the_batch_do_not_matter() -> None:
    model = classifier()
    arrays = [pixels(seed) for seed in range(7)]
    alone = np.concatenate([model.predict_proba([array]) for array in arrays])
    for batch_size in (2, 3, 7, 100):
        together = model.predict_proba(arrays, batch_size=batch_size)
        np.testing.assert_allclose(together, alone, atol=1e-6)
    assert alone.dtype == np.float32
    assert np.abs(alone - alone[0]).max() > 1e-3  # the inputs are told apart


def test_no_inputs() -> None:
    assert classifier().predict([]) == []
    assert classifier().predict_proba([]).shape == (0, 3)


def test_grey_models_read_colour_and_colour_models_grey() -> None:
    grey = np.full((8, 8), 120, np.uint8)
    colour = np.full((8, 8, 3), 120, np.uint8)
    for channels in (1, 3):
        one, other = classifier(channels).predict_proba([grey, colour])
        np.testing.assert_array_equal(one, other)


def test_a_bad_input_fails_alone(tmp_path: Path) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(png(pixels(0))[:60])
    inputs = [pixels(1), tmp_path / "none.png", pixels(2), broken, b"", np.zeros((8, 8, 3))]
    model = classifier()
    answers = list(model.predict_each(inputs, batch_size=4))  # type: ignore[arg-type]
    assert [type(answer) for answer in answers] == [
        Prediction,
        FailedInput,
        Prediction,
        FailedInput,
        FailedInput,
        FailedInput,
    ]
    good = model.predict([pixels(1), pixels(2)])
    assert [answers[0], answers[2]] == [
        Prediction("image 0", *list(vars(good[0]).values())[1:]),
        Prediction("image 2", *list(vars(good[1]).values())[1:]),
    ]
    failed = [answer for answer in answers if isinstance(answer, FailedInput)]
    assert failed[0].input == str(tmp_path / "none.png")
    assert "No such file" in failed[0].error
    assert "damaged or truncated" in failed[1].error
    assert "empty" in failed[2].error
    assert "array of float64 (8, 8, 3)" in failed[3].error


@pytest.mark.parametrize("count", [1, 4])
def test_predict_raises_for_a_bad_input(count: int) -> None:
    with pytest.raises(ImageError, match="image 0") as caught:
        classifier().predict([b"no image"] * count)
    assert caught.value.remedy


def test_a_damaged_picture_that_was_opened_but_not_read(tmp_path: Path) -> None:
    path = tmp_path / "cut.png"
    path.write_bytes(png(pixels(0, size=64))[:5000])
    with Image.open(path) as opened:
        (answer,) = classifier().predict_each([opened])
    assert isinstance(answer, FailedInput)
    assert "damaged or truncated" in answer.error


@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_opened_picture_is_turned_as_its_file_is(orientation: int, tmp_path: Path) -> None:
    path = tmp_path / "turned.png"
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(pixels(4)).save(path, exif=exif)
    with Image.open(path) as opened:
        one, other = classifier().predict_proba([path, opened])
    np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((8, 8, 4), np.uint8),
        np.zeros((3, 8, 8), np.uint8),
        np.zeros(8, np.uint8),
        np.zeros((0, 8), np.uint8),
        np.zeros((8, 8), np.float32),
    ],
    ids=lambda array: f"{array.dtype}{array.shape}",
)
def test_arrays_of_another_kind_are_refused(array: UInt8Array) -> None:
    (answer,) = classifier().predict_each([array])
    assert isinstance(answer, FailedInput)
    assert f"array of {array.dtype} {array.shape}" in answer.error


def test_inputs_are_read_batch_by_batch() -> None:
    asked = 0

    def endless() -> Iterator[UInt8Array]:
        nonlocal asked
        while True:
            asked += 1
            yield pixels(asked)

    answers = classifier().predict_each(endless(), batch_size=3)
    assert [next(answers).input for _ in range(4)] == [f"image {number}" for number in range(4)]
    assert asked == 6


def test_logits_of_a_split_in_its_order() -> None:
    model = classifier()
    store = np.stack([pixels(seed).transpose(2, 0, 1) for seed in range(7)])
    split = ImageSplit(store, np.array([6, 0, 3, 2, 5]), np.zeros(5, np.int64))
    logits = model.predict_logits(split, batch_size=2)
    assert logits.shape == (5, 3)
    by_file = model.predict_proba([pixels(seed) for seed in (6, 0, 3, 2, 5)])
    np.testing.assert_allclose(logits.softmax(1).numpy(), by_file, atol=1e-6)
    model.model.train()
    again = predict_logits(model.model, split, model.preprocessing, 5, torch.device("cpu"))
    torch.testing.assert_close(again, logits, rtol=1e-5, atol=1e-6)


def test_read_gives_what_the_model_sees() -> None:
    model = classifier()
    array = pixels(1, size=11)
    seen = model.read(array)
    assert (seen.dtype, seen.shape) == (np.uint8, (3, 8, 8))
    assert np.array_equal(seen, model.read(png(array)))
    assert np.array_equal(model.read(pixels(2)), pixels(2).transpose(2, 0, 1))
    assert classifier(1).read(array).shape == (1, 8, 8)


def test_read_names_what_it_cannot_read(tmp_path: Path) -> None:
    path = tmp_path / "none.png"
    with pytest.raises(ImageError, match="none.png"):
        classifier().read(path)
    with pytest.raises(ImageError, match="image 0"):
        classifier().read(b"nothing")
    with pytest.raises(ImageError, match="upload"):
        classifier().read(b"nothing", name="upload")


def test_logits_are_what_probabilities_are_of() -> None:
    model = classifier()
    model.temperature = 0.5
    arrays = [pixels(seed) for seed in range(3)]
    logits = model.logits(np.stack([model.read(array) for array in arrays]))
    assert (logits.shape, logits.dtype) == ((3, 3), torch.float32)
    np.testing.assert_allclose(logits.softmax(dim=1), model.predict_proba(arrays), atol=1e-6)
    with torch.no_grad():
        images = torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2) / 127.5 - 1
        torch.testing.assert_close(logits, model.model(images) / 0.5, rtol=1e-4, atol=1e-5)


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
