"""IMDB as a data set ready for training."""

from __future__ import annotations

from pathlib import Path

from qkv.data.dataset import TextDataset
from qkv.sources import Progress, cache_dir
from qkv.text.imdb.facts import CLASS_NAMES, IMDB, ImdbFacts
from qkv.text.imdb.locate import CACHE_FOLDER, locate
from qkv.text.imdb.packed import NAME, write_packed


def load(
    folder: Path | None = None,
    *,
    progress: Progress | None = None,
    local_only: bool = False,
    facts: ImdbFacts = IMDB,
) -> TextDataset:
    """IMDB (Maas et al. 2011): 25,000 training and 25,000 test reviews, neg 0 and pos 1.

    Texts, labels, order and hashes are the same wherever the data set comes from. The hashes are
    those of the texts as published; in the splits breaks are newlines, see `lines_for_breaks`.
    There is no validation split; the recipe may carve one out of the training reviews.

    Args:
        folder: the user's own copy; the only place looked at if given, see `locate`.
        progress: called with (done, total) bytes while the archive is downloaded.
        local_only: do not use the network.
        facts: addresses, hashes and counts of another data set of this form, for tests.

    Raises:
        DataError: the user's folder lacks files or holds wrong ones.
        DownloadError: the data set is nowhere and cannot be fetched; says what to do.
        MissingExtraError: the user's folder holds Parquet files and pyarrow is not installed.
        RunError: the cache cannot be written.
    """
    found = locate(folder, progress=progress, local_only=local_only, facts=facts)
    return TextDataset(
        name="imdb",
        class_names=CLASS_NAMES,
        train=found.reviews.split("train"),
        validation=None,
        test=found.reviews.split("test"),
        source=found.source,
        sha256=dict(found.reviews.sha256),
        notes=found.notes,
    )


def keep(folder: Path, *, facts: ImdbFacts = IMDB) -> Path:
    """Put the user's own copy into the cache, so that no folder need be named again.

    Returns:
        The file in the cache.

    Raises:
        DataError: the folder lacks files or holds wrong ones.
        MissingExtraError: it holds Parquet files and pyarrow is not installed.
        RunError: the cache cannot be written.
    """
    found = locate(folder, facts=facts)
    path = cache_dir() / CACHE_FOLDER / NAME
    write_packed(found.reviews, path, source=found.source)
    return path
