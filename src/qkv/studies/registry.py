"""Every study by name, and what draws it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Study:
    """A named study.

    Attributes:
        name: what the command line calls it, and its figure's file.
        summary: its question, in one line.
        draw: makes the figure from the study's document alone.
    """

    name: str
    summary: str
    draw: Callable[[Mapping[str, Any]], Figure]


# Imported when drawn, so that listing the studies does not wait for matplotlib.
def _draw_recurrence(document: Mapping[str, Any]) -> Figure:
    from qkv.figures.recurrence import draw_recurrence

    return draw_recurrence(document)


def _draw_copying(document: Mapping[str, Any]) -> Figure:
    from qkv.figures.copying import draw_copying

    return draw_copying(document)


def _draw_quality(document: Mapping[str, Any]) -> Figure:
    from qkv.figures.quality import draw_quality

    return draw_quality(document)


def _draw_linear_attention(document: Mapping[str, Any]) -> Figure:
    from qkv.figures.linear_attention import draw_linear_attention

    return draw_linear_attention(document)


STUDIES: dict[str, Study] = {
    study.name: study
    for study in (
        Study(
            "recurrence",
            "what a one-number recurrent network computes, step by step and in closed form",
            _draw_recurrence,
        ),
        Study(
            "copying",
            "how fast attention without weights becomes a copy as its tokens grow",
            _draw_copying,
        ),
        Study(
            "linear-attention",
            "time and memory of linear against softmax attention, and from which length it pays",
            _draw_linear_attention,
        ),
        Study(
            "quality",
            "the same small ViT trained with softmax and with linear attention: accuracy and time",
            _draw_quality,
        ),
    )
}
