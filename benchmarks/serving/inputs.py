"""What is sent: PNG images of Fashion-MNIST, texts as long as reviews of IMDB, or made ones."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from benchmarks.imdb_sample import sampled_reviews
from qkv.data import fashion_mnist
from qkv.errors import DataError

SEED = 0
IMAGE_SIZE = 28
# The logarithm of a review's words in IMDB is about normal: median 174, a tenth above 450.
MEDIAN_WORDS, SPREAD_OF_LOG = 174, 0.7
WORDS = """
the a and of to is in it this that film movie story was as with for but on not you are his have be
one all at they who so like just about out if good great bad plot acting scene never character
director time really very well makes more some what when no even would can there
"""


@dataclass(frozen=True)
class Inputs:
    """Bodies of requests, all different.

    Attributes:
        content_type: of every body.
        bodies: one a request.
        source: what they are, for the report.
    """

    content_type: str
    bodies: tuple[bytes, ...]
    source: str


def image_inputs(count: int, *, made: bool = False) -> Inputs:
    """Images as PNG files.

    Args:
        count: how many.
        made: make them up even where Fashion-MNIST is at hand.
    """
    images, source = (None, "") if made else _fashion_mnist(count)
    if images is None:
        generator = np.random.default_rng(SEED)
        images = [_blob(generator) for _ in range(count)]
        source = f"made-up grey images of {IMAGE_SIZE}x{IMAGE_SIZE} pixels"
    return Inputs("image/png", tuple(_png(image) for image in images), f"{source}, as PNG")


def text_inputs(count: int, *, made: bool = False) -> Inputs:
    """Texts as JSON `{"inputs": "…"}`.

    Args:
        count: how many.
        made: make them up even where IMDB is at hand.
    """
    texts: Sequence[str] | None = None
    source = ""
    if not made:
        try:
            texts = sampled_reviews(count).texts
            source = "training reviews of IMDB, the first of a seeded permutation"
        except DataError:
            pass  # neither here nor to be fetched
    if texts is None:
        generator = np.random.default_rng(SEED)
        texts = [_sentence(generator, number) for number in range(count)]
        source = "made-up texts as long as reviews of IMDB"
    return Inputs("application/json", tuple(text_body(text) for text in texts), source)


def text_body(text: str) -> bytes:
    """The body that asks for one text."""
    return json.dumps({"inputs": text}).encode()


def _fashion_mnist(count: int) -> tuple[list[np.ndarray] | None, str]:
    try:
        test = fashion_mnist.load().test
    except DataError:  # neither here nor to be fetched
        return None, ""
    assert test is not None
    return list(test.take(np.arange(count))[:, 0]), "the first test images of Fashion-MNIST"


def _blob(generator: np.random.Generator) -> np.ndarray:
    """A smooth bright shape on black, about as hard to compress as a piece of clothing."""
    across = np.linspace(-1, 1, IMAGE_SIZE)
    x, y = np.meshgrid(across, across)
    height, width = generator.uniform(0.3, 1.0, 2)
    wave = np.sin(x * generator.uniform(2, 9) + generator.uniform(0, 6)) * np.cos(y * 5)
    inside = (x / width) ** 2 + (y / height) ** 2 < 1
    grain = generator.normal(0, 8, x.shape)
    shade = np.where(inside, 150 + 60 * wave + grain, 0)
    return np.clip(shade, 0, 255).astype(np.uint8)


def _png(image: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, format="PNG")
    return file.getvalue()


def _sentence(generator: np.random.Generator, number: int) -> str:
    length = int(generator.lognormal(np.log(MEDIAN_WORDS), SPREAD_OF_LOG))
    words = generator.choice(WORDS.split(), max(3, min(length, 1200)))
    return f"Number {number}: {' '.join(words)}."
