"""Speed of encoding: the straightforward pipeline of `transformers`, and qkv.

Both turn the same texts into the last hidden states of every token, tokenising included.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.plain_text import BATCH_SIZE, PlainEncoder, write_random_bert
from qkv.data import imdb
from qkv.data.dataset import TextSplit
from qkv.devices import resolve_device, resolve_precision
from qkv.errors import QKVError
from qkv.measurement.timing import interleaved, quartiles, round_ratios
from qkv.progress import Progress
from qkv.text.encoder import EncoderSettings, locate_encoder
from qkv.text.text_encoder import TextEncoder, open_text_encoder

FLOAT32_TOLERANCE = 1e-4
LEAST_COSINE = 0.995
SAMPLE_SEED = 0


@dataclass(frozen=True)
class Sizes:
    """How much is measured."""

    texts: int = 128  # reviews in the sample
    gate_texts: int = 8  # how many of them must agree first
    # timed encodings of the whole sample by each side, for each encoder
    rounds: Mapping[str, int] = field(default_factory=lambda: {"minilm": 3, "bert_base": 1})
    # changes to the encoder with random weights
    bert: Mapping[str, Any] = field(default_factory=dict)


QUICK_SIZES = Sizes(
    texts=4,
    gate_texts=2,
    rounds={"minilm": 1, "bert_base": 1},
    bert={"num_hidden_layers": 1, "hidden_size": 48, "intermediate_size": 96},
)


def sampled_reviews(count: int) -> TextSplit:
    """The first `count` training reviews of IMDB in a seeded permutation.

    Raises:
        DataError: IMDB is nowhere and cannot be fetched.
    """
    train = imdb.load().train
    return train.subset(np.random.default_rng(SAMPLE_SEED).permutation(len(train))[:count])


def measure(*, quick: bool = False, progress: Progress | None = None) -> dict[str, Any]:
    """Tokens a second, padding not counted, from texts to states on the CPU, by encoder.

    Raises:
        QKVError: both do not give the same states, so their times cannot be compared.
        DataError: IMDB is nowhere and cannot be fetched.
        MissingExtraError: a package that reads encoders is not installed.
    """
    sizes = QUICK_SIZES if quick else Sizes()
    device = resolve_device("auto")
    texts = sampled_reviews(sizes.texts).texts
    embedded = locate_encoder(EncoderSettings().name).folder
    total = sum(sizes.rounds.values())
    done = 0
    figures: dict[str, Any] = {}
    ratios: dict[str, float] = {}

    def advance(rounds: int, _: int) -> None:
        if progress is not None:
            progress(done + rounds, total)

    with TemporaryDirectory(prefix="qkv-bench-") as scratch:
        for name, rounds in sizes.rounds.items():
            folder = embedded
            if name == "bert_base":
                folder = Path(scratch)
                write_random_bert(folder, embedded, sizes.bert)
            case = _measure_encoder(folder, texts, sizes.gate_texts, rounds, device, advance)
            ratios[name] = case.pop("ratio")
            figures[name] = case
            done += rounds
    return {
        "ratios": ratios,
        "figures": {
            **figures,
            "texts": len(texts),
            "sample": "training reviews of IMDB, the first of a seeded permutation",
            "tokenising": "included in both",
            "plain_batch_texts": BATCH_SIZE,
            "quick": quick,
            "device": device.type,
        },
    }


def _measure_encoder(
    folder: Path,
    texts: Sequence[str],
    gate_texts: int,
    rounds: int,
    device: torch.device,
    progress: Progress,
) -> dict[str, Any]:
    plain = PlainEncoder(folder, device)
    exact_settings = EncoderSettings(name=str(folder), precision="float32")
    settings = EncoderSettings(name=str(folder))
    qkv = open_text_encoder(settings, device=device)
    agreement = require_same_states(
        plain, open_text_encoder(exact_settings, device=device), qkv, texts[:gate_texts]
    )
    lengths = [len(ids) for ids in plain.token_ids(texts)]
    tokens = qkv.prepare(texts).tokens
    if tokens != sum(lengths):
        raise QKVError(
            f"the plain pipeline reads {sum(lengths):,} tokens and qkv {tokens:,}",
            remedy="mend the one that is wrong before timing either",
        )

    def encode_plainly() -> None:
        for _ in plain.encode(texts):
            pass

    def encode() -> None:
        for _ in qkv.encode(qkv.prepare(texts)):
            pass

    # The gate has warmed both up.
    seconds = interleaved({"plain": encode_plainly, "qkv": encode}, rounds, 0, progress=progress)
    speeds = {name: [tokens / second for second in values] for name, values in seconds.items()}
    ratios = round_ratios(seconds["plain"], seconds["qkv"])
    return {
        "ratio": statistics.median(ratios),
        **{f"{name}_tokens_per_second": statistics.median(speeds[name]) for name in speeds},
        "quartiles_tokens_per_second": {name: quartiles(values) for name, values in speeds.items()},
        "quartiles_ratio": quartiles(ratios),
        "rounds": rounds,
        "tokens": tokens,
        "plain_padded_tokens": _padded(lengths),
        "qkv_batch_tokens": settings.batch_tokens,
        "parameters": qkv.encoder.parameters,
        "precision": {
            "plain": "float32",
            "qkv": str(resolve_precision(settings.precision, device)).removeprefix("torch."),
        },
        "agreement": agreement,
    }


def require_same_states(
    plain: PlainEncoder, exact: TextEncoder, timed: TextEncoder, texts: Sequence[str]
) -> dict[str, float]:
    """Encode some texts all ways and compare the states of every token.

    Args:
        plain: the baseline.
        exact: qkv in float32.
        timed: qkv in the precision that is timed.
        texts: what to encode.

    Returns:
        `float32_difference`, the greatest between any two numbers, and `least_cosine`, between the
        states of a token by the baseline and in the precision that is timed.

    Raises:
        QKVError: the first exceeds 1e-4 or the second is below 0.995.
    """
    expected = [
        states[mask.bool()]
        for batch, masks in plain.encode(texts)
        for states, mask in zip(batch, masks, strict=True)
    ]
    in_float32, as_timed = (_states(encoder, texts) for encoder in (exact, timed))
    for number, (theirs, *ours) in enumerate(zip(expected, in_float32, as_timed, strict=True)):
        for states in ours:
            if states.shape != theirs.shape:
                raise QKVError(
                    f"text {number + 1} has {len(theirs)} states by the plain pipeline and "
                    f"{len(states)} by qkv",
                    remedy="mend the one that is wrong before timing either",
                )
    difference = float((torch.cat(in_float32) - torch.cat(expected)).abs().max())
    cosines = torch.cosine_similarity(torch.cat(as_timed), torch.cat(expected), dim=-1)
    least_cosine = float(cosines.min())
    # Written so that NaN fails too.
    if not (difference <= FLOAT32_TOLERANCE and least_cosine >= LEAST_COSINE):
        raise QKVError(
            f"states of the plain pipeline and of qkv differ by {difference:.2g} in float32, and "
            f"as timed their least cosine is {least_cosine:.5f}",
            remedy="mend the one that is wrong before timing either",
        )
    return {"float32_difference": difference, "least_cosine": least_cosine}


def _states(encoder: TextEncoder, texts: Sequence[str]) -> list[Tensor]:
    """States of each text, float32 (tokens, dim), in the order of the texts."""
    states = dict(encoder.encode(encoder.prepare(texts)))
    return [states[index].float() for index in range(len(texts))]


def _padded(lengths: Sequence[int]) -> int:
    """Tokens that the plain pipeline computes, padding included."""
    batches = (lengths[start : start + BATCH_SIZE] for start in range(0, len(lengths), BATCH_SIZE))
    return sum(len(batch) * max(batch) for batch in batches)
