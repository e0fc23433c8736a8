"""The unrolled recurrence h_t = x_t − h_(t−1): every state as a row of signs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle
from matplotlib.ticker import MaxNLocator

from qkv.figures.style import (
    BLUE,
    INK,
    MUTED,
    ORANGE,
    house_style,
    new_figure,
    note_at,
    settle,
    short_integer,
)

# Even, so that the last row drawn has the signs of the last row of all.
_MAX_ROWS = 40
_BETWEEN = {1.0: ">", 0.0: "<", 0.5: "="}


@house_style()
def draw_recurrence(document: Mapping[str, Any]) -> Figure:
    """Signs of every x_k in every h_t, beside the values of h_t.

    Of more than 40 steps the first 40 are drawn, and the title says so.
    """
    length = len(document["sequence"])
    values, states = document["sequence"][:_MAX_ROWS], document["states"][:_MAX_ROWS]
    cell = min(0.55, max(0.2, 4.0 / len(values)))  # inches
    side = cell * len(values)
    figure = new_figure(max(8.0, side + 4.6), max(3.6, side + 1.9))
    signs, path = figure.subplots(
        1, 2, sharey=True, width_ratios=(max(side, 1.5), max(3.2, 7.0 - side))
    )
    _draw_signs(signs, values, whole=len(values) == length)
    _draw_path(path, states)
    facts = document["figures"]
    total, even, odd = (short_integer(facts[key], 12) for key in ("h_T", "even_sum", "odd_sum"))
    title = (
        f"h_T = {total}, so the output is {facts['output']:g}: "
        f"even sum {even} {_BETWEEN[facts['output']]} odd sum {odd}"
    )
    if length > len(values):
        title += f"\n(the first {len(values)} of T = {length:,} steps are drawn)"
    figure.suptitle(title, size=11)
    handles = [
        Patch(facecolor=BLUE, label="+  x_k is added"),
        Patch(facecolor=ORANGE, label="−  x_k is subtracted"),
    ]
    figure.legend(handles=handles, loc="outside lower left", ncols=2)
    return settle(figure)


def _draw_signs(axes: Axes, values: Sequence[int], *, whole: bool) -> None:
    count = len(values)
    size = 14 if count <= 8 else 9 if count <= 20 else 6
    for t in range(1, count + 1):
        for k in range(1, t + 1):
            added = (t - k) % 2 == 0
            colour = BLUE if added else ORANGE
            axes.add_patch(Rectangle((k - 0.5, t - 0.5), 1, 1, facecolor=colour, edgecolor="white"))
            sign, ink = ("+", "white") if added else ("−", INK)
            axes.text(k, t, sign, color=ink, size=size, ha="center", va="center_baseline")
    if whole:
        axes.add_patch(
            Rectangle((0.5, count - 0.5), count, 1, fill=False, edgecolor=INK, linewidth=1.8)
        )
    labels = [short_integer(value, 8) for value in values]
    axes.xaxis.tick_top()
    axes.xaxis.set_label_position("top")
    axes.set_xticks(
        range(1, count + 1),
        labels,
        rotation=90 if count > 8 or max(map(len, labels)) > 3 else 0,
        size=9 if count <= 20 else 7.5,
    )
    names = [f"h_{t}" if t < count or not whole else f"h_{t} = h_T" for t in range(1, count + 1)]
    axes.set_yticks(range(1, count + 1), names, size=9 if count <= 20 else 7.5)
    axes.set(xlim=(0.5, count + 0.5), ylim=(count + 0.5, 0.5))
    axes.set_xlabel(f"x_1 to x_{'T' if whole else count}, in order", labelpad=9)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def _draw_path(axes: Axes, states: Sequence[int]) -> None:
    """h_t from left to right, time downwards, each on the row of its signs."""
    # Integers may be beyond any float; quotients of them are not.
    power = len(str(max(map(abs, states)))) - 1
    unit = 10**power if power >= 6 else 1
    scaled = [state / unit for state in states]
    rows = range(1, len(states) + 1)
    axes.axvline(0, color=MUTED, linewidth=0.8)
    axes.plot(scaled, rows, color=MUTED, linewidth=0.8, zorder=1)
    axes.scatter(scaled, rows, color=INK, s=22 if len(states) <= 20 else 10, zorder=2)
    size = 9 if len(states) <= 20 else 7
    for row, value, state in zip(rows, scaled, states, strict=True):
        note_at(
            axes,
            short_integer(state, 10),
            (value, row),
            (6 if state >= 0 else -6, 0),
            ha="left" if state >= 0 else "right",
            va="center",
            size=size,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.6, "alpha": 0.8},
        )
    reach = max(map(abs, scaled)) or 1.0
    axes.set_xlim(-1.5 * reach, 1.5 * reach)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=unit == 1))
    axes.tick_params(axis="y", length=0, labelleft=False)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x")
    axes.set_xlabel("h_t = x_t − h_(t−1)" + (f", in units of 10^{power}" if unit > 1 else ""))
