"""Time of an epoch of a sentiment head: encoder and head every epoch, and qkv from stored states.

An epoch of the course's way is too long to be timed whole, so both sides are timed on a few batches
that stand for all lengths, and scaled by tokens.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.plain_text import (
    BATCH_SIZE,
    PlainAttention,
    PlainEncoder,
    PlainGRU,
    PlainTextTraining,
)
from qkv.data.dataset import IntArray, TextSplit
from qkv.devices import autocast, resolve_device
from qkv.errors import QKVError
from qkv.measurement.timing import interleaved, quartiles, round_ratios
from qkv.progress import Progress, Reporter
from qkv.text.encoder import locate_encoder
from qkv.text.encoder_cache import EncoderCache
from qkv.text.heads import HeadSettings, build_head
from qkv.text.model import TextModel
from qkv.text.text_encoder import TextEncoder, open_text_encoder
from qkv.training.checkpoint import seed_initial_weights
from qkv.training.loop import TrainStep
from qkv.training.recipe import load_recipe_of
from qkv.training.text_recipe import TextRecipe
from qkv.training.text_task import TextTask, load_texts

# Both sides read what the course reads: the last layer's states of the first 512 tokens.
SAME_READING = ("encoder.layers=last", "encoder.truncation.kind=head", "unfreeze_layers=0")
RECIPES = {"attention": "fast", "gru": "reference"}
FLOAT32_TOLERANCE = 1e-5
# Of the spread of the logits: texts mistaken for each other give 1.4, bfloat16 a few hundredths.
TIMED_TOLERANCE = 0.25
GATE_TEXTS_A_BATCH = 2
WARMUP_TEXTS = 8


class TextRecipeTraining:
    """qkv's training of a head by a recipe.

    The states are kept in a folder of the caller's, not in the user's cache, so that what encoding
    takes can be timed every time. Two recipes with one encoder share a folder.

    Args:
        recipe: what to train and how; its encoder stays frozen.
        encoder: opened with the recipe's encoder settings.
        texts: what it learns from.
        classes: how many there are.
        device: where to compute.
        folder: where states are kept.

    Attributes:
        model: what is trained.
        precision: dtype of matrix products.
        encoding_seconds: what it took to encode the texts whose states were not there.
    """

    def __init__(
        self,
        recipe: TextRecipe,
        encoder: TextEncoder,
        texts: TextSplit,
        classes: int,
        device: torch.device,
        folder: Path,
    ) -> None:
        cache = EncoderCache(encoder.facts, encoder.dim, kind=recipe.states, root=folder)
        started = time.perf_counter()
        cache.fill(encoder, texts.texts)
        self.encoding_seconds = time.perf_counter() - started
        self._reader = cache.reader(texts.texts)
        seed_initial_weights(recipe.seed)
        model = TextModel(build_head(recipe.head, encoder.dim, classes))
        self._task = TextTask(
            model,
            {"train": self._reader},
            {"train": texts.labels},
            classes,
            recipe.training,
            device,
        )
        self.model = model
        self._stepper = TrainStep(self._task, recipe.training, seed=recipe.seed, device=device)
        self.precision = self._stepper.precision
        self._device = device
        self._steps_done = 0

    def batches_of(self, indices: IntArray) -> list[IntArray]:
        """The batches into which the recipe cuts an epoch of these texts."""
        return list(self._task.epoch_batches(indices))

    def step(self, indices: IntArray) -> float:
        """One step of the recipe's optimiser on the texts at `indices`; returns the loss."""
        # A benchmark may take more steps than the recipe's schedule has.
        number = self._steps_done % self._stepper.total_steps
        outcome = self._stepper.step(indices, number)
        self._steps_done += 1
        return float(outcome.loss)

    def logits(self, indices: IntArray) -> Tensor:
        """Logits (texts, classes) in one batch, from stored states in the recipe's precision."""
        with autocast(self._device, self.precision):
            return self._evaluate(*self._reader.padded(indices))

    def logits_of(self, states: Sequence[Tensor]) -> Tensor:
        """Logits (texts, classes) in one batch, from these float32 states, in float32."""
        lengths = torch.tensor([len(of_text) for of_text in states])
        padded = nn.utils.rnn.pad_sequence(list(states), batch_first=True)
        return self._evaluate(padded, torch.arange(padded.shape[1]) < lengths[:, None])

    @torch.no_grad()
    def _evaluate(self, states: Tensor, attention_mask: Tensor) -> Tensor:
        self.model.eval()
        logits: Tensor = self.model(states.to(self._device), attention_mask.to(self._device))
        return logits.float().cpu()


