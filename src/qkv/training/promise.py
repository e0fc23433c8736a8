"""What a recipe is expected to reach."""

from __future__ import annotations

from pydantic import Field

from qkv.settings import Settings


class Promise(Settings):
    """What a recipe is expected to reach; a benchmark holds it to that."""

    test_accuracy: float = Field(ge=0.0, le=1.0)
    """Share of the test split that is classified correctly."""
    train_minutes: float = Field(gt=0.0)
    """Minutes of training."""
    machine: str
    """The machine on which this was seen."""
