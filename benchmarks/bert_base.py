"""An encoder of BERT-base's shape with random weights: as slow as the real one, and at hand."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

# config.json of bert-base-uncased (Devlin, Chang, Lee and Toutanova 2019): 109,482,240 parameters.
BERT_BASE: dict[str, Any] = {
    "vocab_size": 30_522,
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.1,
    "attention_probs_dropout_prob": 0.1,
    "max_position_embeddings": 512,
    "type_vocab_size": 2,
    "initializer_range": 0.02,
    "layer_norm_eps": 1e-12,
    "pad_token_id": 0,
}
SEED = 0
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "vocab.txt",
)


def write_random_bert(folder: Path, tokenizer_folder: Path, config: Mapping[str, Any]) -> None:
    """Write a model's folder: seeded random weights of that config, and a tokenizer.

    Args:
        folder: where; it must exist.
        tokenizer_folder: a model's folder whose tokenizer is copied; the embedded encoder has the
            very vocabulary of bert-base-uncased.
        config: of the model, such as `BERT_BASE`.
    """
    from safetensors.torch import save_file
    from transformers import BertConfig, BertModel

    with torch.random.fork_rng(devices=()):
        torch.manual_seed(SEED)
        model = BertModel(BertConfig(**config, architectures=["BertModel"]))
    # The model's own way of saving draws a progress bar.
    model.config.save_pretrained(folder)
    save_file(model.state_dict(), folder / "model.safetensors", metadata={"format": "pt"})
    for name in TOKENIZER_FILES:
        source = tokenizer_folder / name
        if source.is_file():
            shutil.copyfile(source, folder / name)
