"""Integrated gradients from the states that a head reads to a classifier's answer."""

from __future__ import annotations

import torch
from torch import Tensor

from qkv.inspection.attribution import Attribution
from qkv.inspection.text.answer import Answer
from qkv.inspection.text.masked import MaskedText
from qkv.inspection.text.path_integral import path_integral

STEPS = 8
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
