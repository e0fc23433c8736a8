"""One small ViT on Fashion-MNIST, trained with softmax and with linear attention side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean, median, stdev
from typing import Any

import numpy as np

from qkv.errors import StudyError
from qkv.evaluation.metrics import paired_difference, wilson_interval
from qkv.progress import Reporter
from qkv.studies.accuracy_runs import (
    BASE_RECIPE,
    FAMILY,
    IMAGE_SIZE,
    KERNELS,
    Arm,
    ArmResult,
    plan_arms,
    require_same,
    train_arm,
)
from qkv.studies.study import StudyDocument, Table

SAME_PACE = 0.05
"""Epoch times that differ by less than this share count as equal."""


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


def sentence(pair: Mapping[str, Any]) -> str:
    """Accuracy and pace at a patch size, and whether linear attention pays."""
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
    shares = " and ".join(
        f"{100 * arm['core_share']:.0f} % at {arm['tokens']} tokens"
        for arm in arms
        if arm["kernel"] == "softmax"
    )
    seeds = len(settings["seeds"])
    seeds_said = (
        "They do not cover the draw of weights and batches: another seed may move a small "
        "difference, and --seeds 3 shows how far."
        if seeds == 1
        else "A difference counts as beyond noise when its interval leaves out 0 and all "
        f"{seeds} seeds agree about its sign."
    )
    said = [
        f"The arms share the recipe {settings['recipe']}, batches, steps and seeds; only kernel "
        "and patch size differ. A patch size brings its own stem, so compare kernels within one. "
        "The recipe was chosen for softmax attention, and linear attention gets no choice of its "
        "own. "
        f"Matrix products run in {' and '.join(precisions)}. Test images are looked at once, when "
        "an arm has ended.",
        "Where linear attention cannot pay: softmax attention proper does only "
        f"{shares} of a block's multiplications; the rest is projections and MLP, which both "
        "kernels share. For each number that a head puts out softmax multiplies 2·T times and "
        "linear attention 2·head_dim + 1 times, and its feature maps and normaliser pass over "
        "memory besides. Below the length where their times cross it cannot be faster, and all "
        "that is left of it is a less selective average.",
        "The intervals cover the draw of the test images: Wilson's for an accuracy, Agresti and "
        "Min's (2005) for the difference of paired answers. " + seeds_said,
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


def _points(share: float) -> str:
    """A difference of shares in points, with its sign."""
    return f"{100 * share:+.2f}".replace("-", "−")


class AccuracyDocument(StudyDocument):
    """The study of two kernels at several patch sizes."""

    # a kernel at a patch size over all seeds: its accuracies (shares of 1) and times
    arms: list[dict[str, Any]]
    pairs: list[dict[str, Any]]  # linear against softmax at a patch size


def report(results: Mapping[Arm, ArmResult], settings: dict[str, Any]) -> AccuracyDocument:
    """The document of finished arms, a pair of kernels for each patch size and seed."""
    sizes: list[int] = settings["patch_sizes"]
    arms = [_arm_entry(results, kernel, size) for size in sizes for kernel in KERNELS]
    pairs = [_pair_entry(results, arms, size) for size in sizes]
    machines = [result.machine for result in results.values()]
    return {
        "study": "quality",
        "settings": settings,
        "table": _arms_table(arms, settings),
        "tables": [_pairs_table(pairs)],
        "figures": {
            f"{name}_patch_{pair['patch_size']}": pair[name]
            for pair in pairs
            for name in ("accuracy_difference", "interval_95", "epoch_time_ratio")
        },
        "verdict": " ".join(map(sentence, pairs)),
        "notes": notes(
            arms,
            settings,
            several_machines=any(machine != machines[0] for machine in machines),
            precisions=sorted({result.precision for result in results.values()}),
        ),
        "machine": machines[0],
        "arms": arms,
        "pairs": pairs,
    }


def _of(
    results: Mapping[Arm, ArmResult], kernel: str, patch_size: int
) -> list[tuple[Arm, ArmResult]]:
    """An arm's trainings, by seed."""
    chosen = (arm for arm in results if (arm.kernel, arm.patch_size) == (kernel, patch_size))
    return [(arm, results[arm]) for arm in sorted(chosen, key=lambda arm: arm.recipe.seed)]