@dataclass(frozen=True)
class Sizes:
    """How much is measured."""

    # reviews of an epoch; None: all of the course's training part, 17,500
    epoch_texts: int | None = None
    batch_size: int = BATCH_SIZE  # texts a batch of the course's way
    batches: int = 5  # how many stand for the epoch
    # passes over them, for each head
    rounds: Mapping[str, int] = field(default_factory=lambda: {"attention": 3, "gru": 1})


QUICK_SIZES = Sizes(epoch_texts=12, batch_size=2, batches=2, rounds={"attention": 1, "gru": 1})


def measure(*, quick: bool = False, progress: Progress | None = None) -> dict[str, Any]:
    """Seconds of an epoch over 17,500 reviews, scaled from a few batches of all lengths, by head.

    Raises:
        QKVError: both do not give the same logits, so their times cannot be compared.
        DataError: IMDB is nowhere and cannot be fetched.
        MissingExtraError: a package that reads encoders is not installed.
    """
    sizes = QUICK_SIZES if quick else Sizes()
    recipes = {head: recipe_of(head) for head in RECIPES}
    settings = recipes["gru"].encoder
    device = resolve_device(recipes["gru"].training.device)
    reviews = load_texts(recipes["gru"], None, skip_bad=False, reporter=Reporter()).train
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
            gate = np.concatenate([batch[:GATE_TEXTS_A_BATCH] for batch in batches])
            agreement = require_same_logits(head, plain, qkv, exact, sample, gate)
            case = _measure_head(plain, qkv, batches, sample_lengths, rounds, advance)
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
    """The project's recipe with that head, reading what the course reads."""
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


def batches_at_quantiles(lengths: IntArray, batch_size: int, count: int) -> list[IntArray]:
    """Batches of texts of similar length, in the middle of equal shares of an epoch.

    The texts are sorted by length and cut into batches; of `count` equal shares of these batches
    the middle one is taken.

    Args:
        lengths: int64 (texts,), tokens of each text.
        batch_size: texts a batch; a smaller last one is not drawn.
        count: batches to draw.

    Returns:
        int64 indices of each batch, shortest texts first.

    Raises:
        ValueError: there are fewer full batches than that.
    """
    full = len(lengths) // batch_size
    if full < count:
        raise ValueError(f"{len(lengths)} texts make {full} batches of {batch_size}, not {count}")
    order = np.argsort(lengths, kind="stable").astype(np.int64)
    places = [(2 * share + 1) * full // (2 * count) for share in range(count)]
    return [order[place * batch_size : (place + 1) * batch_size] for place in places]


def require_same_logits(
    head: str,
    plain: PlainTextTraining,
    qkv: TextRecipeTraining,
    exact: TextEncoder,
    sample: TextSplit,
    indices: IntArray,
) -> dict[str, float]:
    """Give the plain head qkv's weights and compare the logits of some texts, without dropout.

    The plain side reads each text alone, where nothing is padded and its missing mask does no
    harm. qkv reads them all in one batch: in float32 throughout, and as it is timed.

    Args:
        head: what the head is called in an error.
        plain: the baseline's training.
        qkv: qkv's training, as it is timed.
        exact: qkv's encoder in float32.
        sample: the texts of both trainings.
        indices: which of them to compare; their logits must not be all the same.

    Returns:
        `float32_difference`, the greatest of two logits, and `timed_relative_difference`, the root
        of the mean square over the logits' standard deviation between texts.

    Raises:
        QKVError: the first exceeds 1e-5 or the second 0.25.
    """
    # Both name their weights alike.
    plain.head.load_state_dict(qkv.model.head.state_dict())
    plain.head.eval()
    with torch.no_grad():
        theirs = torch.cat([plain.logits(indices[i : i + 1]) for i in range(len(indices))]).cpu()
    states = dict(exact.encode(exact.prepare([sample.texts[index] for index in indices])))
    in_order = [states[place].float() for place in range(len(indices))]
    in_float32 = float(_differences(qkv.logits_of(in_order), theirs).abs().max())
    timed = _differences(qkv.logits(indices), theirs)
    as_timed = float(timed.square().mean().sqrt() / theirs.std(correction=0))
    # Written so that NaN fails too.
    if not (in_float32 <= FLOAT32_TOLERANCE and as_timed <= TIMED_TOLERANCE):
        raise QKVError(
            f"logits of the plain {head} head and of qkv's differ by {in_float32:.2g} in float32 "
            f"and by {as_timed:.1%} of their spread as timed, at equal weights",
            remedy="mend the one that is wrong before timing either",
        )
    return {"float32_difference": in_float32, "timed_relative_difference": as_timed}


def _differences(ours: Tensor, theirs: Tensor) -> Tensor:
    """Of two classes' logits (texts, 2) from one logit (texts,)."""
    return ours[:, 1] - ours[:, 0] - theirs
