"""Made-up documents of explanations."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from qkv.explanation.explanation import ImageExplanation, TextExplanation, Word
from qkv.explanation.faithfulness import Faithfulness

NAMES = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Bag")


def some_faithfulness(
    own: float = 0.2, chance: float = 0.6, back: float = 0.8, chance_back: float = 0.4
) -> Faithfulness:
    """Curves of the areas that are asked for."""
    fractions = (0.0, 0.5, 1.0)

    def curve(area: float) -> tuple[float, ...]:
        return (area, area, area)

    return Faithfulness(
        fractions, curve(own), curve(back), curve(chance), curve(chance_back), random_orders=2
    )


def image_document(
    side: int = 12,
    *,
    colour: bool = False,
    signed: bool = True,
    label: str = "Coat",
    names: tuple[str, ...] = NAMES,
    faithfulness: Faithfulness | None = None,
    **changes: Any,
) -> dict[str, Any]:
    generator = np.random.default_rng(4)
    shape = (side, side, 3) if colour else (side, side)
    contributions = generator.normal(0, 0.1, 9)
    if not signed:
        contributions = np.abs(contributions)
    shares = generator.dirichlet(np.full(len(names), 0.4))
    probabilities = dict(zip(names, map(float, shares), strict=True))
    heat = np.kron(contributions.reshape(3, 3), np.ones((side // 3, side // 3)))
    explanation = ImageExplanation(
        input="photos/coat number 1.png",
        method="occlusion",
        label=label,
        probability=probabilities[label],
        probabilities=probabilities,
        contributions=contributions,
        signed=signed,
        unit="probability" if signed else "attention weight",
        faithfulness=faithfulness or some_faithfulness(),
        seconds=0.12,
        pixels=generator.integers(0, 256, shape, dtype=np.uint8),
        grid_size=3,
        heat=heat.astype(np.float32),
    )
    return {**explanation.document(), **changes}


def text_document(
    text: str,
    *,
    signed: bool = True,
    read: int | None = None,
    strong: dict[str, float] | None = None,
    faithfulness: Faithfulness | None = None,
    **changes: Any,
) -> dict[str, Any]:
    """A document whose words are weak but for the `strong` ones."""
    words = tuple(
        Word(match.group(), match.start(), match.end())
        for match in re.finditer(r"\w+|[^\w\s]+", text)
    )
    weak = np.random.default_rng(5).normal(0, 0.01, len(words))
    values = np.array(
        [(strong or {}).get(word.text, value) for word, value in zip(words, weak, strict=True)]
    )
    explanation = TextExplanation(
        input=text,
        method="integrated_gradients",
        label="positive",
        probability=0.9,
        probabilities={"negative": 0.1, "positive": 0.9},
        contributions=values if signed else np.abs(values),
        signed=signed,
        unit="probability",
        faithfulness=faithfulness or some_faithfulness(),
        seconds=1.5,
        text=text,
        words=words,
        read=len(words) if read is None else read,
    )
    return {**explanation.document(), **changes}