def _arm_entry(results: Mapping[Arm, ArmResult], kernel: str, patch_size: int) -> dict[str, Any]:
    trainings = _of(results, kernel, patch_size)
    arm, first = trainings[0]
    accuracies = [float(result.correct.mean()) for _, result in trainings]
    examples = len(first.correct)
    epoch_seconds = [seconds for _, result in trainings for seconds in result.epoch_seconds]
    seconds = median(epoch_seconds)
    return {
        "kernel": kernel,
        "patch_size": patch_size,
        "tokens": arm.tokens,
        "test_accuracy": fmean(accuracies),
        # Of a model as accurate as the mean: several seeds do not make the test split larger.
        "interval_95": list(wilson_interval(round(fmean(accuracies) * examples), examples)),
        "test_accuracies": accuracies,
        "seeds_sd": stdev(accuracies) if len(accuracies) > 1 else None,
        "seconds_per_epoch": seconds,
        "epoch_seconds": epoch_seconds,
        "images_per_second": first.train_images / seconds,
        "core_share": core_share(arm),
        "parameters": first.parameters,
        "runs": [f"runs/{one.name}" for one, _ in trainings],
    }


def core_share(arm: Arm) -> float:
    """The share of a block's multiplications that the kernel does.

    For a token, with w = heads · head_dim: the projections take 4·dim·w, the MLP 2·dim·mlp_dim;
    softmax attention takes 2·T·w for scores and mixture, linear attention 2·head_dim·w for the sum
    of φ(k)·vᵀ and its product with φ(q), and w for the normaliser. Exponentials and
    divisions are not counted.
    """
    model = arm.recipe.model
    inner = model.num_heads * model.head_dim
    core = 2 * arm.tokens * inner if arm.kernel == "softmax" else (2 * model.head_dim + 1) * inner
    return core / (4 * model.dim * inner + 2 * model.dim * model.mlp_dim + core)


def _pair_entry(
    results: Mapping[Arm, ArmResult], arms: list[dict[str, Any]], patch_size: int
) -> dict[str, Any]:
    softmax, linear = (
        np.stack([result.correct for _, result in _of(results, kernel, patch_size)])
        for kernel in KERNELS
    )
    paired = paired_difference(softmax, linear)
    entries = {arm["kernel"]: arm for arm in arms if arm["patch_size"] == patch_size}
    return {
        "patch_size": patch_size,
        "tokens": entries["linear"]["tokens"],
        "accuracy_difference": paired.difference,
        "interval_95": list(paired.interval_95),
        "difference_by_seed": list(paired.by_seed),
        "beyond_noise": paired.beyond_noise,
        "only_softmax_right": paired.only_first,
        "only_linear_right": paired.only_second,
        "epoch_time_ratio": entries["linear"]["seconds_per_epoch"]
        / entries["softmax"]["seconds_per_epoch"],
    }


def _arms_table(arms: list[dict[str, Any]], settings: dict[str, Any]) -> Table:
    several = len(settings["seeds"]) > 1
    columns = ["kernel", "patch", "tokens", "test accuracy (%)", "95 % from", "to"]
    columns += ["sd of seeds (points)"] if several else []
    columns += ["s/epoch", "images/s", "core (%)"]
    rows = [
        [
            *(arm["kernel"], arm["patch_size"], arm["tokens"]),
            *(100 * share for share in (arm["test_accuracy"], *arm["interval_95"])),
            *([100 * arm["seeds_sd"]] if several else []),
            *(arm["seconds_per_epoch"], arm["images_per_second"], 100 * arm["core_share"]),
        ]
        for arm in arms
    ]
    title = (
        f"{settings['train_images']:,} training images, epochs: {settings['epochs']}, seeds: "
        f"{', '.join(map(str, settings['seeds']))}; core: the kernel's share of a block's products"
    )
    return {"title": title, "columns": columns, "rows": rows}


