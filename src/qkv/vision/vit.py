"""The Vision Transformer (Dosovitskiy et al. 2021), in the pre-norm form."""

from __future__ import annotations

import math
from collections.abc import Collection
from itertools import pairwise
from typing import Any, Literal, Self

import torch
import torch.nn.functional as F
from jaxtyping import Float
from pydantic import Field, model_validator
from torch import Tensor, nn

from qkv.attention.multihead import AttentionKernel, MultiHeadAttention
from qkv.attention.multihead_cpu import Dropout, keep_mask
from qkv.autograd import autocast_dtype, without_second_derivative
from qkv.settings import Settings


class LinearStem(nn.Linear):
    """Cut the image into patches, flatten each, and map it linearly to a token."""

    def __init__(self, channels: int, patch_size: int, dim: int) -> None:
        super().__init__(channels * patch_size**2, dim)
        self.patch_size = patch_size

    def forward(
        self, images: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch patches dim"]:
        """Tokens of the patches, row by row."""
        return super().forward(cut_patches(images, self.patch_size))


class ConvolutionalStem(nn.Sequential):
    """3×3 convolutions of stride 2 with GELU between, until one cell a patch remains.

    Neighbouring patches overlap in what they see, which suits small images and short training
    (Xiao et al. 2021, "Early convolutions help transformers see better").
    """

    def __init__(self, channels: int, patch_size: int, dim: int) -> None:
        halvings = patch_size.bit_length() - 1
        widths = [channels, *(max(min(8, dim), dim >> (halvings - 1 - i)) for i in range(halvings))]
        layers: list[nn.Module] = []
        for narrow, wide in pairwise(widths):
            layers += [nn.Conv2d(narrow, wide, 3, stride=2, padding=1), nn.GELU()]
        layers[-1:] = [] if layers else [nn.Conv2d(channels, dim, 1)]
        super().__init__(*layers)

    def forward(
        self, images: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch patches dim"]:
        """Tokens of the patches, row by row."""
        cells: Tensor = super().forward(images)  # type: ignore[no-untyped-call]
        return cells.flatten(2).transpose(1, 2)


def cut_patches(
    images: Float[Tensor, "batch channels height width"], patch_size: int
) -> Float[Tensor, "batch patches pixels"]:
    """Square patches row by row, each flattened as (row, column, channel)."""
    batch, channels, height, width = images.shape
    rows, columns = height // patch_size, width // patch_size
    cut = images.reshape(batch, channels, rows, patch_size, columns, patch_size)
    return cut.permute(0, 2, 4, 3, 5, 1).reshape(batch, rows * columns, -1)


def sine_cosine_positions(grid_size: int, dim: int) -> Float[Tensor, "patches dim"]:
    """Fixed embeddings of a patch's row and column, a half of the width each.

    For frequency ω_k = 10000^(−4k/dim), k < dim/4: sin(ω_k·column), cos(ω_k·column),
    sin(ω_k·row), cos(ω_k·row): the scheme of Vaswani et al. 2017, section 3.5, in two dimensions.
    """
    quarter = dim // 4
    frequencies = 10000.0 ** (-torch.arange(quarter) / quarter)
    angles = torch.arange(grid_size)[:, None] * frequencies
    waves = torch.cat([angles.sin(), angles.cos()], dim=1)
    columns = waves[None].expand(grid_size, -1, -1)
    rows = waves[:, None].expand(-1, grid_size, -1)
    return torch.cat([columns, rows], dim=-1).reshape(grid_size**2, dim)


Intermediates = dict[str, Tensor]


class ViTArchitecture(Settings):
    """The shape of a ViT, apart from what its data dictate."""

    patch_size: int = Field(default=4, ge=1, le=128)
    """Side of a square patch, in pixels; must divide the image size."""
    dim: int = Field(default=64, ge=4, le=4096)
    """Width of a token."""
    depth: int = Field(default=6, ge=1, le=64)
    """Number of blocks."""
    num_heads: int = Field(default=4, ge=1, le=64)
    """Attention heads a block."""
    head_dim: int = Field(default=64, ge=1, le=512)
    """Width of one head; the inner width of attention is num_heads × head_dim."""
    mlp_dim: int = Field(default=256, ge=1, le=16384)
    """Hidden width of a block's MLP."""
    pooling: Literal["class_token", "mean"] = "class_token"
    """What the head reads: a learned class token, or the mean of the patch tokens."""
    positions: Literal["learned", "sine_cosine"] = "learned"
    """Position embeddings: learned, or fixed sines and cosines of the row and the column."""
    stem: Literal["linear", "convolutional"] = "linear"
    """How a patch becomes a token: one linear map, or 3×3 convolutions of stride 2."""
    dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Drop probability after the embedding, after attention, and twice in the MLP."""
    attention: AttentionKernel = "softmax"
    """Attention kernel of every block: softmax, or linear with the feature map elu + 1."""
    qkv_bias: bool = False
    """Whether the projection to queries, keys and values has a bias."""
    embedding_std: float = Field(default=1.0, ge=0.0, le=10.0)
    """Standard deviation of the normal draw for class token and learned positions."""
    initial_weights: Literal["torch", "xavier"] = "torch"
    """Draw of the linear maps: torch's default, or Xavier-uniform with zero biases."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.positions == "sine_cosine" and self.dim % 4:
            raise ValueError("sine_cosine positions need a dim that 4 divides")
        if self.stem == "convolutional" and self.patch_size & (self.patch_size - 1):
            raise ValueError("a convolutional stem needs a patch_size that is a power of two")
        return self


class ViTSettings(ViTArchitecture):
    """Everything that determines a ViT's parameters."""

    image_size: int = Field(ge=1, le=1024)
    """Side of the square input, in pixels."""
    channels: Literal[1, 3]
    """Channels of the input: 1 grey, 3 colour."""
    num_classes: int = Field(ge=2, le=100_000)
    """Width of the logits."""

    @model_validator(mode="after")
    def _patches_tile_the_image(self) -> Self:
        if self.image_size % self.patch_size:
            raise ValueError(
                f"patch_size {self.patch_size} does not divide image_size {self.image_size}"
            )
        return self

    @property
    def grid_size(self) -> int:
        """Patches along one side of the image."""
        return self.image_size // self.patch_size


class MLP(nn.Sequential):
    """Linear, GELU, linear, with dropout after each linear map's activation."""

    def __init__(self, dim: int, hidden_dim: int, dropout: float) -> None:
        super().__init__(
            nn.Linear(dim, hidden_dim),
            nn.GELU(),
            Dropout(dropout),
            nn.Linear(hidden_dim, dim),
            Dropout(dropout),
        )

    def forward(self, x: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch dim"]:
        """Apply the MLP to every token."""
        if x.device.type != "cpu" or torch.compiler.is_compiling():
            composed: Tensor = super().forward(x)  # type: ignore[no-untyped-call]
            return composed
        up, dropout, down = self[0], self[2], self[3]
        assert isinstance(up, nn.Linear)
        assert isinstance(dropout, Dropout)
        assert isinstance(down, nn.Linear)
        dtype = autocast_dtype(x)
        output: Tensor = _MLPFunction.apply(  # type: ignore[no-untyped-call]
            x.to(dtype),
            up.weight.to(dtype),
            up.bias.to(dtype),
            down.weight.to(dtype),
            down.bias.to(dtype),
            dropout.p if self.training else 0.0,
        )
        return output


class _MLPFunction(torch.autograd.Function):
    # Masks hold 16-bit zeros and ones and are applied in place; the factors 1/(1 − p) of both
    # dropouts are folded into the second weight and bias.

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        up_weight: Tensor,
        up_bias: Tensor,
        down_weight: Tensor,
        down_bias: Tensor,
        p: float,
    ) -> Tensor:
        rows = x.reshape(-1, x.shape[-1])
        hidden = F.linear(rows, up_weight, up_bias)
        active = F.gelu(hidden)
        hidden_mask = output_mask = None
        ctx.scale = 1.0 / (1.0 - p)
        if p == 0.0:
            output = F.linear(active, down_weight, down_bias)
        else:
            hidden_mask = keep_mask(active.shape, p)
            active.mul_(hidden_mask)
            down_weight = down_weight * ctx.scale**2
            output = F.linear(active, down_weight, down_bias * ctx.scale)
            output_mask = keep_mask(output.shape, p)
            output.mul_(output_mask)
        ctx.save_for_backward(
            rows, up_weight, hidden, hidden_mask, active, down_weight, output_mask
        )
        return output.view(x.shape)

    @staticmethod
    @without_second_derivative("the MLP on a CPU")
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        rows, up_weight, hidden, hidden_mask, active, down_weight, output_mask = ctx.saved_tensors
        upstream = gradient.reshape(rows.shape)
        if output_mask is not None:
            upstream = upstream * output_mask
        to_active = upstream @ down_weight
        if hidden_mask is not None:
            to_active.mul_(hidden_mask)
        to_hidden = torch.ops.aten.gelu_backward(to_active, hidden)
        return (
            (to_hidden @ up_weight).view(gradient.shape),
            # The narrow factor comes first because MKL is faster that way round.
            (rows.t() @ to_hidden).t(),
            to_hidden.sum(dim=0),
            (upstream.t() @ active).mul_(ctx.scale**2),
            upstream.sum(dim=0).mul_(ctx.scale),
            None,
        )


class Block(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x))."""

    def __init__(self, settings: ViTArchitecture) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(settings.dim)
        self.attention = MultiHeadAttention(
            settings.dim,
            settings.num_heads,
            settings.head_dim,
            kernel=settings.attention,
            qkv_bias=settings.qkv_bias,
            dropout=settings.dropout,
        )
        self.mlp_norm = nn.LayerNorm(settings.dim)
        self.mlp = MLP(settings.dim, settings.mlp_dim, settings.dropout)

    def forward(
        self, x: Float[Tensor, "batch tokens dim"], wanted: int | None = None
    ) -> Float[Tensor, "batch wanted dim"]:
        """One block of the encoder; only its first `wanted` tokens (all when None) come out."""
        return self._mix(x[:, :wanted] + self.attention(self.attention_norm(x), wanted))

    def forward_with_weights(
        self, x: Float[Tensor, "batch tokens dim"]
    ) -> tuple[Float[Tensor, "batch tokens dim"], Float[Tensor, "batch heads tokens tokens"]]:
        """The same block computed from its attention weights, and those weights."""
        attended, weights = self.attention.forward_with_weights(self.attention_norm(x))
        return self._mix(x + attended), weights

    def _mix(self, x: Tensor) -> Tensor:
        mixed: Tensor = x + self.mlp(self.mlp_norm(x))
        return mixed


class ViT(nn.Module):
    """Patches to tokens, blocks of attention and MLP, pooling, and a linear head."""

    def __init__(self, settings: ViTSettings) -> None:
        super().__init__()
        self.settings = settings
        dim = settings.dim
        stem = LinearStem if settings.stem == "linear" else ConvolutionalStem
        self.stem = stem(settings.channels, settings.patch_size, dim)
        std = settings.embedding_std
        patches = settings.grid_size**2
        self.class_token: nn.Parameter | None = None
        if settings.pooling == "class_token":
            self.class_token = nn.Parameter(torch.randn(1, 1, dim) * std)
        tokens = patches + (self.class_token is not None)
        self.positions: Tensor
        if settings.positions == "learned":
            self.positions = nn.Parameter(torch.randn(1, tokens, dim) * std)
        else:
            fixed = sine_cosine_positions(settings.grid_size, dim)
            if self.class_token is not None:
                fixed = torch.cat([torch.zeros(1, dim), fixed])
            # Computed from the settings alone, so it is not saved with the weights.
            self.register_buffer("positions", fixed[None], persistent=False)
        self.embedding_dropout = Dropout(settings.dropout)
        self.blocks = nn.ModuleList(Block(settings) for _ in range(settings.depth))
        self.norm = nn.LayerNorm(dim)
        self.head = nn.Linear(dim, settings.num_classes)
        if settings.initial_weights == "xavier":
            self.apply(_initialise_by_xavier)

    def forward(
        self, images: Float[Tensor, "batch channels height width"]
    ) -> Float[Tensor, "batch classes"]:
        """Logits of normalised images."""
        x = self._embed(self.stem(images))
        *blocks, last = self.blocks
        for block in blocks:
            x = block(x)
        # Where one token is read, the last block need not compute the others.
        return self._classify(last(x, None if self.class_token is None else 1))

    def forward_with_intermediates(
        self,
        images: Float[Tensor, "batch channels height width"],
        attention_layers: Collection[int] = (),
    ) -> tuple[Float[Tensor, "batch classes"], Intermediates]:
        """Logits and what the model computed on the way, by name.

        The names: `patch_embeddings` (batch, patches, dim), `embeddings` (batch, tokens, dim),
        `block_0`, `block_1`, … (batch, tokens, dim), and for each layer in `attention_layers`
        `attention_0`, … (batch, heads, tokens, tokens). A class token, if any, is token 0. Those
        layers are computed from these weights, so the logits have gradients with respect to them.

        Raises:
            IndexError: a layer in `attention_layers` does not exist.
        """
        for layer in attention_layers:
            if not 0 <= layer < len(self.blocks):
                raise IndexError(f"layer {layer} of a model with {len(self.blocks)} layers")
        patch_embeddings = self.stem(images)
        x = self._embed(patch_embeddings)
        named = {"patch_embeddings": patch_embeddings, "embeddings": x}
        for index, block in enumerate(self.blocks):
            assert isinstance(block, Block)
            if index in attention_layers:
                x, named[f"attention_{index}"] = block.forward_with_weights(x)
            else:
                x = block(x)
            named[f"block_{index}"] = x
        return self._classify(x), named

    def _embed(self, patch_embeddings: Tensor) -> Tensor:
        x = patch_embeddings
        if self.class_token is not None:
            x = torch.cat([self.class_token.expand(len(x), -1, -1).to(x.dtype), x], dim=1)
        embedded: Tensor = self.embedding_dropout(x + self.positions)
        return embedded

    def _classify(self, x: Tensor) -> Tensor:
        # Only the pooled token needs the last norm when one token is read.
        pooled = self.norm(x[:, 0]) if self.class_token is not None else self.norm(x).mean(dim=1)
        logits: Tensor = self.head(pooled)
        return logits


def _initialise_by_xavier(module: nn.Module) -> None:
    """Uniform with variance 2/(inputs + outputs), as Glorot and Bengio 2010, eq. 16."""
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def parameter_count(model: nn.Module) -> int:
    """Number of trainable scalars."""
    return sum(math.prod(p.shape) for p in model.parameters() if p.requires_grad)
