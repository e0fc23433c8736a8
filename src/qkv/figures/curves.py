"""Loss and accuracy while a model learns."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from qkv.figures.style import BLUE, GREEN, MUTED, ORANGE, SKY, house_style, new_figure, settle

Points = tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]

# Split → what the legend says, colour, marker, and where in its epoch a figure belongs: training
# figures are means over the epoch, the others are measured at its end.
_SPLITS = {
    "train": ("train, mean of epoch", BLUE, "o", -0.5),
    "validation": ("validation, end of epoch", ORANGE, "s", 0.0),
    "test": ("test, end of epoch", GREEN, "^", 0.0),
}
_MARKED_EPOCHS = 30
_NO_POINTS: Points = (np.empty(0), np.empty(0))


@house_style()
def draw_curves(
    log_steps: Sequence[Mapping[str, Any]], epochs: Sequence[Mapping[str, Any]]
) -> Figure:
    """Loss (each logged step, smoothed, and by epoch) beside accuracy by epoch.

    Args:
        log_steps: the "step" lines of log.jsonl: `step`, `epoch`, `loss`. A step that a resumed
            run logged twice counts once, the later line.
        epochs: the epochs of run.json; figures that are absent, None or not finite are left out.
    """
    # The smallest number of steps an epoch that agrees with every logged (step, epoch).
    least = (math.ceil(line["step"] / line["epoch"]) for line in log_steps) if epochs else ()
    steps_an_epoch = max((1, *least))
    unit = "Epoch" if epochs else "Step"
    figure = new_figure(10, 4.6)
    loss_axes, accuracy_axes = figure.subplots(1, 2)

    steps = _points(log_steps, "step", "loss")
    steps = (steps[0] / steps_an_epoch, steps[1])
    # Many epochs are themselves a smooth line; a second one would only hide it.
    smooth = _smoothed(steps) if len(epochs) <= _MARKED_EPOCHS else _NO_POINTS
    if len(steps[0]):
        label = "train, each logged step"
        loss_axes.plot(*steps, color=SKY, alpha=0.45, linewidth=0.9, label=label)
    if len(smooth[0]):
        loss_axes.plot(*smooth, color=BLUE, linewidth=1.6, label="train, smoothed")
    loss_by_epoch = _draw_epochs(loss_axes, epochs, "loss")
    _draw_epochs(accuracy_axes, epochs, "accuracy")

    _limit_loss(loss_axes, steps[1], np.concatenate([smooth[1], loss_by_epoch]))
    _limit_accuracy(accuracy_axes)
    for axes, title in ((loss_axes, "Loss (nats)"), (accuracy_axes, "Accuracy")):
        axes.set_title(title)
        _finish(axes, unit)
    return settle(figure)


def _finish(axes: Axes, unit: str) -> None:
    axes.set_xlabel(unit)
    axes.grid()
    axes.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True))
    handles, labels = axes.get_legend_handles_labels()
    if not handles:
        axes.text(0.5, 0.5, "no epoch finished", transform=axes.transAxes, ha="center", color=MUTED)
        axes.set(xticks=[], yticks=[])
        return
    axes.set_xlim(left=0)
    # Below the axes, where no curve can run behind it.
    axes.legend(
        handles, labels, loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=2, handlelength=1.8
    )


def _draw_epochs(
    axes: Axes, epochs: Sequence[Mapping[str, Any]], measure: str
) -> npt.NDArray[np.float64]:
    """Draw `measure` of every split against the epoch; return all values drawn."""
    drawn = [np.empty(0)]
    for split, (label, colour, marker, shift) in _SPLITS.items():
        x, y = _points(epochs, "epoch", f"{split}_{measure}")
        if not len(x):
            continue
        marked = len(epochs) <= _MARKED_EPOCHS
        axes.plot(
            x + shift,
            y,
            color=colour,
            marker=marker if marked else None,
            markersize=6,
            markeredgecolor="white",
            linewidth=1.4,
            # Chords between the means would contradict the curve of the steps they average.
            linestyle="none" if split == "train" and measure == "loss" and marked else "-",
            label=label,
            zorder=3,
        )
        drawn.append(y)
    return np.concatenate(drawn)


def _points(lines: Sequence[Mapping[str, Any]], x: str, y: str) -> Points:
    """Finite values of `y` against `x`, sorted, the last line of each x."""
    values: dict[float, float] = {}
    for line in lines:
        value = line.get(y)
        values.pop(line[x], None)
        if value is not None and math.isfinite(value):
            values[line[x]] = value
    pairs = np.array(sorted(values.items()), dtype=np.float64).reshape(-1, 2)
    return pairs[:, 0], pairs[:, 1]


def _smoothed(points: Points) -> Points:
    """Centred moving mean, its window growing as the root of the points; none if they are few."""
    x, y = points
    if len(y) < 10:
        return _NO_POINTS
    half = max(1, round(math.sqrt(len(y)) / 4))
    sums = np.concatenate([[0.0], np.cumsum(y)])
    first = np.maximum(np.arange(len(y)) - half, 0)
    past = np.minimum(np.arange(len(y)) + half + 1, len(y))
    return x, (sums[past] - sums[first]) / (past - first)


def _limit_loss(axes: Axes, raw: npt.NDArray[np.float64], kept: npt.NDArray[np.float64]) -> None:
    """Show every curve whole, but let a lone spike of one step run out of the picture."""
    if not len(raw) + len(kept):
        return
    tops = [2 * kept.max() if len(kept) else np.inf, raw.max() if len(raw) else np.inf]
    top = max(min(tops), kept.max() if len(kept) else 0.0)
    axes.set_ylim(0, 1.05 * top if top > 0 else 1.0)


def _limit_accuracy(axes: Axes) -> None:
    values = np.concatenate([np.empty(0), *(np.asarray(line.get_ydata()) for line in axes.lines)])
    if not len(values):
        return
    low, high = float(values.min()), float(values.max())
    # At least ten points from bottom to top, so that noise does not look like progress.
    margin = max(0.02, (0.1 - (high - low)) / 2, 0.06 * (high - low))
    axes.set_ylim(max(0.0, low - margin), min(1.0, high + margin) + 0.004)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.3g} %"))