def _pairs_table(pairs: list[dict[str, Any]]) -> Table:
    return {
        "title": "Linear against softmax, on the same test images (points of accuracy)",
        "columns": [
            *("patch", "tokens", "difference", "95 % from", "to", "beyond noise"),
            *("only linear right", "only softmax right", "epoch time ratio"),
        ],
        "rows": [
            [
                *(pair["patch_size"], pair["tokens"]),
                *(100 * share for share in (pair["accuracy_difference"], *pair["interval_95"])),
                *(pair["beyond_noise"], pair["only_linear_right"], pair["only_softmax_right"]),
                pair["epoch_time_ratio"],
            ]
            for pair in pairs
        ],
    }


DEFAULT_EPOCHS = 2
MAX_SEEDS = 100


def parse_patch_sizes(text: str) -> list[int]:
    """Patch sizes from text with commas between them.

    Raises:
        StudyError: one is no divisor of 28, the side of the images, or comes twice.
    """
    divisors = [size for size in range(1, IMAGE_SIZE + 1) if IMAGE_SIZE % size == 0]
    sizes: list[int] = []
    for part in text.split(","):
        word = part.strip()
        if not word.isascii() or not word.isdigit() or int(word) not in divisors:
            raise StudyError(
                f"--patch-sizes: {word[:40]!r} does not divide the images' side, {IMAGE_SIZE}",
                remedy=f"choose from {', '.join(map(str, divisors))}, with commas between",
            )
        if int(word) in sizes:
            raise StudyError(f"--patch-sizes: {word} comes twice", remedy="give each size once")
        sizes.append(int(word))
    return sizes


def study_accuracy(
    folder: Path,
    *,
    patch_sizes: Sequence[int] = (4, 2),
    epochs: int = DEFAULT_EPOCHS,
    seeds: int = 1,
    train_images: int | None = None,
    data: Path | None = None,
    overrides: Sequence[str] = (),
    reporter: Reporter | None = None,
) -> AccuracyDocument:
    """Train every arm by the recipe fashion-mnist/fast, then compare the kernels.

    Only kernel and patch size differ between the arms of a seed: their batches, steps and
    augmentation are the same. Nothing is chosen by the test images; each arm is tested once, when
    its training has ended.

    Args:
        folder: of the study; the arms are runs in `folder/runs`. What an earlier call with the same
            settings left there is read back or gone on with.
        patch_sizes: sides of the patches, in pixels.
        epochs: passes over the training images.
        seeds: how many: 42, 43, and so on.
        train_images: how many to train on, the same share of every class; the other training
            images become the validation split. None: as the recipe says.
        data: a folder with the data set's files.
        overrides: further settings `key=value` of every arm's recipe.
        reporter: receives the progress of the trainings.

    Raises:
        InterruptedRunError: the user stopped it; the same call goes on.
        QKVError: something the user can mend.
    """
    for option, value, least, most in (
        ("--epochs", epochs, 1, 10_000),
        ("--seeds", seeds, 1, MAX_SEEDS),
        ("--train-images", train_images, 10, 10**9),
    ):
        if value is not None and not least <= value <= most:
            raise StudyError(
                f"{option} is {value:,}",
                remedy=f"give at least {least}" if value < least else f"give at most {most:,}",
            )
    reporter = reporter or Reporter()
    arms = plan_arms(patch_sizes, seeds, epochs, overrides, train_images, data, reporter)
    runs = folder / "runs"
    for arm in arms:  # all before the first one is trained
        require_same(arm, runs, data)
    results: dict[Arm, ArmResult] = {}
    for number, arm in enumerate(arms, start=1):
        reporter.note(
            f"arm {number} of {len(arms)}: {arm.kernel}, patch {arm.patch_size} "
            f"({arm.tokens} tokens), seed {arm.recipe.seed}"
        )
        results[arm] = train_arm(arm, runs, data, reporter)
    return report(
        results,
        {
            "recipe": f"{FAMILY}/{BASE_RECIPE}",
            "patch_sizes": list(patch_sizes),
            "epochs": epochs,
            "seeds": sorted({arm.recipe.seed for arm in arms}),
            "train_images": next(iter(results.values())).train_images,
            "overrides": list(overrides),
        },
    )
