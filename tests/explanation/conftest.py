"""The tiny BERT that all text models here read by."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_text_models import DIM, HEADS, LAYERS, POSITIONS

from tiny_bert import tiny_bert


@pytest.fixture(scope="session")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its folder."""
    return tiny_bert(
        tmp_path_factory.mktemp("bert") / "tiny",
        dim=DIM,
        num_layers=LAYERS,
        num_heads=HEADS,
        positions=POSITIONS,
    )
