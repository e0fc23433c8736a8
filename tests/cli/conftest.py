"""Small images and texts, a run trained on each, and a way to call `qkv`."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from qkv.cli import main
from small_reviews import CLASSES, write_reviews
from tiny_bert import tiny_bert

FORMATS = ("png", "jpg", "webp", "gif", "bmp", "tiff")
COLOURS = {"[red]": (200, 40, 40), "blue": (40, 40, 200), "green leaf": (40, 200, 40)}
TINY = (
    "--set",
    "model.dim=8",
    "model.depth=1",
    "model.num_heads=2",
    "model.head_dim=4",
    "model.mlp_dim=16",
    "model.stem=linear",
    "data.image_size=8",
    "training.batch_size=8",
    "training.epochs=1",
    "training.log_every_steps=2",
    "training.device=cpu",
)


@dataclass(frozen=True)
class Outcome:
    """How a call of the program ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Standard output, which must be one JSON document and nothing else."""
        return json.loads(self.out)


Call = Callable[..., Outcome]


class _Input(io.StringIO):
    """Standard input: bytes lie below its text."""

    def __init__(self, content: bytes) -> None:
        super().__init__(content.decode("utf-8", "replace"))
        self.buffer = io.BytesIO(content)


def call(*arguments: str | Path, given: bytes = b"") -> Outcome:
    """Call the program.

    Args:
        arguments: what stands after `qkv`.
        given: standard input.
    """
    out, err = io.StringIO(), io.StringIO()
    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        patch.setattr("sys.stdin", _Input(given))
        code = main.run([str(argument) for argument in arguments])
    return Outcome(code, out.getvalue(), err.getvalue())


def paint(path: Path, colour: tuple[int, int, int], seed: int) -> Path:
    """A noisy square of one colour, in the format of the path's suffix."""
    noise = np.random.default_rng(seed).integers(-30, 30, (12, 10, 3))
    pixels = np.clip(np.array(colour) + noise, 0, 255).astype(np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def paint_classes(root: Path, *, names: tuple[str, ...] = tuple(COLOURS), count: int = 12) -> Path:
    for number, name in enumerate(names):
        for index in range(count):
            suffix = FORMATS[index % len(FORMATS)]
            paint(
                root / name / f"{index}.{suffix}",
                COLOURS.get(name, (90, 90, 90)),
                seed=1000 * number + index,
            )
    return root


@pytest.fixture(scope="session", autouse=True)
def _cache_of_the_shared_run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("QKV_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def qkv() -> Call:
    return call


@pytest.fixture(scope="session")
def tiny() -> tuple[str, ...]:
    return TINY


@pytest.fixture(scope="session")
def make_photos() -> Callable[..., Path]:
    return paint_classes


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return paint_classes(tmp_path_factory.mktemp("images") / "photos")


@pytest.fixture(scope="session")
def trained(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """The outcome of `qkv train --json`; its run is shared, so no test may change it."""
    run = tmp_path_factory.mktemp("runs") / "photos"
    return call("train", "vision", "--data", photos, "--out", run, "--json", "--seed", "7", *TINY)


@pytest.fixture(scope="session")
def run(trained: Outcome) -> Path:
    assert trained.code == 0, trained.err
    return Path(trained.json["run"])


@pytest.fixture
def run_copy(run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(run, tmp_path / "copy"))


@pytest.fixture(scope="session")
def tiny_text(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    """Settings of a text run that takes a second, on a BERT of random weights."""
    return (
        "--set",
        f"encoder.name={tiny_bert(tmp_path_factory.mktemp('encoders') / 'bert')}",
        "encoder.layers=last",
        "training.epochs=1",
        "training.batch_tokens=300",
        "training.log_every_steps=2",
        "training.device=cpu",
    )


@pytest.fixture(scope="session")
def reviews(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of 60 short texts in three classes."""
    return write_reviews(tmp_path_factory.mktemp("tables") / "reviews.csv")


@pytest.fixture(scope="session")
def text_trained(
    reviews: Path, tiny_text: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory
) -> Outcome:
    """The outcome of `qkv train text --json`; its run is shared, so no test may change it."""
    run = tmp_path_factory.mktemp("runs") / "reviews"
    return call("train", "text", "--data", reviews, "--out", run, "--json", *tiny_text)


@pytest.fixture(scope="session")
def text_run(text_trained: Outcome) -> Path:
    assert text_trained.code == 0, text_trained.err
    assert sorted(text_trained.json["test"]["per_class"]) == sorted(CLASSES)
    return Path(text_trained.json["run"])


@pytest.fixture
def text_run_copy(text_run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(text_run, tmp_path / "copy"))
