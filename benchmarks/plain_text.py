"""The baselines of text: a pipeline of `transformers` as one writes it, and the course's training.

Float32, nothing sorted inside an encoding, nothing kept between epochs, and nothing of qkv's text
modules: what one writes straight from a tutorial and from the description.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from qkv.data.dataset import IntArray
from qkv.errors import MissingExtraError

BATCH_SIZE = 128
MAX_TOKENS = 512
GRU_HIDDEN, GRU_LAYERS, GRU_DROPOUT = 256, 2, 0.25
BERT_SEED = 0
TOKENIZER_FILES = "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt"


class PlainEncoder:
    """A pretrained encoder and its tokenizer by `transformers`, float32.

    Args:
        folder: a model's folder: config.json, model.safetensors and the tokenizer.
        device: where to compute.

    Raises:
        MissingExtraError: `transformers` is not installed.
    """

    def __init__(self, folder: Path, device: torch.device) -> None:
        self._tokenizer, model = from_pretrained(folder, torch.float32)
        self.model = model.to(device)
        self.dim: int = model.config.hidden_size
        self._device = device

    def token_ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of each text with the special tokens, cut to 512."""
        ids: list[list[int]] = self._tokenizer(
            list(texts), truncation=True, max_length=MAX_TOKENS
        ).input_ids
        return ids

    def encode(self, texts: Sequence[str]) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches of 128 in the order of the texts, each padded to its longest.

        Yields:
            Last hidden states (texts, tokens, dim) and the attention mask (texts, tokens), on the
            CPU.
        """
        for start in range(0, len(texts), BATCH_SIZE):
            batch = self._tokenizer(
                list(texts[start : start + BATCH_SIZE]),
                padding=True,
                truncation=True,
                max_length=MAX_TOKENS,
                return_tensors="pt",
            ).to(self._device)
            with torch.no_grad():
                states = self.model(**batch).last_hidden_state
            yield states.cpu(), batch.attention_mask.cpu()

    @torch.no_grad()
    def unmasked_states(self, input_ids: Tensor) -> Tensor:
        """Last hidden states (texts, tokens, dim), no mask passed."""
        states: Tensor = self.model(input_ids.to(self._device)).last_hidden_state
        return states


class PlainGRU(nn.Module):
    """The course's head: a GRU over the states, its last ones, one logit.

    Args:
        dim: width of a state; 2,759,169 parameters for 768.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.gru = nn.GRU(
            dim,
            GRU_HIDDEN,
            num_layers=GRU_LAYERS,
            bidirectional=True,
            batch_first=True,
            dropout=GRU_DROPOUT,
        )
        self.dropout = nn.Dropout(GRU_DROPOUT)
        self.output = nn.Linear(2 * GRU_HIDDEN, 1)

    def forward(self, states: Tensor) -> Tensor:
        """States (texts, tokens, dim) to logits (texts,)."""
        _, last = self.gru(states)
        both = torch.cat([last[-2], last[-1]], dim=1)
        logits: Tensor = self.output(self.dropout(both))[:, 0]
        return logits


class PlainAttention(nn.Module):
    """The attention head of a recipe: a small network on each token, and learned queries.

    Args:
        dim: width of a state.
        token_mlp_dim: width of the network that each state passes.
        num_queries: queries, each of which pools all tokens.
        hidden_dim: width of the layer before the output.
        dropout: before the hidden layer and before the output.
        token_dropout: share of tokens hidden in a training step.
    """

    def __init__(
        self,
        dim: int,
        *,
        token_mlp_dim: int,
        num_queries: int,
        hidden_dim: int,
        dropout: float,
        token_dropout: float,
    ) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.token_mlp = nn.Linear(dim, token_mlp_dim)
        self.query = nn.Linear(token_mlp_dim, num_queries)
        self.dropout = nn.Dropout(dropout)
        self.hidden = nn.Linear(token_mlp_dim * num_queries, hidden_dim)
        self.output = nn.Linear(hidden_dim, 1)
        self.token_dropout = token_dropout

    def forward(self, states: Tensor) -> Tensor:
        """States (texts, tokens, dim) to logits (texts,)."""
        x = functional.gelu(self.token_mlp(self.norm(states)))
        scores = self.query(x)
        if self.training:
            unseen = torch.rand(scores.shape[:2], device=scores.device) < self.token_dropout
            unseen[:, 0] = False
            scores = scores.masked_fill(unseen[..., None], -torch.inf)
        pooled = (scores.softmax(dim=1).transpose(1, 2) @ x).flatten(1)
        features = functional.gelu(self.hidden(self.dropout(pooled)))
        logits: Tensor = self.output(self.dropout(features))[:, 0]
        return logits


