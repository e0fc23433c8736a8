"""The colours and words that all drawn explanations share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colorbar import Colorbar
from matplotlib.colors import LinearSegmentedColormap, Normalize

from qkv.errors import ShapeError
from qkv.figures.style import BLUE, INK, MUTED, VERMILLION, note_at, percent, short_name

# As on the page: orange speaks against a class, and blue for it. What cannot tell for from against
# has a colour of its own, so that nobody takes it for either.
SIGNED = LinearSegmentedColormap.from_list(
    "against_for", [VERMILLION, "#F4B183", "#FFFFFF", "#8CC3E3", BLUE]
)
UNSIGNED = LinearSegmentedColormap.from_list(
    "least_most", ["#FFFFFF", "#D3CCF0", "#A394E0", "#6A51C9"]
)
_OTHERS = "#C9C9C9"
_MOST_BARS = 6
_NAME_LIMIT = 16


def colours_of(values: Any, *, signed: bool) -> ScalarMappable:
    """From contributions to colours: white is none or least of it, the ends are the strongest.

    Blue speaks for the class, orange against it; violet is for what has no sign. If `signed`, 0 is
    in the middle.

    Raises:
        ShapeError: there is no value, or one is not finite.
    """
    numbers = np.asarray(values, dtype=np.float64)
    if numbers.size == 0 or not np.isfinite(numbers).all():
        raise ShapeError(
            f"{numbers.size} contributions, or not all finite",
            remedy="draw what has at least one part, and a finite number for each",
        )
    if signed:
        reach = float(np.abs(numbers).max()) or 1.0
        return ScalarMappable(Normalize(-reach, reach), SIGNED)
    low, high = float(numbers.min()), float(numbers.max())
    if 0 < low < high / 4:  # so that white is nothing, unless all differences would be lost
        low = 0.0
    return ScalarMappable(Normalize(low, high if high > low else low + 1.0), UNSIGNED)


def label_bar(bar: Colorbar, unit: str, *, signed: bool) -> None:
    """Say on a colour bar what its colours mean."""
    low, high = bar.mappable.get_clim()
    assert low is not None, "colours of contributions have their limits"
    assert high is not None
    ticks = [low, 0.0, high] if signed else [low, high]
    names = [short_number(tick, signed=signed) for tick in ticks]
    if signed:
        names = [f"{names[0]} against", "0", f"{names[2]} for"]
    bar.set_ticks(ticks, labels=names)
    bar.ax.minorticks_off()
    bar.ax.tick_params(length=0, labelsize=8.5)
    bar.ax.spines[:].set(edgecolor=MUTED, linewidth=0.6)
    level = bar.orientation == "horizontal"
    # Beside an upright bar stands the number of its end, and needs room below the title.
    size, pad = (8.5, 5.0) if level else (9.0, 13.0)
    bar.ax.set_title(short_name(unit, 40), size=size, color=MUTED, loc="left", pad=pad)
    if level:
        # Words at the ends stay between the ends.
        labels = bar.ax.get_xticklabels()
        labels[0].set_horizontalalignment("left")
        labels[-1].set_horizontalalignment("right")


def short_number(value: float, *, signed: bool) -> str:
    """A contribution with two figures that count; a sign where signs mean something."""
    text = f"{value:+.2g}" if signed and value else f"{value:.2g}"
    return text.replace("-", "−")


def share_of_one(share: float) -> str:
    """A probability as a percentage; `0 %` and `100 %` only where it is just that."""
    return "< 0.1 %" if 0 < share < 0.0005 else percent(share, 1)


def headline(document: Mapping[str, Any]) -> str:
    """The explained class and its probability; the answer too where that is another class."""
    label, probabilities = document["label"], document["probabilities"]
    text = f"{short_name(label, 34)}, {share_of_one(document['probability'])}"
    answer = max(probabilities, key=probabilities.__getitem__)
    if answer == label:
        return text
    other = f"{short_name(answer, 34)}, {share_of_one(probabilities[answer])}"
    return f"{text}  (the answer is {other})"


def method_title(document: Mapping[str, Any]) -> str:
    """What a map or a shading shows, and by which method."""
    shows = "What speaks for it" if document["signed"] else "What counts"
    return f"{shows}: {method_name(document['method'])}"


def method_name(method: str) -> str:
    """A key of the method tables as words."""
    return method.replace("_", " ").replace("-", " ")


def draw_top_classes(axes: Axes, document: Mapping[str, Any]) -> None:
    """Bars of the most probable classes, the explained one among them and in colour."""
    probabilities: Mapping[str, float] = document["probabilities"]
    label = document["label"]
    names = sorted(probabilities, key=lambda name: -probabilities[name])[:_MOST_BARS]
    if label not in names:
        names[-1] = label
    places = range(len(names))
    colours = [BLUE if name == label else _OTHERS for name in names]
    axes.barh(places, [probabilities[name] for name in names], height=0.72, color=colours)
    for place, name in zip(places, names, strict=True):
        share = probabilities[name]
        within = share > 0.6  # where the bar is long enough to hold its number
        note_at(
            axes,
            share_of_one(share),
            (share, place),
            (-5 if within else 4, 0),
            ha="right" if within else "left",
            va="center",
            size=8.5,
            color="white" if within and name == label else INK,
        )
    axes.set_yticks(places, [short_name(name, _NAME_LIMIT) for name in names])
    for tick, name in zip(axes.get_yticklabels(), names, strict=True):
        tick.set_fontweight("bold" if name == label else "normal")
    axes.set_ylim(max(len(names), 2) - 0.4, -0.6)
    axes.set(xlim=(0, 1), xticks=[])
    axes.tick_params(axis="y", length=0)
    axes.spines["bottom"].set_visible(False)
    axes.set_title("Probabilities", size=9, loc="left")
