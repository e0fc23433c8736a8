"""A text recipe's training upon stored states, step by step and without a run folder."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from qkv.data.dataset import IntArray, TextSplit
from qkv.devices import autocast
from qkv.text.encoder_cache import EncoderCache
from qkv.text.heads import build_head
from qkv.text.model import TextModel
from qkv.text.text_encoder import TextEncoder
from qkv.training.checkpoint import seed_initial_weights
from qkv.training.loop import TrainStep
from qkv.training.recipe import TextRecipe
from qkv.training.text_task import TextTask


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

    def close(self) -> None:
        """Let go of the states' files, so that their folder can be removed."""
        self._reader.close()

    @torch.no_grad()
    def _evaluate(self, states: Tensor, attention_mask: Tensor) -> Tensor:
        self.model.eval()
        logits: Tensor = self.model(states.to(self._device), attention_mask.to(self._device))
        return logits.float().cpu()
