"""Time and memory of attention against length, in logarithms, where a power law is a line."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullFormatter, NullLocator

from qkv.figures.style import (
    BLUE,
    GREEN,
    INK,
    MUTED,
    ORANGE,
    VERMILLION,
    house_style,
    new_figure,
    note_at,
    settle,
)

_MIB = 2**20
_MAX_TICKS = 6
# Of the height of the axes: from one label at the right to the next.
_LABEL_GAP = 0.062
# Of the decades shown: room at the foot, where no curve runs behind the crossings' names.
_FOOT = 0.16


class _Look(NamedTuple):
    label: str
    colour: str
    marker: str


_LOOKS = {
    "plain": _Look("plain softmax", VERMILLION, "o"),
    "fused": _Look("fused softmax", ORANGE, "s"),
    "causal_linear": _Look("causal linear", GREEN, "^"),
    "linear": _Look("linear", BLUE, "D"),
}
_DASHES: dict[str, tuple[float, Sequence[float]] | Literal["-"]] = {
    "forward": "-",
    "train": (0, (4, 2)),
}


class _Curve(NamedTuple):
    kernel: str
    work: str
    tokens: list[int]
    costs: list[float]
    exponent: float | None


@house_style()
def draw_linear_attention(document: Mapping[str, Any]) -> Figure:
    """Milliseconds beside MiB, a solid line forward and a dashed one with the backward pass.

    At its right end every line is named with its fitted exponent; where the forward pass of linear
    attention catches up with softmax attention, a vertical line stands.
    """
    lengths = document["settings"]["lengths"]
    figure = new_figure(13.5, 6.0)
    time_axes, memory_axes = figure.subplots(1, 2)
    _draw_curves(time_axes, _curves(document, "time", "milliseconds", 1.0))
    _draw_curves(memory_axes, _curves(document, "memory", "extra_bytes", 1 / _MIB))
    _draw_crossings(time_axes, document["crossings"], lengths)
    time_axes.set(title="Time of one call", ylabel="milliseconds")
    memory_axes.set(title="Memory beyond inputs and results", ylabel="MiB")
    for axes in (time_axes, memory_axes):
        _finish(axes, lengths)
    threads = document["machine"]["threads"]
    figure.suptitle(
        f"What attention costs: one head of {document['settings']['head_dim']}, float32, CPU, "
        f"{threads} thread{'s' if threads > 1 else ''}. T^p: {_fitted_over(document)}",
        size=11,
    )
    handles = [
        Line2D([], [], color=MUTED, linestyle=dashes, label=name)
        for dashes, name in zip(_DASHES.values(), ("forward", "forward + backward"), strict=True)
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=2, handlelength=3)
    return settle(figure)


def _curves(document: Mapping[str, Any], cost: str, field: str, unit: float) -> list[_Curve]:
    fits = {(fit["kernel"], fit["work"]): fit[cost] for fit in document["exponents"]}
    curves = []
    for kernel, work in itertools.product(_LOOKS, _DASHES):
        # A cost of nothing has no place in logarithms.
        points = {
            row["tokens"]: row[field] * unit
            for row in document["measurements"]
            if (row["kernel"], row["work"]) == (kernel, work) and row[field]
        }
        if points:
            fit = fits.get((kernel, work))
            exponent = None if fit is None else fit["exponent"]
            curves.append(_Curve(kernel, work, [*points], [*points.values()], exponent))
    return curves


def _draw_curves(axes: Axes, curves: Sequence[_Curve]) -> None:
    axes.set(xscale="log", yscale="log")
    if not curves:
        axes.text(0.5, 0.5, "nothing measured", transform=axes.transAxes, ha="center", color=MUTED)
        return
    for curve in curves:
        look = _LOOKS[curve.kernel]
        (line,) = axes.plot(curve.tokens, curve.costs, color=look.colour, linewidth=1.6)
        line.set(linestyle=_DASHES[curve.work], marker=look.marker, markersize=5)
        line.set(markeredgecolor="white", markeredgewidth=0.6)
    costs = [cost for curve in curves for cost in curve.costs]
    low, high = np.log10(min(costs)), np.log10(max(costs))
    decades = max(high - low, 0.5)
    bottom, top = low - _FOOT * decades, high + 0.05 * decades
    axes.set_ylim(10**bottom, 10**top)
    _label_ends(axes, curves, bottom, top)


def _label_ends(axes: Axes, curves: Sequence[_Curve], bottom: float, top: float) -> None:
    """Names and exponents right of the axes, in the order of the ends, none upon another.

    Where a curve ends before others do, a faint dotted line leads to its name, which says so: a
    line of its own colour would look like more of the curve.
    """
    longest = max(curve.tokens[-1] for curve in curves)
    ordered = sorted(curves, key=lambda curve: curve.costs[-1])
    ends = [(np.log10(curve.costs[-1]) - bottom) / (top - bottom) for curve in ordered]
    for curve, height in zip(ordered, _spread(ends, _LABEL_GAP), strict=True):
        look = _LOOKS[curve.kernel]
        name = look.label + (", + backward" if curve.work == "train" else "")
        slope = "" if curve.exponent is None else f": T^{curve.exponent:.2f}"
        whole = curve.tokens[-1] == longest
        until = "" if whole else f" (to {curve.tokens[-1]:,})"
        axes.annotate(
            name + slope + until,
            (curve.tokens[-1], curve.costs[-1]),
            (1.05, height),
            textcoords="axes fraction",
            va="center",
            color=INK,
            arrowprops={
                "arrowstyle": "-",
                "color": look.colour if whole else MUTED,
                "linewidth": 0.9,
                "linestyle": _DASHES[curve.work] if whole else (0, (1, 4)),
                "shrinkA": 2,
                "shrinkB": 3,
                "relpos": (0, 0.5),
            },
        )


def _spread(heights: Sequence[float], gap: float) -> list[float]:
    """Ascending heights moved to be `gap` or more apart, and by as little as can be.

    Least squares under that condition: with i·gap taken off the i-th height the rest must ascend,
    and runs that do not are levelled to their mean (Ayer et al. 1955).
    """
    runs: list[tuple[float, int]] = []
    for index, height in enumerate(heights):
        mean, size = height - index * gap, 1
        while runs and runs[-1][0] > mean:
            before, count = runs.pop()
            mean, size = (before * count + mean * size) / (count + size), count + size
        runs.append((mean, size))
    levels = [mean for mean, size in runs for _ in range(size)]
    return [level + index * gap for index, level in enumerate(levels)]


def _draw_crossings(
    axes: Axes, crossings: Sequence[Mapping[str, Any]], lengths: Sequence[int]
) -> None:
    found = [one for one in crossings if one["tokens"] is not None and one["slower_at"] is not None]
    middle = (lengths[0] * lengths[-1]) ** 0.5
    for row, one in enumerate(sorted(found, key=lambda one: one["tokens"])):
        look, left = _LOOKS[one["against"]], one["tokens"] > middle
        axes.axvline(one["tokens"], color=look.colour, linewidth=1.1, linestyle=":", zorder=1)
        note_at(
            axes,
            f"linear overtakes {one['against']} at T = {one['tokens']:,}",
            (one["tokens"], 0.08 - 0.05 * row),
            (-5 if left else 5, 0),
            xycoords=("data", "axes fraction"),
            ha="right" if left else "left",
            va="center",
            size=8.5,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.8},
        )


def _finish(axes: Axes, lengths: Sequence[int]) -> None:
    axes.set_xlim(lengths[0] / 1.25, lengths[-1] * 1.25)
    every = -(-len(lengths) // _MAX_TICKS)
    # Counted from the longest, which matters most.
    axes.xaxis.set_major_locator(FixedLocator([*lengths[::-1][::every]]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0,)))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
    axes.set_xlabel("T (tokens)")
    axes.grid()


def _fitted_over(document: Mapping[str, Any]) -> str:
    fits = [fit[cost] for fit in document["exponents"] for cost in ("time", "memory") if fit[cost]]
    if not fits:
        return "not fitted, fewer than 3 lengths"
    return f"fitted from T = {min(fit['from_tokens'] for fit in fits):,} on"
