"""What an explanation is, and how a method becomes one."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np
import numpy.typing as npt

from qkv.errors import DataError, RecipeError
from qkv.explanation.faithfulness import (
    RANDOM_ORDERS,
    STEPS,
    Faithfulness,
    FloatArray,
    MaskedInput,
    measure_faithfulness,
)
from qkv.settings import nearest

Masked = TypeVar("Masked", bound=MaskedInput)

# Names of methods that are understood for one more version.
OLD_NAMES = {"state-gradients": "layer-integrated-gradients"}


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """How much each part of an input speaks for a class, and how far to believe that.

    Attributes:
        input: the input's path or text, or `image N`.
        method: a key of the method tables.
        label: the explained class.
        probability: that the model gives it.
        probabilities: every class with its probability.
        contributions: float64 (parts,), signed where the method tells for from against.
        signed: whether it does.
        unit: what a contribution is measured in, such as `probability` or `attention weight`.
        faithfulness: its own measure, on this very input.
        seconds: that the explanation took, its faithfulness not counted.
        convergence_delta: as in `Attribution`; in documents it is `completeness_gap`.
        coarsened: what was done more coarsely because the input is long, in words; None if nothing.
    """

    input: str
    method: str
    label: str
    probability: float
    probabilities: dict[str, float]
    contributions: FloatArray
    signed: bool
    unit: str
    faithfulness: Faithfulness
    seconds: float
    convergence_delta: float | None = None
    coarsened: str | None = None
    task: ClassVar[str]

    @property
    def completeness_gap(self) -> float | None:
        """The old name of `convergence_delta`, for one more version."""
        return self.convergence_delta

    def document(self) -> dict[str, Any]:
        """`task` and all fields as JSON values; figures are drawn from this."""
        values: dict[str, Any] = {"task": self.task}
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, np.ndarray):
                value = value.tolist()
            elif isinstance(value, Faithfulness):
                value = value.document()
            elif isinstance(value, tuple):
                value = [vars(word) for word in value]
            name = "completeness_gap" if field.name == "convergence_delta" else field.name
            values[name] = value
        return values


@dataclass(frozen=True, kw_only=True)
class ImageExplanation(Explanation):
    """An explanation by patches, row by row.

    Attributes:
        pixels: uint8 (height, width) or (height, width, 3), what the model saw.
        grid_size: patches along a side.
        heat: float32 (height, width), contributions at the resolution of the image: smooth where
            the method tells pixels apart, else one value a patch.
    """

    pixels: npt.NDArray[np.uint8]
    grid_size: int
    heat: npt.NDArray[np.float32]
    task: ClassVar[str] = "vision"


@dataclass(frozen=True)
class Word:
    """A word where it stands in its text: `text[start:end]`."""

    text: str
    start: int
    end: int


@dataclass(frozen=True, kw_only=True)
class TextExplanation(Explanation):
    """An explanation by words.

    Attributes:
        text: as it was given.
        words: one a contribution, in order; what stands between them is no part.
        read: words that the model read before its text was cut; later ones contribute nothing.
    """

    text: str
    words: tuple[Word, ...]
    read: int
    task: ClassVar[str] = "text"


@dataclass(frozen=True)
class Attribution:
    """What a method gives for one input and one class.

    Attributes:
        contributions: float64 (parts,).
        convergence_delta: of a method whose contributions should sum to a difference of outputs,
            how far they do not: their sum less the difference, in their unit. What goes to no part,
            such as special tokens, is counted into the sum. None of others.
        coarsened: what was done more coarsely than for a short input, in words; None if nothing.
        heat: float64 (height, width), of a method that tells the pixels of an image apart.
    """

    contributions: FloatArray
    convergence_delta: float | None = None
    coarsened: str | None = None
    heat: FloatArray | None = None


@dataclass(frozen=True)
class Method(Generic[Masked]):
    """One way to explain.

    Attributes:
        compute: from an input, a class and a seed.
        signed: whether it tells what speaks for a class from what speaks against it.
        unit: of a contribution.
    """

    compute: Callable[[Masked, int, int], Attribution]
    signed: bool
    unit: str


def common_fields(
    masked: Masked,
    method: Method[Masked],
    class_names: Sequence[str],
    label: str | None,
    seed: int,
    *,
    steps: int = STEPS,
    random_orders: int = RANDOM_ORDERS,
) -> tuple[Attribution, dict[str, Any]]:
    """Explain a class, and measure how faithful that is.

    Returns:
        What the method gave, and the fields of an `Explanation` but for `input` and `method`.

    Raises:
        DataError: there is no such class.
    """
    predicted = masked.probabilities(np.ones((1, masked.parts), dtype=np.bool_))[0]
    number = chosen_label(label, class_names, int(predicted.argmax()))
    began = time.perf_counter()
    found = method.compute(masked, number, seed)
    seconds = time.perf_counter() - began
    return found, {
        "label": class_names[number],
        "probability": float(predicted[number]),
        "probabilities": dict(zip(class_names, predicted.tolist(), strict=True)),
        "contributions": found.contributions,
        "signed": method.signed,
        "unit": method.unit,
        "faithfulness": measure_faithfulness(
            masked,
            found.contributions,
            number,
            steps=steps,
            random_orders=random_orders,
            seed=seed,
        ),
        "seconds": seconds,
        "convergence_delta": found.convergence_delta,
        "coarsened": found.coarsened,
    }


def chosen_method(name: str | None, known: Collection[str], default: str) -> str:
    """The method asked for, or the default.

    Raises:
        RecipeError: there is none of that name; the nearest is offered.
    """
    if name is None:
        return default
    name = OLD_NAMES[name] if OLD_NAMES.get(name) in known else name
    if name not in known:
        raise RecipeError(
            f"no method of explanation is called {name!r}",
            remedy=nearest(name, known, what="methods"),
        )
    return name


def chosen_label(name: str | None, class_names: Sequence[str], predicted: int) -> int:
    """The number of the class asked for, or of the one predicted.

    Raises:
        DataError: there is none of that name; the nearest is offered.
    """
    if name is None:
        return predicted
    if name not in class_names:
        raise DataError(
            f"the model knows no class {name!r}", remedy=nearest(name, class_names, what="classes")
        )
    return list(class_names).index(name)
