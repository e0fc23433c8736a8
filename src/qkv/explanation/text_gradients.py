"""Integrated gradients of a text, over its word embeddings or the states that a head reads."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from qkv.explanation import integrated_gradients as path
from qkv.explanation.explanation import Attribution
from qkv.explanation.text_masking import ClassScore, MaskedText, bounded_steps
from qkv.explanation.text_words import ReadText
from qkv.text.classifier import TextClassifier
from qkv.text.encoder.trainable import EncoderTop, StackedEncoder, WholeEncoder

STEPS = 32
# Bounds what the gradients of a batch of steps keep: about 20 KiB a token and layer.
TOKENS_AT_ONCE = 2048
LAYER_STEPS = 8
STATES_AT_ONCE = 4096


def integrated_gradients(
    masked: MaskedText, label: int, *, steps: int | None = None
) -> Attribution:
    """What the pieces of each word add to the log odds of a class, (words,).

    The path runs through word embeddings, before positions are added to them, from that of [PAD] in
    each piece's place; special tokens stay. The log odds are those of a float32 twin of the model.
    Stacked n-grams keep along the path their output for the whole text, and what the log odds lose
    when they miss a word is added to the word.

    Args:
        masked: the text, and its classifier.
        label: the class.
        steps: points of the integral; None: `STEPS`, or fewer of a long text.
    """
    score, notes, read = ClassScore(masked, label), [], masked.read
    if steps is None:
        steps = bounded_steps(masked, STEPS)
        notes += [f"{steps} steps in place of {STEPS}"] if steps < STEPS else []
    notes += [score.coarsened] if score.coarsened else []
    model = _Model(masked.classifier, read)
    shares, delta = path.integrated_gradients(
        lambda points: score.log_odds(model.logits(points)),
        model.baseline(),
        model.embeddings(),
        steps=steps,
        points_at_once=max(TOKENS_AT_ONCE // read.tokens, 1),
    )
    words = np.zeros(masked.parts + 1)
    for window, share in zip(read.windows, shares, strict=True):
        # Index −1, no word, adds to the last entry.
        np.add.at(words, window.words, share.sum(axis=1))
    return Attribution(words[:-1] + score.ngram_contributions(), delta, "; ".join(notes) or None)


def layer_integrated_gradients(
    masked: MaskedText, label: int, *, steps: int = LAYER_STEPS
) -> Attribution:
    """What each word's states add to the log odds of a class, (words,).

    The path runs from the mean of the text's states in every place to the states as they are. The
    encoder reads the text once. Its states depend on their context, so a word is credited with its
    own states only: what it changes in those of other words is credited to these. With what special
    tokens add, the values sum to what the log odds gain on that path. N-grams count as in
    `integrated_gradients`.
    """
    score = ClassScore(masked, label)
    states, mask = masked.read.states()
    head = masked.classifier.model.head
    (shares,), delta = path.integrated_gradients(
        lambda points: score.log_odds(head(points[0], mask.expand(len(points[0]), -1))),
        [states.mean(dim=1, keepdim=True).expand_as(states)],
        [states],
        steps=steps,
        points_at_once=max(STATES_AT_ONCE // states.shape[1], 1),
    )
    words = masked.read.by_word(shares.sum(axis=1))
    return Attribution(words + score.ngram_contributions(), delta, score.coarsened)


class _Model:
    """From word embeddings of a text's windows to logits, in float32."""

    def __init__(self, classifier: TextClassifier, read: ReadText) -> None:
        reader, top = classifier.reading.encoder, classifier.model.top
        self._classifier = classifier
        self._windows = read.windows
        self._pad_id = reader.tokenizer.pad_id
        self._layers = reader.layers
        self._encoder: StackedEncoder | WholeEncoder
        if isinstance(top, StackedEncoder | WholeEncoder):
            self._encoder, self._top = top, None
        else:
            assert top is None or isinstance(top, EncoderTop)
            self._encoder, self._top = reader.encoder.differentiable, top

    def embeddings(self) -> list[Tensor]:
        """Of each window, (1, tokens, width)."""
        return [self._embeddings(window.input_ids) for window in self._windows]

    def baseline(self) -> list[Tensor]:
        """Likewise with [PAD] in the place of all but the two special tokens."""
        ids = []
        for window in self._windows:
            ids.append(np.full_like(window.input_ids, self._pad_id))
            ids[-1][[0, -1]] = window.input_ids[[0, -1]]
        return [self._embeddings(window) for window in ids]

    def logits(self, embeddings: Sequence[Tensor]) -> Tensor:
        """(points, classes) for (points, tokens, width) of each window."""
        kept = [
            self._encoder.several(part, _every(part), self._layers)[:, window.keep]
            for part, window in zip(embeddings, self._windows, strict=True)
        ]
        states = torch.cat(kept, dim=1)
        if self._top is not None:
            states = self._top(states, _every(states))
        logits: Tensor = self._classifier.model.head(states, _every(states))
        return logits

    @torch.no_grad()
    def _embeddings(self, input_ids: np.ndarray[tuple[int], np.dtype[np.int32]]) -> Tensor:
        ids = torch.from_numpy(input_ids.astype(np.int64))[None].to(self._classifier.device)
        return self._encoder.word_embeddings(ids)


def _every(part: Tensor) -> Tensor:
    """The mask of tokens without padding."""
    return torch.ones(part.shape[:2], dtype=torch.bool, device=part.device)
