"""The test examples of one served run, to look through."""

from __future__ import annotations

import io
import logging
import threading
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from PIL import Image

from qkv.data.dataset import ImageSplit, IntArray, TextSplit, UInt8Array
from qkv.errors import DataError, QKVError
from qkv.runs import Run
from qkv.serving.gallery.kept import Content, kept_examples
from qkv.serving.gallery.local_data import load_local_test
from qkv.serving.gallery.predictions import SavedPredictions, read_predictions
from qkv.settings import nearest

Order = Literal["index", "confidence"]

_log = logging.getLogger(__name__)


class Gallery:
    """What a run predicted of its test examples, and the examples themselves.

    All of them are there if the run's data set is still where it was. Else there are the few that
    the run folder keeps. Data are read when first asked for, once, whatever the thread.

    Args:
        run: a finished run.
        class_names: the name of each label, in label order.
    """

    def __init__(self, run: Run, class_names: Sequence[str]) -> None:
        self._run = run
        self.class_names = tuple(class_names)
        self._lock = threading.Lock()
        # Another, so that nobody who only wants the predictions waits for the data.
        self._search_lock = threading.Lock()
        self._predictions: SavedPredictions | None = None
        self._kept: Mapping[int, Content] | None = None
        self._split: ImageSplit | TextSplit | None = None
        self._searched = False

    @property
    def predictions(self) -> SavedPredictions | None:
        """Of the test split; None where the run had none.

        Raises:
            RunError: the run is damaged.
        """
        with self._lock:
            if self._predictions is None:
                self._predictions = read_predictions(self._run, self.class_names)
            return self._predictions

    @property
    def kept(self) -> Mapping[int, Content]:
        """The examples of the run folder by index; the data set is not looked for.

        Raises:
            RunError: the run is damaged.
        """
        predictions = self.predictions
        with self._lock:
            if self._kept is None:
                self._kept = {} if predictions is None else kept_examples(self._run, predictions)
            return self._kept

    @property
    def complete(self) -> bool:
        """Whether every test example can be shown."""
        predictions = self.predictions
        return predictions is None or self._find_split(predictions) is not None

    def find(
        self,
        *,
        truth: str | None = None,
        predicted: str | None = None,
        wrong: bool = False,
        order: Order = "index",
    ) -> IntArray:
        """Indices of the examples that can be shown and fit.

        Args:
            truth: the name of their class.
            predicted: the name of the class that was predicted.
            wrong: only those of which the prediction is wrong.
            order: by index, or by falling confidence.

        Raises:
            DataError: there is no such class.
        """
        predictions = self.predictions
        if predictions is None:
            return np.empty(0, dtype=np.int64)
        fits = np.ones(len(predictions), dtype=bool)
        if not self.complete:
            fits[:] = False
            fits[list(self.kept)] = True
        for name, numbers in ((truth, predictions.labels), (predicted, predictions.predicted)):
            if name is not None:
                fits &= numbers == self._number(name)
        if wrong:
            fits &= predictions.predicted != predictions.labels
        found: IntArray = np.flatnonzero(fits)
        return predictions.ordered(found) if order == "confidence" else found

    def content(self, index: int) -> Content | None:
        """An image, uint8 (channels, height, width), or a text; None where it cannot be shown."""
        predictions = self.predictions
        if predictions is None or not 0 <= index < len(predictions):
            return None
        split = self._find_split(predictions)
        if split is None:
            return self.kept.get(index)
        if isinstance(split, TextSplit):
            return split.texts[index]
        image: UInt8Array = split.take(np.array([index]))[0]
        return image

    def _number(self, name: str) -> int:
        if name not in self.class_names:
            raise DataError(
                f"there is no class {name!r}",
                remedy=nearest(name, self.class_names, what="classes"),
            )
        return self.class_names.index(name)

    def _find_split(self, predictions: SavedPredictions) -> ImageSplit | TextSplit | None:
        with self._search_lock:
            if not self._searched:
                try:
                    split = load_local_test(self._run)
                except QKVError as error:
                    _log.warning("only the examples kept in the run are shown: %s", error)
                else:
                    self._split = split if len(split) == len(predictions) else None
                self._searched = True
            return self._split


def as_png(image: UInt8Array) -> bytes:
    """The bytes of a PNG file of an image, uint8 (1 or 3 channels, height, width)."""
    pixels = image[0] if len(image) == 1 else np.ascontiguousarray(image.transpose(1, 2, 0))
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "png")
    return file.getvalue()
