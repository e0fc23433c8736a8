"""What is known about IMDB before any of it is read: addresses, hashes, counts, limits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from qkv.sources import ArchiveLimits, Artefact, Patience

CLASS_NAMES = ("neg", "pos")
SPLITS = ("train", "test")

TITLE = "IMDB"


@dataclass(frozen=True)
class ImdbFacts:
    """Where the data set comes from and how to know that it is whole; tests pass their own.

    Attributes:
        archive: the official tar archive, packed by gzip; the hash is that of the packed bytes.
        limits: what the archive may hold.
        reviews_per_class: reviews of each label in each split.
        sha256: `qkv.text.imdb.reviews.digest` of each split as it was published; a copy with
            other texts is used, but not without a remark.
        repository: the data set on the Hugging Face hub; None to leave the hub alone.
        revision: the commit there.
        patience: how the official download tries.
    """

    archive: Artefact
    limits: ArchiveLimits
    reviews_per_class: int
    sha256: Mapping[str, str] = field(default_factory=dict)
    repository: str | None = None
    revision: str | None = None
    patience: Patience = field(default_factory=Patience)


IMDB = ImdbFacts(
    # Maas et al. 2011, "Learning Word Vectors for Sentiment Analysis".
    archive=Artefact(
        name="aclImdb_v1.tar.gz",
        sha256="c40f74a18d3b61f90feba1e17730e0d38e8b97c05fde7008942e91923d1658fe",
        size=84_125_825,
        urls=("https://ai.stanford.edu/~amaas/data/sentiment/aclImdb_v1.tar.gz",),
    ),
    # 100,000 reviews, half of them without a label, in folders with some tables beside them. The
    # longest review has 14 kB.
    limits=ArchiveLimits(members=101_000, member_bytes=1 << 20, total_bytes=1 << 30),
    reviews_per_class=12_500,
    sha256={
        "train": "ded911cbb54d409e192021595d3b8a40176b35ab663af0fb8b6bfd7acf9bbf06",
        "test": "340290e10a3478d6774f31c5cfcb1976477898ff4c4d4527023973092ae394df",
    },
    repository="stanfordnlp/imdb",
    revision="e6281661ce1c48d982bc483cf8a173c1bbeb5d31",
)
