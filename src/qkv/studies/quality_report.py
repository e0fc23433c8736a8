"""The document of the study "quality", from what its arms reached."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import fmean, median, stdev
from typing import Any

import numpy as np

from qkv.evaluation.metrics import wilson_interval
from qkv.studies.document import StudyDocument, Table
from qkv.studies.paired import paired_difference
from qkv.studies.quality_arms import KERNELS, Arm, ArmResult
from qkv.studies.quality_words import notes, verdict


class QualityDocument(StudyDocument):
    """The study of two kernels at several patch sizes.

    Attributes:
        arms: a kernel at a patch size over all seeds: its accuracies (shares of 1) and times.
        pairs: linear against softmax at a patch size.
    """

    arms: list[dict[str, Any]]
    pairs: list[dict[str, Any]]


def report(results: Mapping[Arm, ArmResult], settings: dict[str, Any]) -> QualityDocument:
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
        "verdict": verdict(pairs),
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
    found = [
        (arm, result)
        for arm, result in results.items()
        if (arm.kernel, arm.patch_size) == (kernel, patch_size)
    ]
    return sorted(found, key=lambda one: one[0].recipe.seed)


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
