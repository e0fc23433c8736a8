"""What is trained: a head, or a head on the top of its encoder."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn


class TextModel(nn.Module):
    """Layers of an encoder, if any are trained, under a head.

    Args:
        head: states and mask to logits.
        top: what the inputs pass first: trained layers of the encoder, or all of it; None: the
            inputs are the states that the head reads.
    """

    def __init__(self, head: nn.Module, top: nn.Module | None = None) -> None:
        super().__init__()
        self.head = head
        self.top = top

    def forward(self, inputs: Tensor, attention_mask: Tensor) -> Tensor:
        """Logits float (texts, classes).

        Args:
            inputs: states (texts, tokens, dim), or int64 ids (texts, tokens) for a whole encoder.
            attention_mask: bool (texts, tokens), True where a token is.
        """
        logits: Tensor = self.head(self._states(inputs, attention_mask), attention_mask)
        return logits

    def forward_with_intermediates(
        self, inputs: Tensor, attention_mask: Tensor
    ) -> tuple[Tensor, dict[str, Any]]:
        """Logits, and what the head computed on the way."""
        states = self._states(inputs, attention_mask)
        answer: tuple[Tensor, dict[str, Any]] = self.head.forward_with_intermediates(  # type: ignore[operator]
            states, attention_mask
        )
        return answer

    def _states(self, inputs: Tensor, attention_mask: Tensor) -> Tensor:
        if self.top is None:
            return inputs
        states: Tensor = self.top(inputs, attention_mask)
        return states
