"""What all heads share: pooled features of a text in, logits out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Annotated, Literal, Self

import torch
from jaxtyping import Bool, Float
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import PackedSequence

from qkv.attention.multihead_cpu import Dropout
from qkv.errors import ShapeError
from qkv.settings import Settings
from qkv.text.gru import Packing, last_gru_states

Intermediates = dict[str, Tensor]
States = Float[Tensor, "texts tokens dim"]
Mask = Bool[Tensor, "texts tokens"]
Pooled = tuple[Float[Tensor, "texts features"], Intermediates]


class Head(nn.Module, ABC):
    """A map from a text's states to its logits.

    Two classes have one output z and the logits (0, z): their cross-entropy is the binary
    cross-entropy of z. More classes have an output each.

    Args:
        features: width of what `pool` gives.
        num_classes: classes to tell apart, at least 2.
        hidden_dim: width of a layer before the output; 0: none.
        dropout: share of entries set to zero before each linear map.
    """

    def __init__(
        self, features: int, num_classes: int, *, hidden_dim: int = 0, dropout: float = 0.0
    ) -> None:
        super().__init__()
        outputs = 1 if num_classes == 2 else num_classes
        self.dropout = Dropout(dropout)
        self.hidden = nn.Linear(features, hidden_dim) if hidden_dim else None
        self.output = nn.Linear(hidden_dim or features, outputs)

    @abstractmethod
    def pool(self, states: States, attention_mask: Mask) -> Pooled:
        """One vector a text, and what was computed on the way; padding changes neither."""

    def forward(self, states: States, attention_mask: Mask) -> Float[Tensor, "texts classes"]:
        """Logits; see `forward_with_intermediates`."""
        return self.forward_with_intermediates(states, attention_mask)[0]

    def forward_with_intermediates(
        self, states: States, attention_mask: Mask
    ) -> tuple[Float[Tensor, "texts classes"], Intermediates]:
        """Logits, and what the head computed on the way, by name.

        Args:
            states: of the tokens of each text; whatever stands in the padding is not read.
            attention_mask: True where a token is.

        Raises:
            ShapeError: shapes or dtypes do not fit, or a text has no token.
        """
        _check(states, attention_mask)
        pooled, named = self.pool(states, attention_mask)
        features = self.dropout(pooled)
        if self.hidden is not None:
            features = self.dropout(F.gelu(self.hidden(features)))
        logits: Tensor = self.output(features)
        if logits.shape[1] == 1:
            logits = torch.cat([torch.zeros_like(logits), logits], dim=1)
        return logits, named

    def _without_padding(self, states: Tensor, attention_mask: Tensor) -> Tensor:
        """The states, in the dtype of the weights, with zeros in the padding."""
        # Times zero would not do: what stands in the padding may be infinite.
        return states.to(self.output.weight.dtype).masked_fill(~attention_mask[..., None], 0.0)


def _check(states: Tensor, attention_mask: Tensor) -> None:
    if states.ndim != 3 or not states.is_floating_point():
        raise ShapeError(
            f"states have shape {tuple(states.shape)} and dtype {states.dtype}",
            remedy="pass floats (texts, tokens, dim)",
        )
    if attention_mask.shape != states.shape[:2] or attention_mask.dtype != torch.bool:
        raise ShapeError(
            f"attention_mask has shape {tuple(attention_mask.shape)} and dtype "
            f"{attention_mask.dtype} beside states {tuple(states.shape)}",
            remedy="pass booleans (texts, tokens), True where a token is",
        )
    if not len(states):
        raise ShapeError("there is no text to pool", remedy="pass at least one")
    seen = attention_mask.any(dim=1)
    if not bool(seen.all()):
        raise ShapeError(
            f"text {int(seen.int().argmin())} of the batch has no token",
            remedy="mark at least one token of each text in attention_mask",
        )


class GRUHeadSettings(Settings):
    """A recurrent network over the states, read at both real ends of a text."""

    kind: Literal["gru"] = "gru"
    """The name of this head."""
    hidden_size: int = Field(default=256, ge=1, le=4096)
    """Width of a direction's state."""
    num_layers: int = Field(default=2, ge=1, le=8)
    """Layers, each of two directions."""
    dropout: float = Field(default=0.25, ge=0.0, lt=1.0)
    """Share of entries set to zero between layers and before the last linear map."""


