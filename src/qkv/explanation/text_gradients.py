"""Integrated gradients from an encoder's word embeddings to a classifier's answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from qkv.explanation.explanation import Attribution
from qkv.explanation.faithfulness import FloatArray
from qkv.explanation.integrated_gradients import path_integral
from qkv.explanation.text_masking import Answer, MaskedText, bounded_steps
from qkv.explanation.text_words import ReadText
from qkv.text.classifier import TextClassifier
from qkv.text.encoder.trainable import EncoderTop, StackedEncoder, WholeEncoder

STEPS = 32
# Bounds what the gradients of a batch of steps keep: about 20 KiB a token and layer.
TOKENS_AT_ONCE = 2048


@dataclass(frozen=True)
class PathGradients:
    """What a way from a baseline to a text adds to the text model's part of the log odds.

    Attributes:
        words: float64 (words,), the part of each.
        elsewhere: the part of pieces that belong to no word.
        change: the log odds of the text less those of the baseline, by the same float32 model;
            `words.sum() + elsewhere` comes to it as steps grow.
    """

    words: FloatArray
    elsewhere: float
    change: float

    @property
    def gap(self) -> float:
        """How far that sum is from the change: the error of the steps."""
        return float(self.words.sum()) + self.elsewhere - self.change


def integrated_gradients(
    masked: MaskedText, label: int, *, steps: int | None = None
) -> Attribution:
    """What each word adds to the log odds of a class, (words,), with the gap of the path.

    The text model's part is that of `path_gradients`. Where n-grams answer beside it, what they
    lose by the word is added.

    Args:
        masked: the text, and what answered.
        label: the class.
        steps: points of the integral; None: `STEPS`, or fewer of a long text.
    """
    answer, notes = Answer(masked, label), []
    if steps is None:
        steps = bounded_steps(masked, STEPS)
        notes += [f"{steps} steps in place of {STEPS}"] if steps < STEPS else []
    notes += [answer.coarsened] if answer.coarsened else []
    found = path_gradients(masked, answer, steps=steps)
    contributions = found.words + answer.ngram_contributions()
    return Attribution(contributions, found.gap, "; ".join(notes) or None)


def path_gradients(masked: MaskedText, answer: Answer, *, steps: int = STEPS) -> PathGradients:
    """What the way from a baseline to the text adds, by the pieces of each word.

    The path runs through word embeddings, before positions are added to them, from that of [PAD] in
    each piece's place; special tokens stay. The log odds are those of a float32 twin of the model,
    with the n-grams at what they say of the whole text.

    Args:
        masked: the text, and what answered.
        answer: of the class.
        steps: points of the integral.
    """
    read = masked.read
    model = _Model(masked.classifier, read)
    text, baseline = model.embeddings(), model.baseline()
    shares = path_integral(
        lambda points: answer.log_odds(model.logits(points)),
        baseline,
        text,
        steps=steps,
        points_at_once=max(TOKENS_AT_ONCE // sum(part.shape[1] for part in text), 1),
    )
    with torch.no_grad():
        ends = answer.log_odds(model.logits(text)) - answer.log_odds(model.logits(baseline))
    parts = np.zeros(len(read.words) + 1)
    for window, share in zip(read.windows, shares, strict=True):
        # Index −1, no word, adds to the last entry.
        np.add.at(parts, window.words, share.cpu().numpy())
    return PathGradients(parts[:-1], float(parts[-1]), ends.item())


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


STATE_GRADIENTS_STEPS = 8
STATES_AT_ONCE = 4096


def state_gradients(masked: MaskedText, label: int, *, steps: int = STEPS) -> Attribution:
    """What each word's states add to the log odds of a class, (words,), with the gap of the path.

    The path runs from a text in which every state is the mean of this text's, so that no place says
    anything of its own, to the states as they are. The encoder reads the text once; since its
    states know their context, a word counts for what it says in its place, and what others say
    because of it counts for them. With what special tokens add, the values sum to what the log odds
    gain on that path. Where n-grams answer beside the text model, what they lose by the word is
    added.

    Args:
        masked: the text, and what answered.
        label: the class.
        steps: points of the integral.
    """
    answer = Answer(masked, label)
    states, mask = masked.read.states()
    head = masked.classifier.model.head

    def score(parts: list[Tensor]) -> Tensor:
        return answer.log_odds(head(parts[0], mask.expand(len(parts[0]), -1)))

    start = states.mean(dim=1, keepdim=True).expand_as(states)
    (shares,) = path_integral(
        score,
        [start],
        [states],
        steps=steps,
        points_at_once=max(STATES_AT_ONCE // states.shape[1], 1),
    )
    with torch.no_grad():
        change = (score([states]) - score([start])).item()
    words = masked.read.by_word(shares.cpu().numpy())
    return Attribution(
        words + answer.ngram_contributions(), shares.sum().item() - change, answer.coarsened
    )
