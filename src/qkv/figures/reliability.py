"""Whether a model is right as often as it says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from qkv.figures.style import INK, MUTED, SKY, VERMILLION, house_style, new_figure, percent, settle


@house_style()
def draw_reliability(calibration: Mapping[str, Any]) -> Figure:
    """Accuracy against confidence, with the gap between them, above the number of examples.

    Args:
        calibration: the `calibration` part of an evaluation document.
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
    axes.bar(
        left,
        gaps,
        widths,
        bottom=accuracy,
        align="edge",
        facecolor="none",
        edgecolor=VERMILLION,
        hatch="////",
        linewidth=1.0,
        label="gap to mean confidence",
    )
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
        counts.annotate(
            _brief(entry["count"]),
            (middle, entry["count"]),
            (0, 2),
            textcoords="offset points",
            ha="center",
            size=6.5,
        )
    counts.margins(y=0.2)
    counts.yaxis.set_major_locator(MaxNLocator(nbins=4, integer=True))
    counts.yaxis.set_major_formatter(FuncFormatter(lambda value, _: _brief(int(value))))
    counts.set(xlabel="Confidence (probability of the predicted class)", ylabel="Examples")
    for panel in (axes, counts):
        panel.grid(color="#DDDDDD", linewidth=0.6)
    return settle(figure)


def _brief(count: int) -> str:
    """A count in at most five characters."""
    if count < 100_000:
        return str(count)
    return f"{count / 1000:.0f}k" if count < 1_000_000 else f"{count / 1e6:.1f}M"