class AttentionHeadSettings(Settings):
    """Learned queries that pool the states."""

    kind: Literal["attention"] = "attention"
    """The name of this head."""
    input_norm: bool = True
    """Normalise each state first."""
    state_dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Share of a state's entries set to zero before anything is learned of them."""
    token_dropout: float = Field(default=0.1, ge=0.0, lt=1.0)
    """Share of tokens that are hidden in a training step; a text's first is always seen."""
    token_mlp_dim: int = Field(default=256, ge=0, le=8192)
    """Width of a layer that each state passes before it is pooled; 0: none."""
    num_queries: int = Field(default=4, ge=1, le=64)
    """Learned queries; each pools all tokens with its own weights."""
    num_heads: int = Field(default=1, ge=1, le=64)
    """Equal parts of a token that a query weighs and pools apart; they divide its width."""
    value_dim: int = Field(default=0, ge=0, le=8192)
    """Width of a linear map of each token to what is pooled of it; 0: the token as it is."""
    max_pool: bool = False
    """Also take the largest value of each pooled entry over the tokens."""
    hidden_dim: int = Field(default=128, ge=0, le=8192)
    """Width of a layer between the pooled values and the logits; 0: none."""
    dropout: float = Field(default=0.2, ge=0.0, lt=1.0)
    """Share of entries set to zero before each of the last linear maps."""

    @model_validator(mode="after")
    def _heads_are_equal_parts(self) -> Self:
        for name in ("token_mlp_dim", "value_dim"):
            width = getattr(self, name)
            if width % self.num_heads:
                raise ValueError(f"num_heads {self.num_heads} does not divide {name} {width}")
        return self


class MeanHeadSettings(Settings):
    """The mean of the states."""

    kind: Literal["mean"] = "mean"
    """The name of this head."""
    hidden_dim: int = Field(default=0, ge=0, le=8192)
    """Width of a layer between the mean and the logits; 0: none."""
    dropout: float = Field(default=0.1, ge=0.0, lt=1.0)
    """Share of entries set to zero before each linear map."""


HeadSettings = Annotated[
    GRUHeadSettings | AttentionHeadSettings | MeanHeadSettings, Field(discriminator="kind")
]


