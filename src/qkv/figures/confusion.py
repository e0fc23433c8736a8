"""Which classes a model takes for which."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.text import Text
from matplotlib.ticker import FuncFormatter

from qkv.errors import ShapeError
from qkv.figures.style import MUTED, house_style, ink_on, new_figure, settle, short_name, tilt_names

_POINTS = 72.0  # an inch
_NAME_LIMIT = 28
_SMALLEST_NUMBER = 4.5  # points; smaller counts are left out


@house_style()
def draw_confusion(
    confusion_matrix: Sequence[Sequence[int]] | npt.NDArray[np.integer],
    class_names: Sequence[str],
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
    total = (left + side + right, bottom + side + top)
    figure = new_figure(*total, layout=False)
    axes = figure.add_axes((left / total[0], bottom / total[1], side / total[0], side / total[1]))
    bar_axes = figure.add_axes(
        ((left + side + 0.2) / total[0], bottom / total[1], 0.16 / total[0], side / total[1])
    )

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
    figure.text((left + side / 2) / total[0], 0.12 / total[1], "Predicted", ha="center", size=10)
    figure.text(
        0.12 / total[0], (bottom + side / 2) / total[1], "Truth", rotation=90, va="center", size=10
    )
    _write_counts(axes, image, counts, shares, cell)
    bar = figure.colorbar(image, cax=bar_axes, label="Share of the true class")
    bar.set_ticks([0, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 1])
    bar.ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.0f} %"))
    return settle(figure)


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
