"""How a server computes predictions: what an input becomes, and what many give together."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float32

from qkv.data.image_decode import LargeImageError, decode, resize_and_crop
from qkv.errors import DataError
from qkv.explanation.text_attention import POOL, attention_choices, text_attention
from qkv.explanation.vision_attention import attention_weights
from qkv.serving.settings import ServingSettings
from qkv.serving.worker_process import ImageProcesses
from qkv.text.classifier import HEAD_BATCH_TOKENS, TextClassifier
from qkv.text.model import predict_inputs
from qkv.text.windows import Prepared, join
from qkv.vision.classifier import VisionClassifier

# Reading more takes longer than handing it to another thread and back.
SHORT_TEXT_CHARACTERS = 2_000
SMALL_IMAGE_BYTES, SMALL_IMAGE_PIXELS = 65_536, 16_384
# So many words make half a megabyte of attention weights.
MOST_WORDS = 512
_DIGITS = 6
Pixels = npt.NDArray[np.uint8]


class Scores(NamedTuple):
    """Labels of one input and their probabilities, the largest first."""

    labels: list[int]
    values: list[float]


def ranked(probabilities: Float32[np.ndarray, "inputs classes"]) -> list[Scores]:
    """The scores of each input; equal ones in label order."""
    order = np.argsort(-probabilities, axis=1, kind="stable")
    values = np.take_along_axis(probabilities, order, axis=1)
    return [
        Scores(labels, row) for labels, row in zip(order.tolist(), values.tolist(), strict=True)
    ]


class ScoreWriter:
    """Writes scores as JSON: `[{"label": …, "score": …}, …]`, without spaces."""

    def __init__(self, class_names: Sequence[str]) -> None:
        self._beginnings = [f'{{"label":{json.dumps(name)},"score":' for name in class_names]

    def write(self, scores: Scores, top_k: int | None) -> str:
        """The JSON of the `top_k` largest, with the digits of a float32; None: of all."""
        pairs = zip(scores.labels[:top_k], scores.values[:top_k], strict=True)
        parts = [f"{self._beginnings[label]}{value:.7g}}}" for label, value in pairs]
        return f"[{','.join(parts)}]"


class ImagePredictor:
    """Answers of a vision model: images are decoded one by one, computed together."""

    unit = "images"

    def __init__(self, classifier: VisionClassifier) -> None:
        self.classifier = classifier
        self.writer = ScoreWriter(classifier.class_names)
        self.processes: ImageProcesses | None = None
        self._channels = classifier.preprocessing.channels
        self._size = classifier.preprocessing.image_size

    def read(self, content: bytes, settings: ServingSettings) -> Pixels:
        """What the model reads of an encoded image: uint8 (channels, size, size).

        Raises:
            ImageError: it cannot be decoded, or has more pixels than the settings allow.
        """
        return self._decoded(content, settings.max_pixels)

    def read_short(self, content: bytes, settings: ServingSettings) -> Pixels | None:
        """As `read`; None where that takes long: few bytes may be an image of many pixels."""
        if len(content) > SMALL_IMAGE_BYTES:
            return None
        try:
            return self._decoded(content, min(SMALL_IMAGE_PIXELS, settings.max_pixels))
        except LargeImageError:
            return None

    def _decoded(self, content: bytes, max_pixels: int) -> Pixels:
        pixels = decode(content, channels=self._channels, name="image", max_pixels=max_pixels)
        return resize_and_crop(pixels, self._size)

    def cost(self, pixels: Pixels) -> int:  # noqa: ARG002
        """Every image costs the same."""
        return 1

    def compute(self, images: list[Pixels]) -> list[Scores]:
        """The scores of several images, in their order.

        Raises:
            ServingError: the process that computed them has ended.
        """
        batch = np.stack(images)
        if self.processes is not None:
            return ranked(self.processes.probabilities(batch))
        return ranked(self.classifier.logits(batch).softmax(dim=1).numpy())

    def start_processes(self, run: Path, count: int, threads: int) -> None:
        """From now on, compute in processes, if the model is on a CPU; see `ImageProcesses`."""
        if self.classifier.device.type == "cpu":
            self.processes = ImageProcesses(run, count, threads)

    def close(self) -> None:
        """End the processes, if there are any."""
        if self.processes is not None:
            self.processes.close()
            self.processes = None

    def warm_up(self) -> None:
        """Compute once, so that the first request does not wait for what is set up then."""
        self.compute([np.zeros((self._channels, self._size, self._size), np.uint8)] * 2)

    def input_shape(self) -> dict[str, int]:
        """The values of an `ImageShape`."""
        names = ("image_size", "channels", "patch_size", "grid_size")
        return {name: getattr(self.classifier.model.settings, name) for name in names}

    def attention_choices(self) -> dict[str, Any]:
        """The values of an `AttentionChoices`."""
        model = self.classifier.model
        return {
            "layers": list(range(1, model.settings.depth + 1)),
            "heads": model.settings.num_heads,
            "class_token": model.class_token is not None,
            "pool": False,
            "pool_heads": 0,
        }

    def attention(
        self,
        pixels: Pixels,
        *,
        layer: str | None,
        head: str,
        query: int | None,
        whole: bool,
    ) -> dict[str, Any]:
        """The values of an `AttentionAnswer` for an image, uint8 (channels, size, size).

        Args:
            pixels: the image.
            layer: a number from 1, the lowest; None: the last.
            head: a number from 0, or `mean`.
            query: the patch that attends, row by row; None: the class token or, in a model
                without one, the mean over patches.
            whole: answer with every token's weights on every token instead.

        Raises:
            DataError: there is no such layer, head or patch.
        """
        settings = self.classifier.model.settings
        layers = [str(number) for number in range(1, settings.depth + 1)]
        number = int(_one_of("layer", layers[-1] if layer is None else layer, layers))
        weights = attention_weights(self.classifier, pixels, number - 1)
        _one_of("head", head, ["mean", *(str(index) for index in range(len(weights)))])
        matrix = weights.mean(axis=0) if head == "mean" else weights[int(head)]
        first = int(self.classifier.model.class_token is not None)
        patches = settings.grid_size**2
        document: dict[str, Any] = {
            "layer": number,
            "head": head if head == "mean" else int(head),
            "query": None if whole else query,
            "grid_size": settings.grid_size,
        }
        if whole:
            return {**document, "matrix": [_rounded(row) for row in matrix]}
        if query is not None and query >= patches:
            raise DataError(
                f"there is no patch {query}", remedy=f"name one from 0 to {patches - 1}"
            )
        if query is not None:
            row = matrix[first + query]
        else:
            row = matrix[0] if first else matrix.mean(axis=0)
        share = _rounded(row[:1])[0] if first else None
        return {**document, "class_token": share, "weights": _rounded(row[first:])}


@dataclass(frozen=True, eq=False)
class ReadText:
    """A text with its windows of tokens; `tokens` in two windows count twice."""

    text: str
    prepared: Prepared
    tokens: int


class TextPredictor:
    """Answers of a text model: texts are tokenised one by one, computed together."""

    unit = "tokens"

    def __init__(self, classifier: TextClassifier) -> None:
        self.classifier = classifier
        self.writer = ScoreWriter(classifier.class_names)
        self._encoder = classifier.reading.encoder
        if classifier.device.type == "cpu":  # others are fast at large blocks alone
            self._encoder.encoder.compute_windows_by_size()
        truncation = self._encoder.settings.truncation
        pieces = truncation.window_pieces(self._encoder.encoder.positions)
        if truncation.kind == "windows":
            step = pieces - truncation.overlap_tokens
            pieces += (truncation.max_windows - 1) * step
        self.max_tokens = pieces + 2

    def read(self, text: str, settings: ServingSettings) -> ReadText:
        """Tokenise a text.

        Raises:
            DataError: it is empty, or longer than the settings allow.
        """
        if len(text) > settings.max_text_characters:
            raise DataError(
                f"the text has {len(text):,} characters",
                remedy=f"send at most {settings.max_text_characters:,}",
            )
        if not text.strip():
            raise DataError("the text is empty", remedy="send a text with a word in it")
        return self._prepared(text)

    def read_short(self, text: str, settings: ServingSettings) -> ReadText | None:
        """As `read`; None where that takes long."""
        return self.read(text, settings) if len(text) <= SHORT_TEXT_CHARACTERS else None

    def cost(self, read: ReadText) -> int:
        """Its tokens."""
        return read.tokens

    def compute(self, texts: list[ReadText]) -> list[Scores]:
        """The scores of several texts, in their order; none depends on the others."""
        classifier = self.classifier
        with torch.inference_mode():
            inputs = classifier.reading.prepared_inputs(join([text.prepared for text in texts]))
            logits = predict_inputs(classifier.model, inputs, HEAD_BATCH_TOKENS, classifier.device)
            logits = logits / classifier.temperature
            if classifier.stack is None or classifier.ngrams is None:
                return ranked(logits.softmax(dim=1).numpy())
            neural = logits.log_softmax(dim=1).numpy()
        ngrams = classifier.ngrams.log_probabilities([text.text for text in texts])
        together = classifier.stack.log_probabilities(neural, ngrams)
        return ranked(np.exp(together).astype(np.float32))

    def start_processes(self, run: Path, count: int, threads: int) -> None:
        """Texts are computed in this process."""

    def close(self) -> None:
        """There is nothing to end."""

    def warm_up(self) -> None:
        """Compute once, so that the first request does not wait for what is set up then."""
        texts = ("a text", "another text, longer than the first")
        self.compute([self._prepared(text) for text in texts])

    def input_shape(self) -> dict[str, int]:
        """The values of a `TextShape`."""
        return {"max_tokens": self.max_tokens}

    def attention_choices(self) -> dict[str, Any]:
        """The values of an `AttentionChoices`."""
        choices = attention_choices(self.classifier)
        layers = [*choices["layers"], *([POOL] if choices["pool"] else [])]
        return {**choices, "layers": layers, "class_token": False}

    def attention(
        self,
        read: ReadText,
        *,
        layer: str | None,
        head: str,
        query: int | None,
        whole: bool,  # noqa: ARG002 - both predictors are asked alike
    ) -> dict[str, Any]:
        """The values of an `AttentionAnswer` for a text.

        Args:
            read: the text.
            layer: from 1, the lowest, or `head`; None: `head`, or the last if the
                model does not pool.
            head: a number from 0, or `mean`.
            query: the word that attends; None: the pool, or every word.
            whole: of no meaning; without a query it is all words anyway.

        Raises:
            DataError: there is no such layer, head or word, or there are too many words for all.
        """
        choices = self.attention_choices()
        layers = [str(name) for name in choices["layers"]]
        if not layers:
            raise DataError(
                "this model does not hand out its attention",
                remedy="ask for an explanation instead",
            )
        chosen = _one_of("layer", layers[-1] if layer is None else layer, layers)
        heads = choices["pool_heads"] if chosen == POOL else choices["heads"]
        _one_of("head", head, ["mean", *(str(index) for index in range(heads))])
        found, weights = text_attention(
            self.classifier,
            read.text,
            "head" if chosen == POOL else int(chosen),
            None if head == "mean" else int(head),
        )
        document: dict[str, Any] = {
            "layer": chosen if chosen == POOL else int(chosen),
            "head": head if head == "mean" else int(head),
            "query": None if chosen == POOL else query,
            "words": [vars(word) for word in found],
        }
        if chosen == POOL:
            return {**document, "weights": _rounded(weights[0])}
        words = len(found)
        if query is None:
            if words > MOST_WORDS:
                raise DataError(
                    f"the text has {words} words, too many for all of them at once",
                    remedy="name a word as query",
                )
            matrix = weights.astype("<f2").tobytes()
            return {**document, "matrix": base64.b64encode(matrix).decode()}
        if query >= words:
            raise DataError(f"there is no word {query}", remedy=f"name one from 0 to {words - 1}")
        return {**document, "weights": _rounded(weights[query])}

    def _prepared(self, text: str) -> ReadText:
        prepared = self._encoder.prepare([text])
        return ReadText(text, prepared, prepared.tokens)


Predictor = ImagePredictor | TextPredictor


PREDICTORS: dict[str, Callable[[Any], Predictor]] = {
    "vision": ImagePredictor,
    "text": TextPredictor,
}
"""By the task of a classifier."""


def _one_of(what: str, given: str, known: list[str]) -> str:
    if given in known:
        return given
    raise DataError(f"there is no {what} {given}", remedy=f"choose one of {', '.join(known[:64])}")


def _rounded(values: npt.NDArray[np.float32]) -> list[float]:
    rounded: list[float] = np.round(values.astype(np.float64), _DIGITS).tolist()
    return rounded
