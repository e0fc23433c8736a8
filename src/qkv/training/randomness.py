"""Every random draw of a run as a function of its seed and of where it happens.

No generator's state has to be saved: a resumed run derives the same numbers from the same position.
"""

from __future__ import annotations

import numpy as np
import torch

from qkv.data.dataset import IntArray

_INITIAL_WEIGHTS, _EPOCH_ORDER, _STEP = range(3)


def seed_initial_weights(seed: int) -> None:
    """Seed torch before a model is built."""
    torch.manual_seed(_derived(seed, _INITIAL_WEIGHTS, 0))


def seed_step(seed: int, step: int) -> None:
    """Seed torch for the augmentation and dropout of one step, counted from 0."""
    torch.manual_seed(_derived(seed, _STEP, step))


def epoch_order(seed: int, epoch: int, examples: int) -> IntArray:
    """A permutation of the examples for one epoch, counted from 0."""
    generator = np.random.default_rng([seed, _EPOCH_ORDER, epoch])
    return generator.permutation(examples)


def _derived(seed: int, purpose: int, index: int) -> int:
    sequence = np.random.SeedSequence([seed, purpose, index])
    return int(sequence.generate_state(1, np.uint64)[0] >> 1)
