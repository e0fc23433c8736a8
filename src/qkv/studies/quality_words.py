"""What the study "quality" says of its numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

SAME_PACE = 0.05
"""Epoch times that differ by less than this share count as equal."""


def verdict(pairs: Sequence[Mapping[str, Any]]) -> str:
    """A sentence for each patch size: accuracy, pace, and whether linear attention pays."""
    return " ".join(_sentence(pair) for pair in pairs)


def pace(epoch_time_ratio: float) -> str:
    """`faster`, `slower` or `as fast`, of linear against softmax attention."""
    if epoch_time_ratio < 1 - SAME_PACE:
        return "faster"
    return "slower" if epoch_time_ratio > 1 + SAME_PACE else "as fast"


def conclusion(pair: Mapping[str, Any]) -> str:
    """Whether linear attention pays at a patch size."""
    speed = pace(pair["epoch_time_ratio"])
    difference = pair["accuracy_difference"] if pair["beyond_noise"] else 0.0
    if speed == "faster":
        return "it buys speed with accuracy" if difference < 0 else "it pays"
    if difference > 0:
        return "it pays in accuracy" if speed == "as fast" else "it buys accuracy with time"
    return "it does not pay at this length"


def _sentence(pair: Mapping[str, Any]) -> str:
    low, high = (_points(end) for end in pair["interval_95"])
    source = "test draw" if len(pair["difference_by_seed"]) == 1 else "test draw and seeds"
    noise = f"{'beyond' if pair['beyond_noise'] else 'within'} the noise of {source}"
    return (
        f"At {pair['tokens']} tokens (patch {pair['patch_size']}) linear attention is "
        f"{_points(pair['accuracy_difference'])} points from softmax in accuracy (95 % {low} to "
        f"{high}, {noise}) and its epoch takes {pair['epoch_time_ratio']:.2f} times as long: "
        f"{conclusion(pair)}."
    )


def notes(
    arms: Sequence[Mapping[str, Any]],
    settings: Mapping[str, Any],
    *,
    several_machines: bool,
    precisions: Sequence[str],
) -> list[str]:
    """How the numbers came about, what they cover and what they do not."""
    said = [
        f"The arms share the recipe {settings['recipe']}, batches, steps and seeds; only kernel "
        "and patch size differ. A patch size brings its own stem, so compare kernels within one. "
        "The recipe was chosen for softmax attention, and linear attention gets no choice of its "
        "own. "
        f"Matrix products run in {' and '.join(precisions)}. Test images are looked at once, when "
        "an arm has ended.",
        _why(arms),
        "The intervals cover the draw of the test images: Wilson's for an accuracy, Agresti and "
        "Min's (2005) for the difference of paired answers. " + _seeds_said(len(settings["seeds"])),
        "Seconds are the median epoch of training, evaluation left out. The arms run one after "
        "the other, so another load on the machine shifts a ratio; within "
        f"{100 * SAME_PACE:.0f} % it counts as equal.",
    ]
    if several_machines:
        said.append(
            "CAUTION: the arms did not all run on the same machine, number of threads or version "
            "of torch, so their seconds do not compare; run the study anew in another folder."
        )
    return said


def _why(arms: Sequence[Mapping[str, Any]]) -> str:
    softmax = [arm for arm in arms if arm["kernel"] == "softmax"]
    shares = " and ".join(
        f"{100 * arm['core_share']:.0f} % at {arm['tokens']} tokens" for arm in softmax
    )
    return (
        "Where linear attention cannot pay: softmax attention proper does only "
        f"{shares} of a block's multiplications; the rest is projections and MLP, which both "
        "kernels share. For each number that a head puts out softmax multiplies 2·T times and "
        "linear attention 2·head_dim + 1 times, and its feature maps and normaliser pass over "
        "memory besides. Below the length where their times cross it cannot be faster, and all "
        "that is left of it is a less selective average."
    )


def _seeds_said(seeds: int) -> str:
    if seeds == 1:
        return (
            "They do not cover the draw of weights and batches: another seed may move a small "
            "difference, and --seeds 3 shows how far."
        )
    return (
        "A difference counts as beyond noise when its interval leaves out 0 and all "
        f"{seeds} seeds agree about its sign."
    )


def _points(share: float) -> str:
    """A difference of shares in points, with its sign."""
    return f"{100 * share:+.2f}".replace("-", "−")