class AttentionHead(Head):
    """Weights w = softmax(x·q) over a text's tokens for each learned query q; Σ w·x side by side.

    Each state is normalised and passes a small network first, so a query can look for a word in its
    place rather than for a direction of the encoder's. With one query and no network this is the
    pooling of Yang et al. 2016, "Hierarchical attention networks for document classification".

    Several heads cut a token into equal parts, and each query has a vector for every part, as in
    Vaswani et al. 2017; scores are not divided by a root, since a learned query finds its scale.

    Raises:
        ShapeError: the heads do not divide the width of a token.
    """

    def __init__(self, settings: AttentionHeadSettings, dim: int, num_classes: int) -> None:
        width = settings.token_mlp_dim or dim
        values = settings.value_dim or width
        heads = settings.num_heads
        if width % heads or values % heads:
            raise ShapeError(
                f"{heads} heads do not divide tokens of width {width}",
                remedy="choose num_heads that do, or a token_mlp_dim",
            )
        super().__init__(
            values * (settings.num_queries + settings.max_pool),
            num_classes,
            hidden_dim=settings.hidden_dim,
            dropout=settings.dropout,
        )
        self.norm = nn.LayerNorm(dim) if settings.input_norm else None
        self.state_dropout = Dropout(settings.state_dropout)
        self.token_mlp = nn.Linear(dim, width) if settings.token_mlp_dim else None
        # Row (query, head) asks that head's part of a token.
        self.query = nn.Linear(width // heads, settings.num_queries * heads)
        self.value = nn.Linear(width, values) if settings.value_dim else None
        self.num_queries = settings.num_queries
        self.num_heads = heads
        self.max_pool = settings.max_pool
        self.token_dropout = settings.token_dropout

    def pool(self, states: States, attention_mask: Mask) -> Pooled:
        """The pooled values, and `pool_weights` (texts, queries, tokens).

        With several heads the weights have the shape (texts, queries, heads, tokens).
        """
        x = self._without_padding(states, attention_mask)
        if self.norm is not None:
            x = self.norm(x)
        x = self.state_dropout(x)
        if self.token_mlp is not None:
            x = F.gelu(self.token_mlp(x))
        seen = attention_mask
        if self.training and self.token_dropout:
            kept = torch.rand(seen.shape, device=seen.device) >= self.token_dropout
            seen = seen & (kept | (seen.cumsum(dim=1) == 1))
        weights = self._weights(x, seen)
        value = x if self.value is None else self.value(x)
        pooled = self._pooled(weights, value)
        if self.max_pool:
            largest = value.masked_fill(~seen[..., None], -torch.inf).amax(dim=1)
            pooled = torch.cat([pooled, largest.to(pooled.dtype)], dim=1)
        return pooled, {"pool_weights": weights if self.num_heads > 1 else weights[:, :, 0]}

    def _weights(self, x: Tensor, seen: Tensor) -> Tensor:
        """float32 or wider, (texts, queries, heads, tokens)."""
        texts, tokens, _ = x.shape
        heads = self.num_heads
        if heads == 1:
            scores = self.query(x).transpose(1, 2).unsqueeze(2)
        else:
            parts = x.view(texts, tokens, heads, -1).transpose(1, 2)
            asked = self.query.weight.view(self.num_queries, heads, -1).permute(1, 2, 0)
            bias = self.query.bias.view(self.num_queries, heads, 1)
            scores = torch.matmul(parts, asked.to(x.dtype)).permute(0, 3, 1, 2) + bias
        scores = scores.to(torch.promote_types(scores.dtype, torch.float32))
        weights: Tensor = scores.masked_fill(~seen[:, None, None], -torch.inf).softmax(dim=-1)
        return weights

    def _pooled(self, weights: Tensor, value: Tensor) -> Tensor:
        """Σ w·value, (texts, queries · width): queries, then heads, then their parts."""
        texts, tokens, width = value.shape
        if self.num_heads == 1:
            return torch.matmul(weights[:, :, 0].to(value.dtype), value).flatten(1)
        parts = value.view(texts, tokens, self.num_heads, -1).transpose(1, 2)
        pooled = torch.matmul(weights.transpose(1, 2).to(value.dtype), parts)
        return pooled.transpose(1, 2).reshape(texts, self.num_queries * width)


class GRUHead(Head):
    """A bidirectional GRU; the top layer's last state of each direction, side by side.

    The weights are those of torch's `nn.GRU`, by the same names and from the same start. Padding is
    never visited, so the backward direction begins at each text's own last token.
    """

    def __init__(self, settings: GRUHeadSettings, dim: int, num_classes: int) -> None:
        super().__init__(2 * settings.hidden_size, num_classes, dropout=settings.dropout)
        self.gru = nn.GRU(
            dim,
            settings.hidden_size,
            settings.num_layers,
            batch_first=True,
            dropout=settings.dropout if settings.num_layers > 1 else 0.0,
            bidirectional=True,
        )

    def pool(self, states: States, attention_mask: Mask) -> Pooled:
        """Last forward and last backward state of the top layer."""
        packing = Packing.of(attention_mask)
        rows = packing.pack(states)
        if states.device.type == "cpu" and not torch.compiler.is_compiling():
            return last_gru_states(self.gru, rows, packing), {}
        # An accelerator has kernels for `nn.GRU` itself.
        active = torch.tensor(packing.active)
        _, last = self.gru(PackedSequence(rows, active, packing.order, packing.ranks))
        return torch.cat([last[-2], last[-1]], dim=1), {}


class MeanHead(Head):
    """The mean over a text's tokens, then a linear map or a small network."""

    def __init__(self, settings: MeanHeadSettings, dim: int, num_classes: int) -> None:
        super().__init__(dim, num_classes, hidden_dim=settings.hidden_dim, dropout=settings.dropout)

    def pool(self, states: States, attention_mask: Mask) -> Pooled:
        """The mean of each text's states."""
        count = attention_mask.sum(dim=1, keepdim=True)
        return self._without_padding(states, attention_mask).sum(dim=1) / count, {}


def build_head(settings: HeadSettings, dim: int, num_classes: int) -> Head:
    """A head with random weights, for states of width `dim` and at least 2 classes."""
    if isinstance(settings, GRUHeadSettings):
        return GRUHead(settings, dim, num_classes)
    if isinstance(settings, AttentionHeadSettings):
        return AttentionHead(settings, dim, num_classes)
    return MeanHead(settings, dim, num_classes)
