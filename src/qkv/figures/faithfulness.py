"""How far an explanation can be believed: in a sentence, and as curves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from matplotlib.axes import Axes
from matplotlib.font_manager import FontProperties

from qkv.figures.style import BLUE, INK, MUTED, PALETTE, Sheet
from qkv.figures.text_layout import measure_with, wrapped

_MORE_DECIMALS = 4
_WARNING = PALETTE[9]
_LINE = 0.19  # inches


def faithfulness_sentence(faithfulness: Mapping[str, Any], marks: str = "the map") -> str:
    """What the faithfulness of a document means; `marks` is "the map" or "the shading"."""
    if not faithfulness["beats_random"]:
        mine, chance = _apart(faithfulness["deletion_area"], faithfulness["random_deletion_area"])
        return (
            f"do not believe {marks}: taking away what it marks lowers the probability no sooner "
            f"than at random (mean probability on the way {mine} against {chance})"
        )
    mine, chance = _apart(faithfulness["score"], faithfulness["random_score"])
    if faithfulness["score"] <= faithfulness["random_score"]:
        return (
            f"believe {marks} with care: taking away what it marks lowers the probability sooner "
            f"than at random, but putting it back does not raise it sooner: {mine} against "
            f"{chance} (random)"
        )
    return (
        f"taking away what {marks} marks lowers the probability sooner than at random: "
        f"{mine} against {chance} (random)"
    )


def write_sentence(
    sheet: Sheet,
    place: tuple[float, float],
    width: float,
    faithfulness: Mapping[str, Any],
    marks: str,
) -> None:
    """Write the sentence on as many lines of `width` inches as needed; a warning stands out.

    `place` is inches from the left edge, and from the top to the middle of the sentence.
    """
    sentence = faithfulness_sentence(faithfulness, marks)
    sentence = f"{sentence[0].upper()}{sentence[1:]}."
    good = faithfulness["beats_random"]
    font = FontProperties(size=9.5, weight="normal" if good else "bold")
    lines = wrapped(sentence.split(), width, measure_with(font))
    left, middle = place
    for number, line in enumerate(lines, start=1):
        height = middle + _LINE * (number - (len(lines) + 1) / 2)
        sheet.write(left, height, line, fontproperties=font, color=INK if good else _WARNING)


def draw_curves(
    deletion: Axes, insertion: Axes, faithfulness: Mapping[str, Any], parts: str
) -> None:
    """Probability while parts are taken away, and while they come back, beside random orders.

    The area between an order and random ones is tinted, so that the eye sees what the numbers say:
    they are the areas below the curves. `parts` names what is taken away, in the plural.
    """
    curves = faithfulness["curves"]
    fractions = [100 * fraction for fraction in curves["fractions"]]
    names = ("deletion", "insertion", "random_deletion", "random_insertion")
    highest = max(max(curves[name]) for name in names)
    # The axis ends at 1, or lower where all curves would lie at its foot.
    top = next((top for top in (0.0002, 0.002, 0.02, 0.1, 0.2) if highest <= top), 1.0)
    both = ((deletion, "deletion", "taken away"), (insertion, "insertion", "put back"))
    for axes, name, what in both:
        own, chance = curves[name], curves[f"random_{name}"]
        areas = faithfulness[f"{name}_area"], faithfulness[f"random_{name}_area"]
        area, random_area = _apart(*areas)
        axes.fill_between(fractions, own, chance, color=BLUE, alpha=0.13, linewidth=0)
        look: dict[str, Any] = {"clip_on": False, "label": f"area: this order {area}"}
        # Over the frame, where the probability is 0.
        axes.plot(fractions, own, color=BLUE, linewidth=2.0, zorder=3, **look)
        look |= {"label": f"random {random_area}", "linestyle": (0, (4, 2))}
        axes.plot(fractions, chance, color=MUTED, linewidth=1.3, **look)
        # Above the axes, where it cannot lie upon a curve.
        axes.legend(
            loc="lower left",
            bbox_to_anchor=(-0.04, 1.01),
            ncols=2,
            borderaxespad=0,
            borderpad=0.2,
            columnspacing=0.9,
            handlelength=1.5,
            handletextpad=0.4,
            fontsize=8.3,
        )
        axes.set_xlabel(f"strongest {parts} {what} (%)", size=9)
        axes.set(xlim=(0, 100), ylim=(0, top))
        axes.set(xticks=[0, 25, 50, 75, 100], yticks=[0, top / 2, top])
        axes.grid(axis="y")
    deletion.set_ylabel("probability", size=9)


def _apart(one: float, other: float) -> tuple[str, str]:
    """Two numbers with two decimals, or as many more as tell them apart."""
    decimals = 2
    while decimals < _MORE_DECIMALS and _number(one, decimals) == _number(other, decimals):
        decimals += 1
    return _number(one, decimals), _number(other, decimals)


def _number(value: float, decimals: int) -> str:
    """With a true minus sign, and none before a zero."""
    return f"{value:z.{decimals}f}".replace("-", "−")
