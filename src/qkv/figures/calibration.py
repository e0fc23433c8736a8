"""Whether a model is right as often as it says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from qkv.figures.style import (
    BLUE,
    INK,
    MUTED,
    SKY,
    VERMILLION,
    house_style,
    new_figure,
    note_at,
    percent,
    settle,
)


@house_style()
def draw_reliability(calibration: Mapping[str, Any]) -> Figure:
    """Accuracy against confidence, with their gap, above the number of examples.

    `calibration` is the part of that name of an evaluation document.
    """
    bins = calibration["bins"]
    filled = [entry for entry in bins if entry["count"]]
    left = [entry["lower"] for entry in filled]
    widths = [entry["upper"] - entry["lower"] for entry in filled]
    accuracy = [entry["accuracy"] for entry in filled]
    gaps = [entry["confidence"] - entry["accuracy"] for entry in filled]

    figure = new_figure(5.4, 6.2)
    axes, counts = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    axes.bar(left, accuracy, widths, align="edge", color=SKY, edgecolor="white", label="accuracy")
    hatched: dict[str, Any] = {
        "facecolor": "none",
        "edgecolor": VERMILLION,
        "hatch": "////",
        "linewidth": 1.0,
    }
    label = "gap to mean confidence"
    axes.bar(left, gaps, widths, bottom=accuracy, align="edge", label=label, **hatched)
    axes.plot([0, 1], [0, 1], color=INK, linestyle="--", linewidth=1, label="perfectly calibrated")
    axes.set(xlim=(0, 1), ylim=(0, 1), ylabel="Accuracy")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, 1.1), ncols=3, columnspacing=1.2)
    axes.set_title(
        f"Expected calibration error {percent(calibration['expected_calibration_error'], 2)}, "
        f"Brier score {calibration['brier']:.4f}",
        pad=26,
    )

    counts.bar(
        left, [entry["count"] for entry in filled], widths, align="edge", color=MUTED, ec="white"
    )
    for entry in filled:
        middle = (entry["lower"] + entry["upper"]) / 2
        note_at(
            counts, _brief(entry["count"]), (middle, entry["count"]), (0, 2), ha="center", size=6.5
        )
    counts.margins(y=0.2)
    counts.yaxis.set_major_locator(MaxNLocator(nbins=4, integer=True))
    counts.yaxis.set_major_formatter(FuncFormatter(lambda value, _: _brief(int(value))))
    counts.set(xlabel="Confidence (probability of the predicted class)", ylabel="Examples")
    for panel in (axes, counts):
        panel.grid()
    return settle(figure)


def _brief(count: int) -> str:
    """A count in at most five characters."""
    if count < 100_000:
        return str(count)
    return f"{count / 1000:.0f}k" if count < 1_000_000 else f"{count / 1e6:.1f}M"


@house_style()
def draw_accuracy_by_length(document: Mapping[str, Any]) -> Figure:
    """Accuracy with its 95 % interval by length, from `qkv.evaluation.accuracy_by_length`."""
    bins, overall = document["bins"], document["accuracy"]
    ends = [dict.fromkeys(f"{entry[end]:,}" for end in ("shortest", "longest")) for entry in bins]
    ranges = [" – ".join(two) for two in ends]  # one number where both are equal
    each = max(0.86, 0.2 + 0.068 * max(map(len, ranges)))  # inches, so that ranges stay apart
    figure = new_figure(max(4.8, 1.2 + each * len(bins)), 4.4)
    axes = figure.subplots()
    places = range(len(bins))
    shares = [entry["accuracy"] for entry in bins]
    intervals = [entry["accuracy_interval_95"] for entry in bins]
    lows, highs = np.transpose(intervals)
    reaches = np.maximum(0.0, [shares - lows, highs - shares])
    axes.axhline(
        overall, color=INK, linestyle="--", linewidth=1, label=f"all texts {percent(overall, 1)}"
    )
    look: dict[str, Any] = {"fmt": "o", "color": BLUE, "markersize": 7, "markeredgecolor": "white"}
    label = "of this length, with 95 % interval"
    axes.errorbar(places, shares, reaches, elinewidth=1.6, capsize=4, label=label, **look)
    names = [f"{one}\n({entry['count']:,})" for one, entry in zip(ranges, bins, strict=True)]
    axes.set_xticks(places, names)
    axes.tick_params(axis="x", length=0)
    axes.set_xlim(-0.6, len(bins) - 0.4)
    lowest, highest = lows.min(), highs.max()
    room = 0.08 * max(0.02, highest - lowest)
    # Above 1 too, so that points at the very top are whole; the ticks end there.
    low, high = max(0.0, lowest - room), highest + room
    ticks = MaxNLocator(nbins=7, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)
    axes.set_yticks([tick for tick in ticks if low <= tick <= min(high, 1.0)])
    axes.set_ylim(low, high)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.4g} %"))
    axes.set(ylabel="Accuracy", xlabel="Length in tokens (and how many texts are that long)")
    axes.grid(axis="y")
    axes.set_title("Accuracy by length of the text", pad=26)
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)
    return settle(figure)
