"""One small ViT on Fashion-MNIST, trained with softmax and with linear attention side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from qkv.errors import StudyError
from qkv.studies.quality_arms import (
    BASE_RECIPE,
    FAMILY,
    IMAGE_SIZE,
    Arm,
    ArmResult,
    plan_arms,
    require_same,
    train_arm,
)
from qkv.studies.quality_report import QualityDocument, report
from qkv.training.progress import Reporter, Silent

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


def study_quality(
    folder: Path,
    *,
    patch_sizes: Sequence[int] = (4, 2),
    epochs: int = DEFAULT_EPOCHS,
    seeds: int = 1,
    train_images: int | None = None,
    data: Path | None = None,
    overrides: Sequence[str] = (),
    reporter: Reporter | None = None,
) -> QualityDocument:
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
    reporter = reporter or Silent()
    _require_sizes(epochs=epochs, seeds=seeds, train_images=train_images)
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


def _require_sizes(*, epochs: int, seeds: int, train_images: int | None) -> None:
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
