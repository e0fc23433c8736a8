"""A frozen encoder: windows of tokens go in, hidden states come out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float
from torch import Tensor, nn

from qkv.devices import Precision, resolve_precision
from qkv.errors import DataError, MissingExtraError, RecipeError, ShapeError
from qkv.text.encoder.blocks import (
    BLOCK_ROWS,
    Block,
    blocks_by_size,
    equal_blocks,
    mean_of,
    prepack_linears,
)
from qkv.text.encoder.hub import FAMILIES, EncoderFiles, Family, read_weights
from qkv.text.encoder.packed_attention import ATTENTION, register_packed_attention
from qkv.text.encoder.trainable import EncoderTop, StackedEncoder, WholeEncoder

Ids = npt.NDArray[np.int32]


class Encoder:
    """A pretrained encoder with frozen weights.

    Args:
        files: where it was found.
        device: where it computes.
        dtype: what weights are cast to, float32 or bfloat16.

    Attributes:
        dim: width of a state.
        num_layers: layers above the embeddings.
        num_heads: of each layer's attention.
        positions: tokens that it can read at once, special ones included.
        parameters: numbers in its architecture, an unused pooler's included.
        identity: what tells it from others, as JSON values.
        dtype: of weights and states.
        packs: whether windows are computed end to end, so that no padding is computed.
        block_rows: tokens that are computed at once at the cost of fewer; None: any number.
        by_size: whether windows are computed in small blocks instead, each in one that fits it.
    """

    def __init__(self, files: EncoderFiles, *, device: torch.device, dtype: torch.dtype) -> None:
        loaded = _load_model(files)
        self.files, self.device, self.dtype = files, device, dtype
        self.parameters = loaded.parameters
        self._module: Any = loaded.module.to(device=device, dtype=dtype).requires_grad_(False)
        self._config = self._module.config
        self.dim = int(self._config.hidden_size)
        self.num_layers = int(self._config.num_hidden_layers)
        self.num_heads = int(self._config.num_attention_heads)
        self._first_position = 0
        if loaded.family.positions_after_padding:
            self._first_position = int(self._config.pad_token_id) + 1
        self.positions = int(self._config.max_position_embeddings) - self._first_position
        self._stack = self._stack_of(loaded)
        self.packs = self._stack is not None
        self.block_rows: int | None = None
        self.by_size = False
        if self.packs and dtype == torch.bfloat16:
            self.block_rows = max(BLOCK_ROWS, self.positions)
            if device.type == "cpu":
                prepack_linears(self._module)
        self.identity: dict[str, Any] = {
            "name": files.name,
            "revision": files.revision,
            "weights_sha256": files.weights_sha256,
            "config_sha256": files.config_sha256,
        }

    def compute_windows_by_size(self) -> None:
        """From now on, answer single texts sooner, at more cost for many.

        In bfloat16 the last bits of states change; in other precisions nothing does.
        """
        self.by_size = self.block_rows is not None

    @torch.inference_mode()
    def packed_states(
        self, windows: Sequence[Ids | npt.NDArray[np.int64]], layers: Sequence[int]
    ) -> Float[Tensor, "rows dim"]:
        """States of several windows end to end, the mean of the given layers.

        The states of a window do not depend on the others: in bfloat16 to the last bit, in float32
        but for the order of sums.

        Args:
            windows: integer (tokens,) each, with special tokens.
            layers: which layers.

        Returns:
            States on the encoder's device; float32 if several layers are asked for.

        Raises:
            ShapeError: a window is empty or longer than the encoder's positions.
            RecipeError: there is no such layer.
        """
        self._require(windows, layers)
        if not windows:
            return torch.empty(0, self.dim, dtype=self.dtype, device=self.device)
        stack, device = self._stack, self.device
        if stack is not None:
            return torch.cat(
                self._in_blocks(
                    windows, lambda some, block: stack.packed(some, layers, device, block)
                )
            )
        # In bfloat16 even the length of the padding shows: then each window is alone.
        groups = [[w] for w in windows] if self.dtype == torch.bfloat16 else [list(windows)]
        return torch.cat([self._by_the_model(group, layers) for group in groups])

    @torch.inference_mode()
    def attention(
        self, windows: Sequence[Ids], layer: int, head: int | None = None
    ) -> list[Float[Tensor, "heads tokens tokens"]]:
        """Attention weights of a layer, by the very attention that computes its states.

        Args:
            windows: integer (tokens,) each, with special tokens.
            layer: which, from 1, whose attention reads the states of the layer below.
            head: which, from 0; None: all.

        Returns:
            Float32 of each window: row i is how much token i takes from each token.

        Raises:
            RecipeError: there is no such layer or head, or no layer that stands alone.
            ShapeError: a window is empty or longer than the encoder's positions.
        """
        if self._stack is None:
            raise RecipeError(
                f"{self.files.name} runs as a whole and does not hand out its attention",
                remedy="choose an encoder of another kind, such as bert, roberta or distilbert",
            )
        self._require(windows, [layer])
        if layer == 0 or (head is not None and not 0 <= head < self.num_heads):
            raise RecipeError(
                f"{self.files.name} has no attention of layer {layer}, head {head}",
                remedy=f"name layers 1 to {self.num_layers}, heads 0 to {self.num_heads - 1}",
            )
        stack, device = self._stack, self.device
        # In the blocks in which states are computed, so that it is the attention that made them.
        return self._in_blocks(
            windows,
            lambda some, block: stack.packed_attention(some, layer, head, device, block),
        )

    @cached_property
    def differentiable(self) -> StackedEncoder | WholeEncoder:
        """A float32 copy with frozen weights, for gradients by its inputs; kept once it is made."""
        return self.whole().requires_grad_(False)

    def top(self, n: int) -> EncoderTop:
        """A trainable float32 copy of the `n` uppermost layers, in evaluation mode."""
        stack = self._stack_of(_load_model(self.files))
        assert stack is not None
        return EncoderTop(stack.top.layers[self.num_layers - n :]).to(self.device).eval()

    def whole(self) -> StackedEncoder | WholeEncoder:
        """A trainable float32 copy of everything, in evaluation mode."""
        loaded = _load_model(self.files)
        return (self._stack_of(loaded) or WholeEncoder(loaded.module)).to(self.device).eval()

    def _stack_of(self, loaded: _LoadedModel) -> StackedEncoder | None:
        path = loaded.family.stack
        return None if path is None else StackedEncoder(loaded.module, path, self._first_position)

    def _require(self, windows: Sequence[npt.NDArray[Any]], layers: Sequence[int]) -> None:
        """Refuse layers that there are not and windows that cannot be read."""
        if not layers or min(layers) < 0 or max(layers) > self.num_layers:
            raise RecipeError(
                f"there is no layer among {list(layers)} of {self.files.name}",
                remedy=f"name layers 0 to {self.num_layers}",
            )
        for window in windows:
            if not 0 < len(window) <= self.positions:
                raise ShapeError(
                    f"a window has {len(window)} tokens, the encoder reads 1 to {self.positions}",
                    remedy="cut it",
                )

    def _in_blocks(
        self,
        windows: Sequence[npt.NDArray[Any]],
        compute: Callable[[Sequence[npt.NDArray[Any]], Block | None], Sequence[Tensor]],
    ) -> list[Tensor]:
        """What is computed of each window, in the blocks that its states need."""
        if self.block_rows is None:
            return list(compute(windows, None))
        lengths = np.array([len(window) for window in windows], dtype=np.int64)
        parts: dict[int, Tensor] = {}
        blocks = blocks_by_size(lengths) if self.by_size else equal_blocks(lengths, self.block_rows)
        for block in blocks:
            computed = compute([windows[index] for index in block.windows], block)
            parts.update(zip(block.windows.tolist(), computed, strict=True))
        return [parts[index] for index in range(len(windows))]

    def _by_the_model(self, windows: Sequence[npt.NDArray[Any]], layers: Sequence[int]) -> Tensor:
        rows = [torch.from_numpy(window.astype(np.int64)).to(self.device) for window in windows]
        # Padding gets the padding's id: some models count positions by it.
        ids = nn.utils.rnn.pad_sequence(
            rows, batch_first=True, padding_value=self._config.pad_token_id or 0
        )
        mask = nn.utils.rnn.pad_sequence([torch.ones_like(row) for row in rows], batch_first=True)
        mask = mask.bool()
        answer = self._module(input_ids=ids, attention_mask=mask, output_hidden_states=True)
        return mean_of([answer.hidden_states[layer] for layer in layers])[mask]


_REMEDY = "fetch the encoder again, or name another"
# Errors transformers raises for invalid configs.
_UNUSABLE = (OSError, ValueError, TypeError, LookupError, AttributeError, RuntimeError)


class _LoadedModel(NamedTuple):
    """A model of transformers without its pooler, in float32 and evaluation mode."""

    module: Any
    family: Family
    parameters: int  # with the pooler's


def load_encoder(
    files: EncoderFiles, *, device: torch.device, precision: Precision = "auto"
) -> Encoder:
    """The encoder of these files, with its weights cast once.

    Raises:
        MissingExtraError: transformers is not installed.
        DataError: the files are damaged, do not fit together, or are of no known kind.
        DeviceError: the device has no such precision.
    """
    return Encoder(files, device=device, dtype=resolve_precision(precision, device))


def _load_model(files: EncoderFiles) -> _LoadedModel:
    """The model of these files, new each time."""
    try:
        import transformers
    except ImportError:
        raise MissingExtraError(
            f"encoder {files.name} needs the package transformers",
            remedy="pip install 'qkv[text]'",
        ) from None
    with _silence(transformers):
        try:
            config = transformers.AutoConfig.from_pretrained(
                files.folder, trust_remote_code=False, local_files_only=True
            )
            if (family := FAMILIES.get(config.model_type)) is None:
                raise DataError(
                    f"{files.config}: qkv knows no encoder of model_type {config.model_type!r}",
                    remedy=f"choose one of {', '.join(sorted(FAMILIES))}",
                )
            module = _build(config, family, transformers)
        except _UNUSABLE as error:
            reason = next(iter(str(error).splitlines()), type(error).__name__)
            raise DataError(f"{files.config} cannot be used: {reason}", remedy=_REMEDY) from None
        parameters = sum(parameter.numel() for parameter in module.parameters())
        # Nothing reads what a pooler makes of the first state.
        if getattr(module, "pooler", None) is not None:
            module.pooler = None
        expected = module.state_dict()
        tensors = read_weights(files.weights, expected, module.base_model_prefix)
        module.load_state_dict(tensors, assign=True)
    return _LoadedModel(module.eval(), family, parameters)


def _build(config: Any, family: Family, transformers: Any) -> Any:
    from transformers.initialization import no_init_weights

    # The config of a decoder made from an encoder would hide what comes later in a text.
    config.is_decoder = False
    config.add_cross_attention = False
    attention = {}
    if family.stack is not None:
        register_packed_attention()
        attention = {"attn_implementation": ATTENTION}
    # All weights are replaced: what is drawn for them must not move the user's generator.
    with torch.random.fork_rng(devices=[]), no_init_weights():
        return transformers.AutoModel.from_config(
            config, dtype=torch.float32, trust_remote_code=False, **attention
        )


@contextmanager
def _silence(transformers: Any) -> Iterator[None]:
    """Let transformers say nothing but errors, for a moment."""
    logging = transformers.utils.logging
    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(before)
