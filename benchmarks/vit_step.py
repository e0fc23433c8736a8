"""Time an image takes in a training step: the plain twin, qkv at its settings, the fast recipe.

Images are random bytes of Fashion-MNIST's shape: how long a step takes does not depend on what they
show.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch

from benchmarks.plain_vit import BATCH_SIZE, PlainTraining
from benchmarks.recipe_training import RecipeTraining
from qkv.data.dataset import ImageDataset, ImageSplit, IntArray
from qkv.data.fashion_mnist import CLASS_NAMES
from qkv.devices import resolve_device
from qkv.errors import QKVError
from qkv.measurement.timing import interleaved, quartiles, round_ratios
from qkv.training.recipe import VisionRecipe, load_recipe_of
from qkv.vision.vit import ViT, parameter_count

LOSS_TOLERANCE = 1e-5
IMAGES = 10_000
ROUNDS, WARMUP_ROUNDS = 60, 5
QUICK_ROUNDS, QUICK_WARMUP_ROUNDS = 2, 0


def measure(
    *, quick: bool = False, progress: Callable[[int, int], None] | None = None
) -> dict[str, Any]:
    """Microseconds an image of a whole step: zero_grad, forward, loss, backward, optimiser.

    Args:
        quick: a few rounds, to see that it runs; the figures mean nothing.
        progress: called with (done, total) rounds.

    Returns:
        `ratios` (`same_settings`, `fast_recipe`; above 1 qkv is faster) and `figures`.

    Raises:
        QKVError: twin and qkv do not compute the same loss, so their times cannot be compared.
    """
    reference = load_recipe_of(VisionRecipe, "fashion-mnist", "reference")
    fast = load_recipe_of(VisionRecipe, "fashion-mnist", "fast")
    device = resolve_device(reference.training.device)
    data = _random_images()
    plain = PlainTraining(data, device)
    same = RecipeTraining(reference, data, device)
    quickest = RecipeTraining(fast, data, device)
    difference = require_same_loss(plain, same, np.arange(BATCH_SIZE))

    batch_sizes = {
        "plain": BATCH_SIZE,
        "qkv": reference.training.batch_size,
        "fast": fast.training.batch_size,
    }
    rounds, warmup_rounds = (
        (QUICK_ROUNDS, QUICK_WARMUP_ROUNDS) if quick else (ROUNDS, WARMUP_ROUNDS)
    )
    seconds = interleaved(
        {"plain": _stepper(plain), "qkv": _stepper(same), "fast": _stepper(quickest)},
        rounds,
        warmup_rounds,
        progress=progress,
    )
    times = {
        name: [1e6 * second / batch_sizes[name] for second in values]
        for name, values in seconds.items()
    }
    ratios = {
        "same_settings": round_ratios(times["plain"], times["qkv"]),
        "fast_recipe": round_ratios(times["plain"], times["fast"]),
    }
    return {
        "ratios": {name: statistics.median(values) for name, values in ratios.items()},
        "figures": {
            **{f"{name}_us_per_image": statistics.median(times[name]) for name in times},
            "quartiles_us_per_image": {name: quartiles(times[name]) for name in times},
            "quartiles_ratios": {name: quartiles(values) for name, values in ratios.items()},
            "rounds": rounds,
            "warmup_rounds": warmup_rounds,
            "quick": quick,
            "batch_sizes": batch_sizes,
            "parameters": {
                "plain": sum(p.numel() for p in plain.model.parameters()),
                "qkv": parameter_count(same.model),
                "fast": parameter_count(quickest.model),
            },
            "precision": {
                "plain": "float32",
                "qkv": str(same.precision).removeprefix("torch."),
                "fast": str(quickest.precision).removeprefix("torch."),
            },
            "device": device.type,
            "loss_difference": difference,
            "images": "random bytes of Fashion-MNIST's shape",
        },
    }


def require_same_loss(plain: PlainTraining, qkv: RecipeTraining, indices: IntArray) -> float:
    """Give the twin qkv's weights and compare the losses without dropout.

    Returns:
        The absolute difference of the losses.

    Raises:
        QKVError: it exceeds 1e-5.
    """
    plain.model.load_state_dict(plain_weights(qkv.model))
    plain.model.eval()
    qkv.model.eval()
    with torch.no_grad():
        ours, theirs = float(qkv.loss(indices)), float(plain.loss(indices))
    difference = abs(ours - theirs)
    # Written so that NaN fails too.
    if not difference <= LOSS_TOLERANCE:
        raise QKVError(
            f"the plain twin's loss is {theirs:.7f} and qkv's {ours:.7f} at equal weights",
            remedy="mend the one that is wrong before timing either",
        )
    return difference


def plain_weights(model: ViT) -> dict[str, torch.Tensor]:
    """The weights of a qkv ViT under the names that the plain twin uses."""
    renamed = {
        "stem": "embed",
        "attention_norm": "norm1",
        "mlp_norm": "norm2",
        "qkv": "project_in",
        "output": "project_out",
    }
    final = {"norm": "head.0", "head": "head.1"}
    weights = {}
    for name, tensor in model.state_dict().items():
        first, _, rest = name.partition(".")
        if first in final:
            weights[f"{final[first]}.{rest}"] = tensor
        else:
            weights[".".join(renamed.get(part, part) for part in name.split("."))] = tensor
    return weights


def _stepper(training: PlainTraining | RecipeTraining) -> Callable[[], None]:
    batches = _endless_batches(training)

    def step() -> None:
        # Returns the loss as a number, so an accelerator has finished by then.
        training.step(next(batches))

    return step


def _endless_batches(training: PlainTraining | RecipeTraining) -> Iterator[IntArray]:
    epoch = 0
    while True:
        yield from training.epoch_batches(epoch)
        epoch += 1


def _random_images() -> ImageDataset:
    generator = np.random.default_rng(0)
    split = ImageSplit(
        store=generator.integers(0, 256, (IMAGES, 1, 28, 28), dtype=np.uint8),
        rows=np.arange(IMAGES),
        labels=generator.integers(0, len(CLASS_NAMES), IMAGES),
    )
    return ImageDataset(
        name="random",
        class_names=CLASS_NAMES,
        train=split,
        validation=None,
        test=split.subset(np.arange(1)),
        source="a random generator",
        sha256={},
    )
