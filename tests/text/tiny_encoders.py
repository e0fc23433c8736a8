"""Small random encoders in folders, made by transformers, which qkv's are compared with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from minilm import minilm_folder
from transformers import AutoConfig, AutoModel

from qkv.text.encoder import Encoder

SIZES: dict[str, Any] = {
    "vocab_size": 97,
    "hidden_size": 24,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 40,
    "max_position_embeddings": 40,
    "pad_token_id": 0,
}
OWN_SIZES: dict[str, dict[str, Any]] = {
    "albert": {"embedding_size": 12, "num_hidden_groups": 1},
    "deberta-v2": {
        "relative_attention": True,
        "position_buckets": 8,
        "pos_att_type": ["p2c", "c2p"],
        "position_biased_input": False,
        "norm_rel_ebd": "layer_norm",
        "share_att_key": True,
        "type_vocab_size": 0,
    },
    "distilbert": {"dim": 24, "n_layers": 3, "n_heads": 4, "hidden_dim": 40},
    "electra": {"embedding_size": 12},
    "roberta": {"pad_token_id": 1},
    "xlm-roberta": {"pad_token_id": 1},
    "camembert": {"pad_token_id": 1},
    "mpnet": {"pad_token_id": 1},
}
RENAMED = {"distilbert": ("hidden_size", "num_hidden_layers", "num_attention_heads")}


def tiny_config(kind: str, **changes: Any) -> Any:
    """A config of that model_type."""
    sizes = {**SIZES, **OWN_SIZES.get(kind, {}), **changes}
    for name in (*RENAMED.get(kind, ()), *(["intermediate_size"] if kind == "distilbert" else [])):
        sizes.pop(name)
    return AutoConfig.for_model(kind, **sizes)


def save_tiny_encoder(folder: Path, kind: str = "bert", **changes: Any) -> torch.nn.Module:
    """A random model, saved in `folder` with a vocabulary; deviations large enough to matter."""
    torch.manual_seed(3)
    model = AutoModel.from_config(tiny_config(kind, **changes))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    model.eval().save_pretrained(folder)
    size = model.config.vocab_size
    entries = (minilm_folder() / "vocab.txt").read_text("utf-8").split("\n")
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    letters = [entry for entry in entries if len(entry) == 1 or entry.startswith("##")]
    chosen = [*special, "the", "good", "bad", "film", *letters][:size]
    (folder / "vocab.txt").write_text("\n".join(chosen) + "\n", "utf-8")
    return model


def hidden_states(
    encoder: Encoder, input_ids: torch.Tensor, attention_mask: torch.Tensor, layers: list[int]
) -> torch.Tensor:
    """States of padded texts (texts, tokens, dim), zero where there is no token."""
    windows = [ids[seen].numpy() for ids, seen in zip(input_ids, attention_mask, strict=True)]
    states = encoder.packed_states(windows, layers).split([len(window) for window in windows])
    padded = torch.nn.utils.rnn.pad_sequence(list(states), batch_first=True)
    missing = input_ids.shape[1] - padded.shape[1]
    return torch.nn.functional.pad(padded, (0, 0, 0, missing))
