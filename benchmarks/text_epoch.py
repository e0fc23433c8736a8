"""Time of an epoch of a sentiment head: encoder and head every epoch, and qkv from stored states.

An epoch of the source's way is too long to be timed whole, so both sides are timed on a few batches
that stand for all lengths, and scaled by tokens.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from torch import nn

from benchmarks.length_sample import batches_at_quantiles
from benchmarks.plain_text import (
    BATCH_SIZE,
    PlainAttention,
    PlainEncoder,
    PlainGRU,
    PlainTextTraining,
)
from benchmarks.same_logits import require_same_logits
from benchmarks.text_recipe_training import TextRecipeTraining
from qkv.data.dataset import IntArray
from qkv.devices import resolve_device
from qkv.measurement.timing import interleaved, quartiles, round_ratios
from qkv.progress import Silent
from qkv.text.encoder import locate_encoder
from qkv.text.heads import HeadSettings
from qkv.text.text_encoder import open_text_encoder
from qkv.training.data import load_texts
from qkv.training.recipe import TextRecipe, load_recipe_of

# Both sides read what the source reads: the last layer's states of the first 512 tokens.
SAME_READING = ("encoder.layers=last", "encoder.truncation.kind=head", "unfreeze_layers=0")
RECIPES = {"attention": "fast", "gru": "reference"}
GATE_TEXTS_A_BATCH = 2
WARMUP_TEXTS = 8

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Sizes:
    """How much is measured.

    Attributes:
        epoch_texts: reviews of an epoch; None: all of the source's training part, 17,500.
        batch_size: texts a batch of the source's way.
        batches: how many stand for the epoch.
        rounds: passes over them, for each head.
    """

    epoch_texts: int | None = None
    batch_size: int = BATCH_SIZE
    batches: int = 5
    rounds: Mapping[str, int] = field(default_factory=lambda: {"attention": 3, "gru": 1})


QUICK_SIZES = Sizes(epoch_texts=12, batch_size=2, batches=2, rounds={"attention": 1, "gru": 1})


def measure(*, quick: bool = False, progress: Progress | None = None) -> dict[str, Any]:
    """Seconds of an epoch over 17,500 reviews, scaled from a few batches of all lengths.

    Args:
        quick: a few reviews, to see that it runs; the figures mean nothing.
        progress: called with (done, total) batches.

    Returns:
        `ratios` (`attention`, `gru`; above 1 qkv is faster) and `figures`.

    Raises:
        QKVError: both do not give the same logits, so their times cannot be compared.
        DataError: IMDB is nowhere and cannot be fetched.
        MissingExtraError: a package that reads encoders is not installed.
    """
    sizes = QUICK_SIZES if quick else Sizes()
    recipes = {head: recipe_of(head) for head in RECIPES}
    settings = recipes["gru"].encoder
    device = resolve_device(recipes["gru"].training.device)
    reviews = load_texts(recipes["gru"], None, skip_bad=False, reporter=Silent()).train
    if sizes.epoch_texts is not None:
        reviews = reviews.subset(np.arange(sizes.epoch_texts))
    encoder = open_text_encoder(settings, device=device)
    exact = open_text_encoder(settings.model_copy(update={"precision": "float32"}), device=device)
    plain_encoder = PlainEncoder(locate_encoder(settings.name).folder, device)

    lengths = encoder.prepare(reviews.texts).rows
    drawn = batches_at_quantiles(lengths, sizes.batch_size, sizes.batches)
    sample = reviews.subset(np.concatenate(drawn))
    sample_lengths = lengths[np.concatenate(drawn)]
    batches = np.split(np.arange(len(sample)), sizes.batches)
    scale = float(lengths.sum() / sample_lengths.sum())

    total = sizes.batches * sum(sizes.rounds.values())
    done = 0
    figures: dict[str, Any] = {}
    ratios: dict[str, float] = {}
    encoding_seconds = 0.0

    def advance(count: int) -> None:
        if progress is not None:
            progress(done + count, total)

    with TemporaryDirectory(prefix="qkv-bench-") as scratch:
        for head, rounds in sizes.rounds.items():
            plain = PlainTextTraining(
                plain_encoder,
                plain_head(recipes[head].head, encoder.dim),
                sample.texts,
                sample.labels,
                device,
            )
            qkv = TextRecipeTraining(recipes[head], encoder, sample, 2, device, Path(scratch))
            # The second head finds the states of the first.
            encoding_seconds += qkv.encoding_seconds
            try:
                gate = np.concatenate([batch[:GATE_TEXTS_A_BATCH] for batch in batches])
                agreement = require_same_logits(head, plain, qkv, exact, sample, gate)
                case = _measure_head(plain, qkv, batches, sample_lengths, rounds, advance)
            finally:
                qkv.close()
            ratios[head] = case.pop("ratio")
            for name in ("plain", "qkv"):
                case[f"{name}_epoch_seconds"] = scale * case[f"{name}_sample_seconds"]
            figures[head] = {**case, "recipe": f"imdb/{RECIPES[head]}", "agreement": agreement}
            done += rounds * sizes.batches
    return {
        "ratios": ratios,
        "figures": {
            **figures,
            "encoding_once_sample_seconds": encoding_seconds,
            "encoding_once_epoch_seconds": scale * encoding_seconds,
            "epoch_texts": len(reviews),
            "epoch_tokens": int(lengths.sum()),
            "sample_texts": len(sample),
            "sample_tokens": int(sample_lengths.sum()),
            "scale": scale,
            "encoder": settings.name,
            "encoder_precision": {"plain": "float32", "qkv": encoder.facts["precision"]},
            "states": recipes["gru"].states,
            "quick": quick,
            "device": device.type,
        },
    }


def _measure_head(
    plain: PlainTextTraining,
    qkv: TextRecipeTraining,
    batches: Sequence[IntArray],
    lengths: IntArray,
    rounds: int,
    advance: Callable[[int], None],
) -> dict[str, Any]:
    few = batches[0][:WARMUP_TEXTS]
    plain.step(few)
    qkv.step(few)
    seconds: dict[str, list[list[float]]] = {"plain": [], "qkv": []}
    for number, batch in enumerate(batches):

        def step_plainly(batch: IntArray = batch) -> None:
            plain.step(batch)

        def step(parts: Sequence[IntArray] = tuple(qkv.batches_of(batch))) -> None:
            for part in parts:
                qkv.step(part)

        timed = interleaved({"plain": step_plainly, "qkv": step}, rounds, 0)
        for name, values in timed.items():
            seconds[name].append(values)
        advance(rounds * (number + 1))
    # By round: entry i of every batch is of the same round.
    sums = {
        name: [sum(by_batch) for by_batch in zip(*seconds[name], strict=True)] for name in seconds
    }
    ratios = round_ratios(sums["plain"], sums["qkv"])
    return {
        "ratio": statistics.median(ratios),
        "quartiles_ratio": quartiles(ratios),
        **{f"{name}_sample_seconds": statistics.median(sums[name]) for name in sums},
        "batches": [
            {
                "texts": len(batch),
                "tokens": int(lengths[batch].sum()),
                "longest": int(lengths[batch].max()),
                "qkv_steps": len(qkv.batches_of(batch)),
                **{f"{name}_seconds": statistics.median(seconds[name][place]) for name in seconds},
            }
            for place, batch in enumerate(batches)
        ],
        "rounds": rounds,
        "parameters": sum(p.numel() for p in plain.head.parameters()),
        "precision": {
            "plain": "float32",
            "qkv": str(qkv.precision).removeprefix("torch."),
        },
    }


def recipe_of(head: str) -> TextRecipe:
    """The project's recipe with that head, reading what the source reads."""
    changes = (*SAME_READING, "training.precision=auto")
    return load_recipe_of(TextRecipe, "imdb", RECIPES[head], changes)


def plain_head(settings: HeadSettings, dim: int) -> nn.Module:
    """The head of a recipe as the baseline has it.

    Raises:
        ValueError: the baseline has no such head.
    """
    if settings.kind == "gru":
        return PlainGRU(dim)
    if settings.kind == "attention":
        return PlainAttention(
            dim,
            token_mlp_dim=settings.token_mlp_dim,
            num_queries=settings.num_queries,
            hidden_dim=settings.hidden_dim,
            dropout=settings.dropout,
            token_dropout=settings.token_dropout,
        )
    raise ValueError(f"no plain head is like {settings.kind!r}")
