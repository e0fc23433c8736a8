"""A tiny vision run and a tiny text run, finished, and both behind a server in this process."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

import qkv
from qkv.training.recipe import load_recipe
from small_reviews import write_reviews
from tiny_bert import tiny_bert

if TYPE_CHECKING:
    from fastapi import FastAPI
    from starlette.testclient import TestClient

    from qkv.serving.models import Models

ADDRESS = "http://127.0.0.1:8000"
BANDS = ("top", "middle", "low end")
IMAGE_SIZE = 16
VISION = (
    "model.dim=16",
    "model.depth=2",
    "model.num_heads=2",
    "model.head_dim=8",
    "model.mlp_dim=16",
    "model.stem=linear",
    f"data.image_size={IMAGE_SIZE}",
    "training.batch_size=16",
    "training.epochs=12",
    "training.learning_rate=0.01",
    "training.device=cpu",
)


def band(label: int, seed: int, *, size: int = IMAGE_SIZE) -> np.ndarray:
    """Grey noise, uint8 (size, size), with a bright band whose height is the class."""
    generator = np.random.default_rng([label, seed])
    pixels = generator.integers(0, 90, (size, size), dtype=np.uint8)
    start = (1 + 5 * label) * size // IMAGE_SIZE
    pixels[start : start + 3 * size // IMAGE_SIZE] = 250
    return pixels


def as_png(pixels: np.ndarray) -> bytes:
    """The bytes of a PNG file."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "png")
    return file.getvalue()


@pytest.fixture(scope="session")
def picture() -> Callable[..., bytes]:
    """`picture(label, seed)`: a PNG like those that the vision run was trained on."""
    return lambda label, seed=0, **size: as_png(band(label, seed, **size))


@contextmanager
def undrawn() -> Iterator[None]:
    """Figures take longer than the training, and no answer of a server shows them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("qkv.training.train.draw_figures", lambda _: [])
        yield


@pytest.fixture(scope="session")
def vision_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run on 90 grey images of three classes; shared, so no test may change it."""
    images = tmp_path_factory.mktemp("images") / "bands"
    for label, name in enumerate(BANDS):
        (images / name).mkdir(parents=True)
        for seed in range(30):
            (images / name / f"{seed:02}.png").write_bytes(as_png(band(label, seed)))
    recipe = load_recipe("vision", None, list(VISION))
    with undrawn():
        return qkv.train(recipe, out=tmp_path_factory.mktemp("vision") / "Bands", data=images).path


@pytest.fixture(scope="session")
def text_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run on 60 short texts of three classes; shared, so no test may change it."""
    settings = [
        f"encoder.name={tiny_bert(tmp_path_factory.mktemp('encoders') / 'bert')}",
        "encoder.layers=2",
        "training.epochs=2",
        "training.batch_tokens=300",
        "training.learning_rate=0.01",
        "training.device=cpu",
    ]
    table = write_reviews(tmp_path_factory.mktemp("tables") / "reviews.csv")
    recipe = load_recipe("text", None, settings)
    with undrawn():
        return qkv.train(recipe, out=tmp_path_factory.mktemp("text") / "reviews", data=table).path


@pytest.fixture(scope="session")
def models(vision_run: Path, text_run: Path) -> Models:
    """Both runs, as `bands` and `reviews`."""
    from qkv.serving.models import open_models

    return open_models([vision_run, text_run], device="cpu")


@pytest.fixture
def app(models: Models) -> FastAPI:
    """A server of both runs, at its default settings."""
    from qkv.serving.app import create_app
    from qkv.serving.settings import ServingSettings

    return create_app(models, ServingSettings())


@pytest.fixture
def client(app: FastAPI) -> Iterator[TestClient]:
    """Asks that server, which has started."""
    from starlette.testclient import TestClient

    with TestClient(app, base_url=ADDRESS) as client:
        yield client
