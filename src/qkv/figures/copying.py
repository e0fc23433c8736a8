"""The copy errors of the study "copying" beside the law e^(−β²)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from qkv.figures.style import BLUE, INK, MUTED, VERMILLION, house_style, new_figure, note_at, settle

# x1 and x3 mirror each other: one curve serves both, and x1's points.
_DRAWN = ((0, "x1 and x3", BLUE, "o", "1"), (1, "x2", VERMILLION, "s", "√10"))
_FLOORS = (
    (-15.65, "below: lost in rounding when x is subtracted from y"),
    (-307.65, "below: smaller than float64 can hold"),
)
_ACROSS = {"xycoords": ("axes fraction", "data")}
_SUPERSCRIPTS = str.maketrans("−0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


@house_style()
def draw_copying(document: Mapping[str, Any]) -> Figure:
    """Relative errors against β, exact and measured, with the law; and their ratios to it."""
    figure = new_figure(10.5, 5.0)
    errors, ratios = figure.subplots(1, 2, width_ratios=(1.25, 1))
    curves, points = document["curves"], document["points"]
    law: dict[str, Any] = {"color": INK, "linestyle": "--", "linewidth": 1, "label": "law e^(−β²)"}
    errors.plot(curves["beta"], curves["log10_law"], zorder=2.5, **law)
    for token, name, colour, marker, limit in _DRAWN:
        own = [point for point in points if point["token"] == token + 1]
        look = {"color": colour, "marker": marker, "linestyle": "none", "markersize": 6.5}
        label = f"{name}, exact"
        errors.plot(curves["beta"], curves["log10_error"][token], color=colour, label=label)
        ratios.plot(curves["beta"], curves["error_over_law"][token], color=colour)
        seen = [point for point in own if point["error_over_law"] is not None]
        betas = [point["beta"] for point in seen]
        ratio = [point["error_over_law"] for point in seen]
        measured = np.log10(ratio) - np.square(betas) / math.log(10)
        edge = {"markeredgecolor": "white", "zorder": 3}
        if seen:
            errors.plot(betas, measured, label=f"{name}, measured", **look, **edge)
            ratios.plot(betas, ratio, **look, **edge)
        unseen = [point for point in own if point["error_over_law"] is None]
        if unseen:
            at, exact = zip(*((p["beta"], p["log10_error"]) for p in unseen), strict=True)
            label = f"{name}, not measurable"
            errors.plot(at, exact, label=label, fillstyle="none", **look)
        level = document["figures"]["limits_of_error_over_law"][token]
        ratios.axhline(level, color=colour, linewidth=0.9, linestyle=":")
        place = (0.99, level)
        note_at(ratios, f"limit {limit}", place, (0, 8), **_ACROSS, ha="right", color=colour)
    errors.set(title="Copy error as a share of the token's length", ylabel="‖y − x‖ / ‖x‖")
    ratios.set_title("The same over e^(−β²)")
    errors.yaxis.set_major_locator(MaxNLocator(nbins=8, integer=True))
    errors.yaxis.set_major_formatter(FuncFormatter(_power_of_ten))
    lowest = min(point["log10_error"] for point in points)
    errors.set_ylim(min(1.08 * lowest, -1.0), 0.5 if lowest > -20 else 0.02 * -lowest)
    ratios.set_ylim(0, 3.6)
    _draw_floors(errors)
    for axes in (errors, ratios):
        _finish(axes, curves["beta"])
    legend = errors.get_legend_handles_labels()
    columns = 5 if len(legend[0]) <= 5 else 4
    figure.legend(*legend, loc="outside lower center", ncols=columns)
    return settle(figure)


def _draw_floors(axes: Axes) -> None:
    """Where float64 ends, in one way and in the other, if the figure reaches as far."""
    bottom, top = axes.get_ylim()
    for level, text in _FLOORS:
        # Two such lines in the top of a deep figure would run into each other.
        if bottom < level and (top - level) > 0.04 * (top - bottom):
            axes.axhline(level, color=MUTED, linewidth=0.9, linestyle="-.")
            look = {"va": "top", "color": MUTED, "size": 8}
            note_at(axes, text, (0.015, level), (0, -3), **_ACROSS, **look)


def _finish(axes: Axes, grid: list[float]) -> None:
    # The study spaces its grid evenly, or by ratio where the β lie far apart.
    if grid[2] - grid[1] > 1.001 * (grid[1] - grid[0]):
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set(xlim=(grid[0], grid[-1]), xlabel="β, the norm of a, b, c and d")
    axes.grid()


def _power_of_ten(value: float, _: int) -> str:
    return f"10{f'{value:.0f}'.replace('-', '−').translate(_SUPERSCRIPTS)}"