class PlainTextTraining:
    """The course's training: encoder and head in every step, BCE, Adam at its defaults.

    As in the course no mask is passed and the head reads the padding too. That is wrong for every
    text but the longest of a batch, and faster: torch's GRU takes more than twice as long over
    packed sequences.

    Args:
        encoder: frozen.
        head: states (texts, tokens, dim) to logits (texts,).
        texts: what it learns from; they are tokenised here, once.
        labels: 0 or 1 of each text.
        device: where to compute.
    """

    def __init__(
        self,
        encoder: PlainEncoder,
        head: nn.Module,
        texts: Sequence[str],
        labels: IntArray,
        device: torch.device,
    ) -> None:
        self.encoder = encoder
        self.head = head.to(device)
        self._ids = [torch.tensor(ids) for ids in encoder.token_ids(texts)]
        self._labels = torch.from_numpy(labels).float().to(device)
        self._optimizer = torch.optim.Adam(self.head.parameters())

    def logits(self, indices: IntArray) -> Tensor:
        """Logits (texts,) of the texts at `indices`, padded to the longest of them."""
        ids = nn.utils.rnn.pad_sequence([self._ids[i] for i in indices], batch_first=True)
        logits: Tensor = self.head(self.encoder.unmasked_states(ids))
        return logits

    def step(self, indices: IntArray) -> float:
        """One step of Adam on the texts at `indices`; returns the loss."""
        self.head.train()
        self._optimizer.zero_grad()
        loss = functional.binary_cross_entropy_with_logits(
            self.logits(indices), self._labels[torch.from_numpy(indices)]
        )
        loss.backward()  # type: ignore[no-untyped-call]
        self._optimizer.step()
        return float(loss.detach())


def from_pretrained(folder: Path, dtype: torch.dtype) -> tuple[Any, Any]:
    """A tokenizer and a frozen encoder by `transformers`, which draws no progress bar.

    Raises:
        MissingExtraError: `transformers` is not installed.
    """
    try:
        from transformers import AutoModel, AutoTokenizer
        from transformers.utils import logging
    except ImportError:
        raise MissingExtraError(
            "the baseline is the pipeline of transformers, which is not installed",
            remedy="pip install 'qkv[text]'",
        ) from None
    shows_progress = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        model = AutoModel.from_pretrained(
            folder, dtype=dtype, local_files_only=True, use_safetensors=True
        )
    finally:
        if shows_progress:
            logging.enable_progress_bar()  # type: ignore[no-untyped-call]
    return tokenizer, model.eval().requires_grad_(False)


def write_random_bert(folder: Path, tokenizer_folder: Path, changes: Mapping[str, Any]) -> None:
    """Write a model of BERT-base's shape with seeded random weights, as slow as the real one.

    Args:
        folder: where; it must exist.
        tokenizer_folder: a model's folder whose tokenizer is copied; the embedded encoder has the
            very vocabulary of bert-base-uncased.
        changes: to the config of bert-base-uncased (Devlin, Chang, Lee and Toutanova 2019).
    """
    from safetensors.torch import save_file
    from transformers import BertConfig, BertModel

    # Its defaults are those of bert-base-uncased: 109,482,240 parameters.
    config = BertConfig(**changes, architectures=["BertModel"])
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(BERT_SEED)
        model = BertModel(config)
    # The model's own way of saving draws a progress bar.
    model.config.save_pretrained(folder)
    save_file(model.state_dict(), folder / "model.safetensors", metadata={"format": "pt"})
    for name in TOKENIZER_FILES:
        source = tokenizer_folder / name
        if source.is_file():
            shutil.copyfile(source, folder / name)
