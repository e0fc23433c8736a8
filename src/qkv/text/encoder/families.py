"""The kinds of encoder that qkv knows, by the model_type of their config."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Family:
    """How encoders of one kind are built.

    Attributes:
        stack: attribute path of the list of layers, each of which turns hidden states and a mask
            into hidden states by the model's common attention function; None: the layers do not
            stand alone, and the model is run as a whole.
        positions_after_padding: positions are counted from the padding token's id plus one, which
            takes that many from the usable ones.
    """

    stack: str | None = None
    positions_after_padding: bool = False


FAMILIES = {
    "albert": Family(),
    "bert": Family("encoder.layer"),
    "camembert": Family("encoder.layer", positions_after_padding=True),
    "convbert": Family(),
    "deberta": Family(),
    "deberta-v2": Family(),
    "distilbert": Family("transformer.layer"),
    "electra": Family("encoder.layer"),
    "ernie": Family(),
    "mobilebert": Family(),
    "modernbert": Family(),
    "mpnet": Family(positions_after_padding=True),
    "roberta": Family("encoder.layer", positions_after_padding=True),
    "squeezebert": Family(),
    "xlm-roberta": Family("encoder.layer", positions_after_padding=True),
}
