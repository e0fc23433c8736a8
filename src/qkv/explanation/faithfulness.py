"""Whether an explanation can be believed: what happens when its parts are taken away."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from qkv.data.dataset import IntArray
from qkv.errors import ShapeError

BoolArray = npt.NDArray[np.bool_]
FloatArray = npt.NDArray[np.float64]


class MaskedInput(Protocol):
    """What a model predicts for an input of which only some parts are left.

    The parts of an image are its patches, those of a text its words.
    """

    @property
    def parts(self) -> int:
        """How many parts there are, at least one."""

    def probabilities(self, keep: BoolArray) -> FloatArray:
        """Probabilities (subsets, classes) of the input with only the kept parts.

        Args:
            keep: (subsets, parts), True where a part stays.
        """


# A curve has this many steps, or one a part where there are fewer parts.
STEPS = 16
RANDOM_ORDERS = 8


@dataclass(frozen=True)
class Faithfulness:
    """Deletion and insertion curves of one explanation, and those of random orders.

    Petsiuk, Das and Saenko 2018, "RISE: Randomized Input Sampling for Explanation of Black-box
    Models", section 4.2: deletion takes parts away, the most important first, and a good
    explanation makes the probability fall early; insertion puts them back, and it rises early.

    Attributes:
        fractions: share of the parts that was changed at each point, from 0 to 1.
        deletion: probability of the explained class at each point.
        insertion: likewise.
        random_deletion: the mean over random orders at each point.
        random_insertion: likewise.
        random_orders: how many there were.
    """

    fractions: tuple[float, ...]
    deletion: tuple[float, ...]
    insertion: tuple[float, ...]
    random_deletion: tuple[float, ...]
    random_insertion: tuple[float, ...]
    random_orders: int

    @property
    def score(self) -> float:
        """Area under insertion less area under deletion: from −1 to 1, the larger the better."""
        return self._area(self.insertion) - self._area(self.deletion)

    @property
    def random_score(self) -> float:
        """The same number for random orders: what an explanation must beat."""
        return self._area(self.random_insertion) - self._area(self.random_deletion)

    @property
    def deletion_area(self) -> float:
        """Area under the deletion curve, 0 to 1: the smaller the better."""
        return self._area(self.deletion)

    @property
    def random_deletion_area(self) -> float:
        """The same of random orders."""
        return self._area(self.random_deletion)

    @property
    def beats_random(self) -> bool:
        """Whether deletion in the explanation's order makes the probability fall earlier."""
        return self.deletion_area < self.random_deletion_area

    def document(self) -> dict[str, Any]:
        """Curves and numbers as JSON values."""
        return {
            "score": self.score,
            "random_score": self.random_score,
            "deletion_area": self.deletion_area,
            "random_deletion_area": self.random_deletion_area,
            "insertion_area": self._area(self.insertion),
            "random_insertion_area": self._area(self.random_insertion),
            "beats_random": self.beats_random,
            "random_orders": self.random_orders,
            "curves": {
                name: list(curve) for name, curve in vars(self).items() if name != "random_orders"
            },
        }

    def _area(self, curve: tuple[float, ...]) -> float:
        return float(np.trapezoid(curve, self.fractions))


def measure_faithfulness(
    masked: MaskedInput,
    contributions: FloatArray,
    label: int,
    *,
    steps: int = STEPS,
    random_orders: int = RANDOM_ORDERS,
    seed: int = 0,
) -> Faithfulness:
    """Take parts away and put them back, in the order of their contributions and at random.

    Args:
        masked: the input that was explained.
        contributions: (parts,), the larger the more a part speaks for the class.
        label: the explained class.
        steps: points of a curve after its first; at most one a part.
        random_orders: how many random orders are averaged.
        seed: of the random orders.

    Raises:
        ShapeError: the contributions are not one finite number a part.
    """
    parts = masked.parts
    if contributions.shape != (parts,) or not np.isfinite(contributions).all():
        raise ShapeError(
            f"contributions of shape {contributions.shape} to an input of {parts} parts, "
            "or not all finite",
            remedy="give one finite number a part",
        )
    random = np.random.default_rng(seed)
    orders = [np.argsort(-contributions, kind="stable")]
    orders += [random.permutation(parts) for _ in range(random_orders)]
    counts = np.unique(np.linspace(0, parts, min(steps, parts) + 1).round().astype(np.int64))
    inserted = np.concatenate([_first_parts(order, counts) for order in orders])
    answers = masked.probabilities(np.concatenate([~inserted, inserted]))[:, label]
    deletion, insertion = answers.reshape(2, len(orders), len(counts))
    return Faithfulness(
        fractions=_tuple(counts / parts),
        deletion=_tuple(deletion[0]),
        insertion=_tuple(insertion[0]),
        random_deletion=_tuple(deletion[1:].mean(axis=0)),
        random_insertion=_tuple(insertion[1:].mean(axis=0)),
        random_orders=random_orders,
    )


def _first_parts(order: IntArray, counts: IntArray) -> BoolArray:
    """(counts, parts): True for the first 0, 1, … parts of an order."""
    return np.asarray(np.argsort(order)[None] < counts[:, None])


def _tuple(values: FloatArray) -> tuple[float, ...]:
    return tuple(float(value) for value in values)
