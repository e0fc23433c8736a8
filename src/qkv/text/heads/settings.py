"""Settings of the heads that turn a text's states into logits."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from qkv.settings import Settings


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
