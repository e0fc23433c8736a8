"""Accuracy and time of the two attention kernels, side by side."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from qkv.figures.style import BLUE, MUTED, VERMILLION, house_style, new_figure, note_at, settle

_COLOURS = {"softmax": BLUE, "linear": VERMILLION}
_OFFSET = {"softmax": -0.2, "linear": 0.2}
_BAR = 0.36


@house_style()
def draw_accuracy(document: Mapping[str, Any]) -> Figure:
    """Test accuracy with its 95 % interval, and seconds an epoch, by sequence length."""
    pairs = document["pairs"]
    place = {pair["patch_size"]: number for number, pair in enumerate(pairs)}
    width = max(8.6, 1.8 + 3.4 * len(pairs))  # inches; a label below the axis takes 1.5
    figure = new_figure(width, 4.4)
    accuracy, time = figure.subplots(1, 2)
    for arm in document["arms"]:
        middle = place[arm["patch_size"]] + _OFFSET[arm["kernel"]]
        _draw_accuracy(accuracy, arm, middle)
        seconds = arm["seconds_per_epoch"]
        bar = time.bar(middle, seconds, _BAR, color=_COLOURS[arm["kernel"]])
        words = f"{seconds:,.0f} s" if seconds >= 100 else f"{seconds:.3g} s"
        time.bar_label(bar, [words], padding=2)
    accuracy.margins(y=0.2)
    accuracy.set(ylabel="Test accuracy (%)", title="Accuracy, with 95 % interval")
    time.margins(y=0.12)
    time.set_ylim(bottom=0)
    time.set(ylabel="Seconds an epoch (median)", title="Training time, evaluation left out")
    names = [f"{pair['tokens']} tokens\n(patch {pair['patch_size']})" for pair in pairs]
    differences = [_points(pair) for pair in pairs]
    ratios = [f"{pair['epoch_time_ratio']:.2f} × the time" for pair in pairs]
    for axes, below in ((accuracy, differences), (time, ratios)):
        labels = [f"{name}\nlinear: {line}" for name, line in zip(names, below, strict=True)]
        axes.set_xticks(range(len(pairs)), labels)
        axes.set_xlim(-0.6, len(pairs) - 0.4)
        axes.tick_params(axis="x", length=0)
        axes.grid(axis="y")
    settings = document["settings"]
    seeds = len(settings["seeds"])
    figure.suptitle(
        f"The same ViT on Fashion-MNIST with two kernels: {settings['train_images']:,} images, "
        f"epochs: {settings['epochs']}, seeds: {seeds}",
        size=11,
    )
    handles = [
        Line2D([], [], color=colour, marker="o", linewidth=5, label=f"{kernel} attention")
        for kernel, colour in _COLOURS.items()
    ]
    if seeds > 1:
        handles.append(
            Line2D([], [], color=MUTED, marker="_", markersize=9, linewidth=0, label="one seed")
        )
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))
    return settle(figure)


def _draw_accuracy(axes: Axes, arm: Mapping[str, Any], middle: float) -> None:
    value = 100 * arm["test_accuracy"]
    low, high = (100 * end for end in arm["interval_95"])
    look: dict[str, Any] = {"fmt": "o", "markersize": 7, "capsize": 4, "linewidth": 1.6}
    reach = [[value - low], [high - value]]
    axes.errorbar(middle, value, reach, color=_COLOURS[arm["kernel"]], **look)
    if len(arm["test_accuracies"]) > 1:
        seeds = [100 * share for share in arm["test_accuracies"]]
        axes.plot([middle + 0.1] * len(seeds), seeds, "_", color=MUTED, markersize=9)
    note_at(axes, f"{value:.2f} %", (middle, high), (0, 6), ha="center")


def _points(pair: Mapping[str, Any]) -> str:
    low, high = (100 * end for end in pair["interval_95"])
    text = f"{100 * pair['accuracy_difference']:+.2f} points\n95 % {low:+.2f} to {high:+.2f}"
    return text.replace("-", "−")
