"""A BERT of a few thousand random weights and a vocabulary of common words, as a folder."""

from __future__ import annotations

import json
from pathlib import Path

COMMON = """
[PAD] [UNK] [CLS] [SEP] [MASK] a an the this that film movie book story was is are very not so good
great fine best bad awful poor worst dull bright red blue green i you we loved hated saw it and or
but ! ? . , s ##s ##ly ##ed one two three four five six seven eight nine ten
"""
WORDS = COMMON.split()
LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"


def tiny_bert(
    folder: Path,
    *,
    dim: int = 16,
    num_layers: int = 3,
    num_heads: int = 2,
    positions: int = 40,
    seed: int = 0,
) -> Path:
    """Write config.json, model.safetensors, vocab.txt and tokenizer_config.json; return `folder`.

    Letters are pieces of their own, so any English word can be spelt.
    """
    import safetensors.torch
    import torch
    from transformers import BertConfig, BertModel

    vocabulary = [*WORDS, *(c for c in LETTERS if c not in WORDS), *(f"##{c}" for c in LETTERS)]
    vocabulary = list(dict.fromkeys(vocabulary))
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=dim,
        num_hidden_layers=num_layers,
        num_attention_heads=num_heads,
        intermediate_size=2 * dim,
        max_position_embeddings=positions,
        architectures=["BertModel"],
        # Random weights at the usual scale would leave all states nearly the same.
        initializer_range=0.3,
    )
    model = BertModel(config)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(config.to_json_string())
    safetensors.torch.save_file(
        {name: tensor.contiguous() for name, tensor in model.state_dict().items()},
        folder / "model.safetensors",
        metadata={"format": "pt"},
    )
    (folder / "vocab.txt").write_text("\n".join(vocabulary) + "\n")
    settings = {"do_lower_case": True, "tokenizer_class": "BertTokenizer"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder
