"""The base of the classifiers of every task, and their predictions."""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from qkv.errors import QKVError, RunError
from qkv.runs import Run

Source = TypeVar("Source")
"""What a user gives for one input, such as a path or a text."""
Example = TypeVar("Example")
"""What the model sees of it, such as pixels."""
FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Prediction:
    """The prediction for one input.

    Attributes:
        input: its path or text, or `image N` for what has neither.
        label: the class of the largest probability.
        probability: that probability.
        probabilities: every class with its probability.
    """

    input: str
    label: str
    probability: float
    probabilities: dict[str, float]


@dataclass(frozen=True)
class FailedInput:
    """An input that could not be read, and why."""

    input: str
    error: str


class Classifier(ABC, Generic[Source, Example]):
    """A trained model with its class names; a task derives one and gives `read` and `logits`.

    Args:
        model: the trained model; it is moved to the device and put in evaluation mode.
        class_names: the name of each label, in label order.
        device: where to compute.
        temperature: what the model's logits are divided by.
    """

    task: ClassVar[str]
    """The name under which recipes, runs and the tables of tasks know it."""
    model: nn.Module

    def __init__(
        self,
        model: nn.Module,
        class_names: Sequence[str],
        device: torch.device,
        *,
        temperature: float = 1.0,
    ) -> None:
        self.model = model.to(device).eval()
        self.class_names = tuple(class_names)
        self.device = device
        self.temperature = temperature

    @abstractmethod
    def read(self, source: Source, *, name: str | None = None) -> Example:
        """What the model sees of an input; `name` is what an error calls it.

        Raises:
            QKVError: it cannot be read.
        """

    @abstractmethod
    def logits(self, examples: Sequence[Example]) -> Tensor:
        """What probabilities are the softmax of: float32 (examples, classes), on the CPU.

        The temperature is applied.
        """

    @abstractmethod
    def predict_logits(self, split: Any) -> Tensor:
        """`logits` of every example of a split of this task's data set."""

    @abstractmethod
    def name_of(self, source: Source, index: int) -> tuple[str, str]:
        """What an input is called in its prediction, and in an error; `index` counts from 0."""

    def prepare(self) -> None:
        """Load what is loaded late, so that its absence is found before the first prediction."""

    def predict_proba(self, inputs: Iterable[Source], *, batch_size: int = 256) -> FloatArray:
        """Probabilities (inputs, classes), float32, classes in the order of `class_names`.

        Raises:
            QKVError: an input cannot be read.
        """
        rows = [np.empty((0, len(self.class_names)), dtype=np.float32)]
        for batch in _batches(enumerate(inputs), batch_size):
            examples = [self.read(given, name=self.name_of(given, i)[1]) for i, given in batch]
            rows.append(self._probabilities(examples))
        return np.concatenate(rows)

    def predict(self, inputs: Sequence[Source], *, batch_size: int = 256) -> list[Prediction]:
        """One prediction an input.

        Raises:
            QKVError: an input cannot be read.
        """
        rows = self.predict_proba(inputs, batch_size=batch_size)
        names = [self.name_of(source, index)[0] for index, source in enumerate(inputs)]
        return [self._prediction(name, row) for name, row in zip(names, rows, strict=True)]

    def predict_each(
        self,
        inputs: Iterable[Source],
        *,
        names: Iterable[str] | None = None,
        batch_size: int = 256,
    ) -> Iterator[Prediction | FailedInput]:
        """Predictions in the order of the inputs; one that cannot be read does not stop the others.

        `names` are what inputs are called; None: as `predict` calls them. Predictions do not depend
        on `batch_size`, the number of inputs computed together.
        """
        called = itertools.repeat(None) if names is None else names
        numbered = enumerate(zip(inputs, called, strict=names is not None))
        for batch in _batches(numbered, batch_size):
            answers: list[str | FailedInput] = []
            examples = []
            for index, (source, given) in batch:
                answer, error = self.name_of(source, index)
                answer, error = (answer, error) if given is None else (given, given)
                try:
                    examples.append(self.read(source, name=error))
                    answers.append(answer)
                except QKVError as problem:
                    answers.append(FailedInput(error, problem.problem))
            rows = iter(self._probabilities(examples) if examples else ())
            for item in answers:
                yield self._prediction(item, next(rows)) if isinstance(item, str) else item

    def _probabilities(self, examples: Sequence[Example]) -> FloatArray:
        return self.logits(examples).softmax(dim=1).numpy()

    def _prediction(self, name: str, probabilities: FloatArray) -> Prediction:
        top = int(probabilities.argmax())
        named = dict(zip(self.class_names, map(float, probabilities), strict=True))
        return Prediction(name, self.class_names[top], float(probabilities[top]), named)


def _batches(items: Iterable[Any], size: int) -> Iterator[list[Any]]:
    iterator = iter(items)
    while batch := list(itertools.islice(iterator, size)):
        yield batch


def class_names(config: dict[str, Any], where: str) -> list[str]:
    """The name of each label, in label order.

    Raises:
        RunError: the config has none.
    """
    try:
        return [config["id2label"][str(number)] for number in range(len(config["id2label"]))]
    except (KeyError, TypeError) as error:
        raise RunError(f"{where} lacks {error}", remedy="restore the file") from None


def temperature(config: dict[str, Any], where: str) -> float:
    """What logits are divided by; 1 where none was fitted.

    Raises:
        RunError: it is no positive number.
    """
    value = config.get("temperature", 1.0)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e6:
        raise RunError(f"{where}: temperature is {value!r}", remedy="restore the file")
    return float(value)


def load_weights(run: Run, model: nn.Module) -> None:
    """Give a model the run's kept weights.

    Raises:
        RunError: there are none yet, or they belong to another model.
    """
    try:
        model.load_state_dict(run.weights())
    except RuntimeError as error:
        first = str(error).splitlines()[-1].strip()
        raise RunError(
            f"{run.path}: weights and config.json disagree: {first}", remedy="restore the folder"
        ) from None
