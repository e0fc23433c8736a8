"""Run folders with random weights: what they cost to serve does not depend on what they learned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.serving.pipelines import TextPipeline, VisionPipeline
from qkv.data.fashion_mnist import CLASS_NAMES
from qkv.runs import FORMAT, Run
from qkv.text.encoder import EncoderSettings
from qkv.text.heads import AttentionHeadSettings, build_head
from qkv.text.text_encoder import open_text_encoder
from qkv.training.recipe import VisionRecipe, load_recipe_of
from qkv.vision.vit import ViT, ViTSettings

SEED = 0
IMAGE_SIZE = 28
LOGIT_SPREAD = 1.5
SENTIMENTS = ("neg", "pos")


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
        "num_classes": len(CLASS_NAMES),
        **(changes or {}),
    }
    torch.manual_seed(SEED)
    model = ViT(ViTSettings.parse(described, where="the benchmark's model"))
    run = _create(
        path,
        "vision",
        CLASS_NAMES,
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
