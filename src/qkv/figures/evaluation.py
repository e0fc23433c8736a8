"""What an evaluation shows: confusions, and whether a model is right as often as it says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.text import Text
from matplotlib.ticker import FuncFormatter, MaxNLocator

from qkv.errors import ShapeError
from qkv.figures.style import (
    BLUE,
    INK,
    MUTED,
    SKY,
    VERMILLION,
    Sheet,
    house_style,
    ink_on,
    new_figure,
    percent,
    settle,
    short_name,
    tilt_names,
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
    hatched: dict[str, Any] = {"facecolor": "none", "edgecolor": VERMILLION, "hatch": "////"}
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

    sizes = [entry["count"] for entry in filled]
    bars = counts.bar(left, sizes, widths, align="edge", color=MUTED, ec="white")
    counts.bar_label(bars, [_brief(size) for size in sizes], padding=1, size=6.5)
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


_POINTS = 72.0  # an inch
_NAME_LIMIT = 28
_SMALLEST_NUMBER = 4.5  # points; smaller counts are left out


@house_style()
def draw_confusion(
    confusion_matrix: Sequence[Sequence[int]] | npt.NDArray[np.integer], class_names: Sequence[str]
) -> Figure:
    """The confusion matrix: colour is the share of the true class, text the count.

    Counts are left out where cells are too small for them, and names are thinned out beyond what
    can be read (about 110 classes). The colour scale is the square root of the share, so that rare
    confusions show.

    Args:
        confusion_matrix: (classes, classes) counts, row the true class, column the predicted one.
        class_names: the name of each class, in label order.

    Raises:
        ShapeError: the matrix is not square or does not match the names.
    """
    counts = np.asarray(confusion_matrix)
    classes = len(class_names)
    if classes == 0 or counts.shape != (classes, classes):
        raise ShapeError(
            f"confusion matrix of shape {counts.shape} for {classes} classes",
            remedy="pass (classes, classes) counts and one name a class",
        )
    side = max(2.4, min(0.6 * classes, 6 + 0.06 * classes, 12.0))  # inches
    cell = _POINTS * side / classes
    name_size = float(np.clip(0.72 * cell, 5.0, 9.5))
    every = int(np.ceil(1.15 * name_size / cell))
    names = [short_name(name, _NAME_LIMIT) for name in class_names]

    # Placed by measured text, in inches: an automatic layout would shrink the cells that the
    # text sizes were chosen for.
    width, height = _largest_text(names[::every], name_size)
    tilt = 0 if width < 0.9 * cell / _POINTS else 45 if 1.5 * height < cell / _POINTS else 90
    drop = {0: height, 45: (width + height) * np.sqrt(0.5), 90: width}[tilt]
    left, right, bottom, top = width + 0.55, 1.15, drop + 0.5, 0.4
    sheet = Sheet(left + side + right, bottom + side + top)
    axes = sheet.axes(left, top, side, side)

    supports = counts.sum(axis=1, keepdims=True)
    shares = counts / np.maximum(supports, 1)
    image = axes.imshow(shares, cmap="Blues", norm=PowerNorm(0.5, 0, 1), interpolation="nearest")
    axes.spines[:].set_visible(True)
    ticks = range(0, classes, every)
    axes.set_xticks(ticks, names[::every], fontsize=name_size)
    axes.set_yticks(ticks, names[::every], fontsize=name_size)
    if tilt:
        tilt_names(axes, tilt)
    axes.tick_params(length=2 if every == 1 else 3)
    axes.set_title("Confusion matrix")
    below = top + side + bottom - 0.12
    sheet.write(left + side / 2, below, "Predicted", "baseline", ha="center", size=10)
    sheet.write(0.12, top + side / 2, "Truth", "center", rotation=90, size=10)
    _write_counts(axes, image, counts, shares, cell)
    bar_axes = sheet.axes(left + side + 0.2, top, 0.16, side)
    bar = sheet.figure.colorbar(image, cax=bar_axes, label="Share of the true class")
    bar.set_ticks([0, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 1])
    bar.ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.0f} %"))
    return settle(sheet.figure)


def _write_counts(
    axes: Axes,
    image: AxesImage,
    counts: npt.NDArray[np.integer],
    shares: npt.NDArray[np.float64],
    cell_points: float,
) -> None:
    digits = len(str(int(counts.max())))
    size = min(9.0, 0.5 * cell_points, 0.88 * cell_points / (0.64 * digits))
    if size < _SMALLEST_NUMBER:
        return
    colours = np.asarray(image.cmap(image.norm(shares)))
    for (row, column), count in np.ndenumerate(counts):
        ink = ink_on(colours[row, column]) if count else MUTED
        axes.text(column, row, str(count), ha="center", va="center", size=size, color=ink)


def _largest_text(texts: Sequence[str], size: float) -> tuple[float, float]:
    """Width and height in inches of the widest and of the highest of `texts`."""
    figure = new_figure(1, 1, layout=False)
    extents = [
        figure.add_artist(Text(0, 0, text, fontsize=size, figure=figure)).get_window_extent()
        for text in texts
    ]
    return (
        max(extent.width for extent in extents) / figure.dpi,
        max(extent.height for extent in extents) / figure.dpi,
    )
