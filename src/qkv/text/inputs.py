"""What a text model reads of a list of texts, and its logits for all of them."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor, nn

from qkv.data.dataset import IntArray
from qkv.measurement.release import BATCHES_BETWEEN, release_free_memory
from qkv.text.batches import token_budget_batches


class Inputs(Protocol):
    """States or ids of a list of texts."""

    @property
    def lengths(self) -> IntArray:
        """Tokens of each text."""
        ...

    def padded(self, indices: IntArray) -> tuple[Tensor, Tensor]:
        """Some texts: states (texts, tokens, dim) or int64 ids (texts, tokens), and their mask.

        The mask is bool (texts, tokens), True where a token is.
        """
        ...


@torch.inference_mode()
def predict_inputs(
    model: nn.Module, inputs: Inputs, batch_tokens: int, device: torch.device
) -> Tensor:
    """Logits of every text by a model put in evaluation mode, in batches of similar length.

    Returns:
        float32 (texts, classes), on the CPU, in the order of the texts.
    """
    model.eval()
    batches = token_budget_batches(inputs.lengths, batch_tokens)
    parts = []
    for number, indices in enumerate(batches, start=1):
        states, attention_mask = inputs.padded(indices)
        parts.append(model(states.to(device), attention_mask.to(device)).float().cpu())
        if number % BATCHES_BETWEEN == 0:
            release_free_memory()
    logits = torch.cat(parts)
    in_order = torch.empty_like(logits)
    in_order[torch.cat([torch.from_numpy(indices) for indices in batches])] = logits
    return in_order
