"""Images with what a model says about them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from qkv.errors import ShapeError
from qkv.figures.style import (
    INK,
    bare,
    class_colours,
    house_style,
    new_figure,
    percent,
    settle,
    short_name,
    tilt_names,
)

UInt8Array = npt.NDArray[np.uint8]
FloatArray = npt.NDArray[np.floating[Any]]
IntegerArray = npt.NDArray[np.integer[Any]]

_SHOWN_IMAGES = 3
_MOST_BARS = 20
_BARS_OF_MANY = 12
_MOST_MISTAKES = 16
_COLUMNS = 4
_NAME_LIMIT = 22


@house_style()
def draw_predictions(
    images: UInt8Array, labels: IntegerArray, probabilities: FloatArray, class_names: Sequence[str]
) -> Figure:
    """The first three images, their truth above, their predicted probabilities below.

    One bar and one colour a class, in label order. Beyond twenty classes each chart shows the
    twelve most probable ones, most probable first; a less probable true class takes the last
    place. The true class is in bold.

    Args:
        images: (images, channels, height, width) pixels; one channel is grey, three are colour.
        labels: (images,) true class of each image.
        probabilities: (images, classes), each row a distribution.
        class_names: the name of each class, in label order.

    Raises:
        ShapeError: shapes disagree, or there is no image.
    """
    _check(images, labels, probabilities, class_names)
    shown = min(_SHOWN_IMAGES, len(images))
    bars = len(class_names) if len(class_names) <= _MOST_BARS else _BARS_OF_MANY
    panel = max(3.2, 0.2 * bars)  # inches
    heights = _height_inches(images, 2.6), 2.5 + 0.08 * min(_NAME_LIMIT, max(map(len, class_names)))
    figure = new_figure(max(panel * shown, 4.0), sum(heights) + 0.3)
    grid = figure.subplots(2, shown, squeeze=False, height_ratios=heights)
    colours = class_colours(len(class_names))
    for number in range(shown):
        above, below = grid[0, number], grid[1, number]
        _show(above, images[number])
        truth = int(labels[number])
        above.set_title(f"Truth: {short_name(class_names[truth], _NAME_LIMIT)}")
        _draw_bars(below, probabilities[number], truth, class_names, colours)
        if number == 0:
            below.set_ylabel("Predicted probability")
    return settle(figure)


@house_style()
def draw_mistakes(
    images: UInt8Array, labels: IntegerArray, probabilities: FloatArray, class_names: Sequence[str]
) -> Figure:
    """Up to sixteen wrongly classified images, truth and prediction under each.

    Arguments and errors as of `draw_predictions`, most confident mistake first.
    """
    _check(images, labels, probabilities, class_names)
    shown = min(_MOST_MISTAKES, len(images))
    columns = min(_COLUMNS, shown)
    rows = -(-shown // columns)
    row_height = _height_inches(images, 1.8) + 0.65
    figure = new_figure(max(2.3 * columns, 3.4), row_height * rows + 0.4)
    figure.suptitle("Most confident mistakes", size=11)
    grid = figure.subplots(rows, columns, squeeze=False)
    for number, axes in enumerate(grid.flat):
        if number >= shown:
            axes.set_axis_off()
            continue
        _show(axes, images[number])
        predicted = int(probabilities[number].argmax())
        truth = short_name(class_names[int(labels[number])], _NAME_LIMIT - 2)
        said = short_name(class_names[predicted], _NAME_LIMIT - 2)
        sure = percent(float(probabilities[number, predicted]), 1)
        # A line each: within one text, letters without descenders would move the lines below.
        for line, text in enumerate((f"Truth: {truth}", f"Predicted: {said}", sure)):
            offset = (0, -12 - 12 * line)
            axes.annotate(
                text, (0.5, 0), offset, "axes fraction", "offset points", ha="center", size=8.5
            )
    return settle(figure)


def _draw_bars(
    axes: Axes,
    probabilities: FloatArray,
    truth: int,
    class_names: Sequence[str],
    colours: Sequence[str],
) -> None:
    classes = list(range(len(class_names)))
    if len(classes) > _MOST_BARS:
        classes = np.argsort(-probabilities, kind="stable")[:_BARS_OF_MANY].tolist()
        if truth not in classes:
            classes[-1] = truth
        axes.set_title(
            f"{_BARS_OF_MANY} of {len(class_names)} classes, most probable first", size=9
        )
    places, shades = range(len(classes)), [colours[number] for number in classes]
    axes.bar(places, probabilities[classes], color=shades, edgecolor=INK, linewidth=0.5)
    axes.set(xlim=(-0.6, len(classes) - 0.4), ylim=(0, 1))
    axes.grid(axis="y")
    names = [short_name(class_names[number], _NAME_LIMIT) for number in classes]
    axes.set_xticks(places, names)
    axes.tick_params(axis="x", length=0)
    # Few short names lie flat; otherwise they hang so that each stays under its bar.
    if sum(map(len, names)) > 36:
        tilt_names(axes, 45 if len(classes) <= 12 and max(map(len, names)) <= 14 else 90)
    for label, number in zip(axes.get_xticklabels(), classes, strict=True):
        if number == truth:
            label.set_fontweight("bold")


def _height_inches(images: UInt8Array, widest: float) -> float:
    """Of a row of images `widest` inches wide, and no higher than that."""
    height, width = images.shape[2:]
    aspect: float = height / width
    return widest * min(1.0, max(0.35, aspect))


def _show(axes: Axes, image: UInt8Array) -> None:
    """Draw one (channels, height, width) image, pixels as they are."""
    bare(axes)
    if image.shape[0] == 1:
        axes.imshow(image[0], cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    else:
        axes.imshow(image.transpose(1, 2, 0), interpolation="nearest")


def _check(
    images: UInt8Array, labels: IntegerArray, probabilities: FloatArray, class_names: Sequence[str]
) -> None:
    if images.ndim != 4 or images.shape[1] not in (1, 3) or images.dtype != np.uint8:
        raise ShapeError(
            f"images of shape {images.shape} and type {images.dtype}",
            remedy="pass uint8 (images, 1 or 3 channels, height, width)",
        )
    count, classes = len(images), len(class_names)
    matching = labels.shape == (count,) and probabilities.shape == (count, classes)
    if count == 0 or not matching or labels.min() < 0 or labels.max() >= classes:
        raise ShapeError(
            f"{count} images, labels of shape {labels.shape}, probabilities of shape "
            f"{probabilities.shape}, {classes} class names",
            remedy="pass at least one image, a valid label an image and a probability a class",
        )
