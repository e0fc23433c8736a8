"""What the servers serve, what they are sent, and what they must answer.

Run folders have random weights: what they cost to serve does not depend on what they learned. They
are sent PNG images of Fashion-MNIST and reviews of IMDB, or made ones.
"""

from __future__ import annotations

import io
import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from benchmarks.encode import sampled_reviews
from benchmarks.serving.baselines import TextPipeline, VisionPipeline
from benchmarks.serving.load import Scores, difference
from benchmarks.serving.servers import Task
from qkv.data import fashion_mnist
from qkv.errors import DataError, QKVError
from qkv.runs import FORMAT, Run
from qkv.text.encoder import EncoderSettings
from qkv.text.heads import AttentionHeadSettings, build_head
from qkv.text.text_encoder import open_text_encoder
from qkv.training.recipe import load_recipe_of
from qkv.training.vision_task import VisionRecipe
from qkv.vision.vit import ViT, ViTSettings

SEED = 0
IMAGE_SIZE = 28
# The logarithm of a review's words in IMDB is about normal: median 174, a tenth above 450.
MEDIAN_WORDS, SPREAD_OF_LOG = 174, 0.7
WORDS = """
the a and of to is in it this that film movie story was as with for but on not you are his have be
one all at they who so like just about out if good great bad plot acting scene never character
director time really very well makes more some what when no even would can there
"""
LOGIT_SPREAD = 1.5
SENTIMENTS = ("neg", "pos")
# Of probabilities. Vision is float32 everywhere; the encoder of texts may be bfloat16.
TOLERANCES: dict[Task, float] = {"vision": 1e-3, "text": 0.03}
# Scores of two inputs must be further apart than they may be off, or a swap would not be seen.
LEAST_SPREAD = 2.0


@dataclass(frozen=True)
class Workload:
    """What is served and sent."""

    task: Task  # of the run
    folder: Path  # of the run
    inputs: Inputs  # what is sent
    # the scores of each input, by the baselines' pipeline in this process
    expected: list[dict[str, float]]


def make_workload(task: Task, scratch: Path, count: int, *, made: bool = False) -> Workload:
    """Make a run folder, the inputs, and what is expected of them.

    Args:
        task: which.
        scratch: where the run folder is made.
        count: different inputs.
        made: whether they are made up even where the data are at hand.

    Raises:
        QKVError: the encoder cannot be had, or the answers are too much alike.
    """
    folder = scratch / task
    if task == "vision":
        inputs = image_inputs(count, made=made)
        make_vision_run(folder, inputs.bodies)
        vision = VisionPipeline(folder)
        shares = [vision.probabilities(vision.decode(body)[None])[0] for body in inputs.bodies]
        answers = [vision.answer(share) for share in shares]
    else:
        inputs = text_inputs(count, made=made)
        texts = [json.loads(body)["inputs"] for body in inputs.bodies]
        make_text_run(folder, texts)
        text = TextPipeline(folder)
        answers = [text.answer(text.probabilities([one])[0]) for one in texts]
    expected = [
        {str(entry["label"]): float(entry["score"]) for entry in answer} for answer in answers
    ]
    apart = statistics.median(difference(one, other) for one, other in pairwise(expected))
    if apart < LEAST_SPREAD * TOLERANCES[task]:
        raise QKVError(
            f"answers to two inputs differ by only {apart:.2g}",
            remedy="serve a model whose answers tell inputs apart",
        )
    return Workload(task, folder, inputs, expected)


def require_same_scores(name: str, workload: Workload, scores: Sequence[Scores]) -> float:
    """See that a server gives the expected scores.

    Returns:
        The greatest difference of any score.

    Raises:
        QKVError: it exceeds the tolerance of the task.
    """
    tolerance = TOLERANCES[workload.task]
    pairs = zip(scores, workload.expected, strict=True)
    worst = max(difference(found, expected) for found, expected in pairs)
    if worst > tolerance:
        raise QKVError(
            f"{name} answers {workload.task} inputs with scores that are off by {worst:.2g}, more "
            f"than {tolerance:g}",
            remedy="mend the one that is wrong before timing any",
        )
    return worst


@dataclass(frozen=True)
class Inputs:
    """Bodies of requests, all different."""

    content_type: str  # of every body
    bodies: tuple[bytes, ...]  # one a request
    source: str  # what they are, for the report


def image_inputs(count: int, *, made: bool = False) -> Inputs:
    """Images as PNG files.

    Args:
        count: how many.
        made: make them up even where Fashion-MNIST is at hand.
    """
    images, source = (None, "") if made else _fashion_mnist(count)
    if images is None:
        generator = np.random.default_rng(SEED)
        images = [_blob(generator) for _ in range(count)]
        source = f"made-up grey images of {IMAGE_SIZE}x{IMAGE_SIZE} pixels"
    return Inputs("image/png", tuple(_png(image) for image in images), f"{source}, as PNG")


def text_inputs(count: int, *, made: bool = False) -> Inputs:
    """Texts as JSON `{"inputs": "…"}`.

    Args:
        count: how many.
        made: make them up even where IMDB is at hand.
    """
    texts: Sequence[str] | None = None
    source = ""
    if not made:
        try:
            texts = sampled_reviews(count).texts
            source = "training reviews of IMDB, the first of a seeded permutation"
        except DataError:
            pass  # neither here nor to be fetched
    if texts is None:
        generator = np.random.default_rng(SEED)
        texts = [_sentence(generator, number) for number in range(count)]
        source = "made-up texts as long as reviews of IMDB"
    return Inputs(
        "application/json", tuple(json.dumps({"inputs": text}).encode() for text in texts), source
    )


