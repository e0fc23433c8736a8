"""Text classifiers of random weights upon a tiny BERT, in every kind that there is."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from pydantic import TypeAdapter
from transformers import BertModel

from qkv.text.classifier import TextClassifier
from qkv.text.encoder import EncoderSettings
from qkv.text.heads import HeadSettings, build_head
from qkv.text.model import Reading, TextModel
from qkv.text.ngrams import NGramModel, NGramSettings
from qkv.text.stacking import Stack

CPU = torch.device("cpu")
DIM, LAYERS, HEADS, POSITIONS = 16, 3, 2, 40
NAMES = ("bad", "good", "plain")
TEXT = "The wonderful film was so good, but the book isn't!"
# Some 70 pieces: more than the tiny BERT can read at once.
LONG = f"{TEXT} I loved it and we saw a very dull, awful story. " * 2 + "One bad movie: 3.5 of ten"
REVIEWS = (
    ("the film was bad and the story was awful", 0),
    ("a poor and dull book", 0),
    ("it was a good film and we loved it", 1),
    ("a great story and the best movie", 1),
    ("the book was red", 2),
    ("the film is one of the two", 2),
)
WINDOWS = {"kind": "windows", "overlap_tokens": 8}
HEAD_KINDS: dict[str, dict[str, Any]] = {
    "attention": {"num_queries": 3, "token_mlp_dim": 12, "hidden_dim": 6},
    "gru": {"hidden_size": 5, "num_layers": 1},
    "mean": {},
}
# What changes how an answer comes about: heads, classes, both models, truncation, trained layers.
VARIANTS: dict[str, dict[str, Any]] = {
    "attention": {},
    "gru": {"head": "gru"},
    "mean of layers": {"head": "mean", "layers": [1, 2]},
    "three classes": {"classes": 3},
    "stacked": {"stacked": True},
    "stacked three": {"classes": 3, "stacked": True},
    "windows": {"truncation": WINDOWS},
    "head and tail": {"truncation": {"kind": "head+tail", "head_tokens": 20}},
    "top layer": {"unfrozen": 1},
    "whole": {"unfrozen": "all"},
}


def own_bert(bert: Path) -> Any:
    """The encoder by transformers, which hands out its attention."""
    model: Any = BertModel.from_pretrained(bert, attn_implementation="eager")
    return model.eval()


def tiny_classifier(
    bert: Path,
    *,
    head: str = "attention",
    classes: int = 2,
    layers: Any = "last",
    truncation: dict[str, Any] | None = None,
    unfrozen: int | Literal["all"] = 0,
    stacked: bool = False,
    precision: str = "float32",
    **head_settings: Any,
) -> TextClassifier:
    """A classifier whose answers differ well between texts.

    Args:
        bert: the encoder's folder.
        head: its kind.
        classes: 2 or 3.
        layers: of the encoder.
        truncation: its settings.
        unfrozen: top layers that are the model's own.
        stacked: whether n-grams answer beside it.
        precision: of the encoder.
        head_settings: in place of those of `HEAD_KINDS`.
    """
    document = {"name": str(bert), "layers": layers, "precision": precision}
    settings = EncoderSettings.parse({**document, "truncation": truncation or {}}, where="test")
    reading = Reading(settings, unfrozen, "float16", CPU)
    torch.manual_seed(classes)
    chosen = {"kind": head, **HEAD_KINDS[head], **head_settings}
    read: HeadSettings = TypeAdapter(HeadSettings).validate_python(chosen)
    built = build_head(read, DIM, classes)
    with torch.no_grad():
        for name, parameter in built.named_parameters():
            parameter.mul_(1.0 if name.startswith("gru") else 3.0)
    model = TextModel(built, reading.top())
    return TextClassifier(
        model,
        reading,
        NAMES[:classes],
        CPU,
        temperature=1.3,
        **(_beside(classes) if stacked else {}),
    )


def _beside(classes: int) -> dict[str, Any]:
    reviews = [(text, label) for text, label in REVIEWS if label < classes]
    labels = np.array([label for _, label in reviews], dtype=np.int64)
    settings = NGramSettings(max_n=2, min_texts=1, hash_bits=20)
    ngrams = NGramModel.fit([text for text, _ in reviews], labels, classes, settings)
    biases = (0.2, -0.2) if classes == 2 else (0.3, -0.1, -0.2)
    return {
        "ngrams": ngrams,
        "stack": Stack(neural_weight=0.7, ngram_weight=0.6, biases=biases),
    }


def log_odds_of(classifier: TextClassifier, text: str, label: int) -> float:
    """Log odds of a class by the classifier's own probabilities."""
    share = classifier.logits([text]).double().softmax(dim=1)[0].numpy()
    return float(np.log(share[label]) - np.log(np.delete(share, label).sum()))
