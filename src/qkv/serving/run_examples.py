"""The test examples of a served run: what each is, and what was predicted of it."""

from __future__ import annotations

import hashlib
import io
import logging
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

from qkv.data import fashion_mnist
from qkv.data.dataset import ImageSplit, IntArray, TextSplit, UInt8Array
from qkv.data.imdb import CACHE_FOLDER
from qkv.errors import DataError, QKVError, RunError
from qkv.evaluation.metrics import log_softmax
from qkv.files import cache_dir
from qkv.runs import RECORD, RESULTS, Run
from qkv.settings import nearest
from qkv.training.data import fingerprint, load_dataset, test_split
from qkv.training.recipe import parse_recipe

Order = Literal["index", "confidence"]
# An image as uint8 (channels, height, width), or a text.
Content = UInt8Array | str

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SavedPredictions:
    """Truth and prediction of every test example.

    Attributes:
        class_names: the name of each label, in label order.
        labels: int64 (examples,), the true class.
        predicted: int64 (examples,), the class of the largest probability.
        probabilities: float64 (examples, classes).
        version: changes with any of them.
    """

    class_names: tuple[str, ...]
    labels: IntArray
    predicted: IntArray
    probabilities: npt.NDArray[np.float64]
    version: str

    def __len__(self) -> int:
        return len(self.labels)

    def ordered(self, indices: IntArray) -> IntArray:
        """Indices by falling confidence; among equals the lower comes first."""
        confidence = self.probabilities[indices].max(axis=1)
        falling: IntArray = indices[np.argsort(-confidence, kind="stable")]
        return falling

    def most_confident_mistakes(self) -> IntArray:
        """Indices of the wrong predictions by falling confidence."""
        return self.ordered(np.flatnonzero(self.predicted != self.labels))


class RunExamples:
    """What a run predicted of its test examples, and the examples themselves.

    All of them are there if the run's data set is still where it was. Else there are the few that
    the run folder keeps. Data are read when first asked for, once, whatever the thread.
    """

    def __init__(self, run: Run, class_names: Sequence[str]) -> None:
        self._run = run
        self.class_names = tuple(class_names)
        self._lock = threading.Lock()
        # Another, so that nobody who only wants the predictions waits for the data.
        self._split_lock = threading.Lock()
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
        """Indices of the examples that can be shown and fit, by index or by falling confidence.

        Raises:
            DataError: there is no class of the name `truth` or `predicted`.
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
        with self._split_lock:
            if not self._searched:
                try:
                    split = load_local_test(self._run)
                except QKVError as error:
                    _log.warning("only the examples kept in the run are shown: %s", error)
                else:
                    self._split = split if len(split) == len(predictions) else None
                self._searched = True
            return self._split


def read_predictions(run: Run, class_names: Sequence[str]) -> SavedPredictions | None:
    """The saved predictions of a run; None where it had no test split.

    Raises:
        RunError: the file is damaged, or does not fit the run.
    """
    if not (run.path / RESULTS).is_file():
        return None
    tensors = run.results()
    labels, logits = (tensors[name].numpy() for name in ("test_labels", "test_logits"))
    if logits.shape != (len(labels), len(class_names)):
        raise RunError(
            f"{run.path / RESULTS} has logits of shape {logits.shape} for {len(labels)} labels of "
            f"{len(class_names)} classes",
            remedy="restore the folder",
        )
    return SavedPredictions(
        class_names=tuple(class_names),
        labels=labels,
        # Of the logits themselves, so that rounding cannot make a tie of what was none.
        predicted=logits.argmax(axis=1),
        probabilities=np.exp(log_softmax(logits)),
        version=hashlib.sha256(labels.tobytes() + logits.tobytes()).hexdigest()[:12],
    )


def kept_examples(run: Run, predictions: SavedPredictions) -> dict[int, Content]:
    """The kept images or texts by their index in the test split.

    Raises:
        RunError: the run is damaged.
    """
    tensors = run.results()
    images: dict[int, Content] = {}
    for kind in ("sample", "mistake"):
        if f"{kind}_images" in tensors:
            places = tensors[f"{kind}_indices"].tolist()
            images.update(zip(places, tensors[f"{kind}_images"].numpy(), strict=True))
    return images or _kept_texts(run.record().get("mistakes", ()), predictions)


def _kept_texts(
    mistakes: tuple[Mapping[str, Any], ...], predictions: SavedPredictions
) -> dict[int, Content]:
    """The recorded mistakes are the most confident in their order, and do not say their index."""
    indices = predictions.most_confident_mistakes()[: len(mistakes)].tolist()
    texts: dict[int, Content] = {}
    for index, mistake in zip(indices, mistakes, strict=False):
        names = predictions.class_names
        found = names[predictions.labels[index]], names[predictions.predicted[index]]
        if found == (mistake["label"], mistake["predicted"]):
            texts[index] = mistake["text"]
    return texts


def load_local_test(run: Run) -> ImageSplit | TextSplit:
    """The very test split that the run was tested on.

    Raises:
        DataError: it is not on this machine, or is not what it was.
        QKVError: the data or the run cannot be read.
    """
    record = run.record()
    recipe = parse_recipe(record["recipe"], where=str(run.path / RECORD))
    known = record["data"]
    named = known["folder"]
    places = [Path(named)] if named else _usual_places(recipe.data.dataset)
    problems = []
    for place in places:
        try:
            dataset = load_dataset(recipe, place, skip_bad=bool(known["skipped"]))
        except DataError as error:
            problems.append(error.problem)
            continue
        if fingerprint(dataset) == known["sha256"]:
            return test_split(dataset)
        problems.append(f"{place} has changed since the run was trained on it")
    raise DataError(
        f"the test data of {run.path} are not here: {'; '.join(problems) or 'no folder is known'}",
        remedy="bring them back to where they were",
    )


def _usual_places(dataset: str) -> list[Path]:
    """Where data lie that a run was not told the folder of.

    A folder that is named is the only place that loading looks at: these keep it from fetching.
    """
    if dataset == "fashion-mnist":
        return [cache_dir() / fashion_mnist.FILES.name, fashion_mnist.SYSTEM_FOLDER]
    return [cache_dir() / CACHE_FOLDER] if dataset == "imdb" else []


def as_png(image: UInt8Array) -> bytes:
    """The bytes of a PNG file of an image, uint8 (1 or 3 channels, height, width)."""
    pixels = image[0] if len(image) == 1 else np.ascontiguousarray(image.transpose(1, 2, 0))
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "png")
    return file.getvalue()