def _fashion_mnist(count: int) -> tuple[list[np.ndarray] | None, str]:
    try:
        test = fashion_mnist.load().test
    except DataError:  # neither here nor to be fetched
        return None, ""
    assert test is not None
    return list(test.take(np.arange(count))[:, 0]), "the first test images of Fashion-MNIST"


def _blob(generator: np.random.Generator) -> np.ndarray:
    """A smooth bright shape on black, about as hard to compress as a piece of clothing."""
    across = np.linspace(-1, 1, IMAGE_SIZE)
    x, y = np.meshgrid(across, across)
    height, width = generator.uniform(0.3, 1.0, 2)
    wave = np.sin(x * generator.uniform(2, 9) + generator.uniform(0, 6)) * np.cos(y * 5)
    inside = (x / width) ** 2 + (y / height) ** 2 < 1
    grain = generator.normal(0, 8, x.shape)
    shade = np.where(inside, 150 + 60 * wave + grain, 0)
    return np.clip(shade, 0, 255).astype(np.uint8)


def _png(image: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, format="PNG")
    return file.getvalue()


def _sentence(generator: np.random.Generator, number: int) -> str:
    length = int(generator.lognormal(np.log(MEDIAN_WORDS), SPREAD_OF_LOG))
    words = generator.choice(WORDS.split(), max(3, min(length, 1200)))
    return f"Number {number}: {' '.join(words)}."


def make_vision_run(
    path: Path, images: Sequence[bytes], changes: Mapping[str, Any] | None = None
) -> Run:
    """The model of the fast recipe of Fashion-MNIST, untrained.

    Args:
        path: the new folder.
        images: files whose answers are to differ.
        changes: to the settings of the model, for a smaller one.
    """
    recipe = load_recipe_of(VisionRecipe, "fashion-mnist", "fast")
    described = {
        **recipe.model.model_dump(mode="json"),
        "image_size": IMAGE_SIZE,
        "channels": 1,
        "num_classes": len(fashion_mnist.CLASS_NAMES),
        **(changes or {}),
    }
    torch.manual_seed(SEED)
    model = ViT(ViTSettings.parse(described, where="the benchmark's model"))
    run = _create(
        path,
        "vision",
        fashion_mnist.CLASS_NAMES,
        model=described,
        preprocessing={"image_size": IMAGE_SIZE, "channels": 1, "mean": 0.5, "std": 0.5},
    )
    run.save_weights(model.state_dict())
    pipeline = VisionPipeline(path)
    pixels = torch.stack([pipeline.decode(content) for content in images])
    _spread(model.head, pipeline.logits(pixels))
    run.save_weights(model.state_dict())
    return run


def make_text_run(path: Path, texts: Sequence[str], *, encoder: str | None = None) -> Run:
    """An attention head of random weights on the last states of an encoder.

    Texts are cut to what the encoder reads at once.

    Args:
        path: the new folder.
        texts: whose answers are to differ.
        encoder: its name or folder; None: the default one.

    Raises:
        QKVError: the encoder cannot be had.
    """
    settings = EncoderSettings() if encoder is None else EncoderSettings(name=encoder)
    opened = open_text_encoder(settings, device=torch.device("cpu"))
    head_settings = AttentionHeadSettings()
    torch.manual_seed(SEED)
    head = build_head(head_settings, opened.dim, len(SENTIMENTS))
    run = _create(
        path,
        "text",
        SENTIMENTS,
        model={
            "head": head_settings.model_dump(mode="json"),
            "dim": opened.dim,
            "unfreeze_layers": 0,
        },
        encoder={
            "settings": settings.model_dump(mode="json"),
            "identity": opened.identity,
            "parameters": opened.encoder.parameters,
        },
        states="float16",
    )
    weights = nn.Module()
    weights.head = head
    run.save_weights(weights.state_dict())
    pipeline = TextPipeline(path)
    logits = torch.cat([pipeline.logits([text]) for text in texts])
    _spread(head.output, logits[:, 1:] - logits[:, :1])
    run.save_weights(weights.state_dict())
    return run


def _create(path: Path, task: str, names: Sequence[str], **described: Any) -> Run:
    config = {
        "format": FORMAT,
        "task": task,
        "id2label": {str(number): name for number, name in enumerate(names)},
        **described,
    }
    return Run.create(path, config=config, record={"status": "finished"})


@torch.no_grad()
def _spread(last: nn.Linear, logits: Tensor) -> None:
    """Change the last layer so that its logits vary between inputs, around zero.

    Random weights give nearly the same answer to every input, and a swapped one would pass.

    Args:
        last: what gives the logits.
        logits: of some inputs (inputs, outputs), by `last` as it is.
    """
    factor = LOGIT_SPREAD / logits.std(dim=0, correction=0).clamp(min=1e-12)
    last.bias.sub_(logits.mean(dim=0)).mul_(factor)
    last.weight.mul_(factor[:, None])
