"""From texts to their token states: tokenised, cut, encoded, and joined again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from qkv.errors import RecipeError
from qkv.labelled import IntArray
from qkv.text.encoder import Encoder, EncoderSettings, load_encoder, locate_encoder
from qkv.text.tokens import Tokenizer
from qkv.text.truncation import Cut, cut, cut_off

Progress = Callable[[int, int], None]
Ids = npt.NDArray[np.int32]

# Changes when the same texts and settings would give other states.
FORMAT = 1
# Texts of which pieces are held as separate arrays; the rest is kept end to end.
TEXTS_AT_ONCE = 1024


@dataclass(frozen=True)
class Prepared:
    """Texts as windows of tokens, end to end.

    Attributes:
        ids: int32 (tokens,), all windows with their special tokens, text after text.
        starts: int64 (windows + 1,), where each window begins in `ids`.
        keep: int64 (windows, 2), first and last kept state of each window, counted from its start.
        first_windows: int64 (texts + 1,), where each text begins among the windows.
        pieces: int64 (texts,), word pieces of each text before anything was cut.
        cut: what was left out.
    """

    ids: Ids
    starts: IntArray
    keep: IntArray
    first_windows: IntArray
    pieces: IntArray
    cut: Cut

    @property
    def rows(self) -> IntArray:
        """States of each text, int64 (texts,)."""
        kept = np.concatenate([[0], np.cumsum(self.keep[:, 1] - self.keep[:, 0])])
        rows: IntArray = np.diff(kept[self.first_windows])
        return rows

    @property
    def tokens(self) -> int:
        """Tokens to compute; those in two windows count twice."""
        return len(self.ids)

    def window(self, number: int) -> Ids:
        """The tokens of one window."""
        return self.ids[self.starts[number] : self.starts[number + 1]]


class TextEncoder:
    """An encoder with its tokenizer, for texts of any length.

    Args:
        encoder: with frozen weights.
        tokenizer: its own.
        settings: which states, and what becomes of long texts.
        below: how many of its top layers are left to a model that trains them; `all`: no state is
            computed here.

    Attributes:
        encoder: as given.
        tokenizer: as given.
        layers: whose output a state is; several: their mean.
        dim: width of a state.
    """

    def __init__(
        self,
        encoder: Encoder,
        tokenizer: Tokenizer,
        settings: EncoderSettings,
        *,
        below: int | Literal["all"] = 0,
    ) -> None:
        self.encoder = encoder
        self.tokenizer = tokenizer
        self.layers = settings.resolved_layers(encoder.num_layers)
        if below != "all" and below > encoder.num_layers:
            raise RecipeError(
                f"unfreeze_layers is {below}, but {settings.name} has {encoder.num_layers} layers",
                remedy=f"set it to {encoder.num_layers} or less, or to 'all'",
            )
        if below not in (0, "all"):
            self.layers = [encoder.num_layers - int(below)]
        self.dim = encoder.dim
        self._truncation = settings.truncation
        self._batch_tokens = settings.batch_tokens
        self._truncation.window_pieces(encoder.positions)  # refuses what does not fit

    @property
    def identity(self) -> dict[str, Any]:
        """What tells encoder and tokenizer from others, as JSON values."""
        return {**self.encoder.identity, "tokenizer_sha256": self.tokenizer.sha256}

    @property
    def facts(self) -> dict[str, Any]:
        """Everything that determines a text's states, as JSON values."""
        return {
            "format": FORMAT,
            **self.identity,
            "layers": self.layers,
            "truncation": self._truncation.model_dump(mode="json"),
            "precision": str(self.encoder.dtype).removeprefix("torch."),
        }

    def prepare(self, texts: Sequence[str], *, progress: Progress | None = None) -> Prepared:
        """Tokenise and cut texts.

        Args:
            texts: of any length; an empty one is [CLS] [SEP].
            progress: called with (done, total) texts.
        """
        ids: list[Ids] = []
        lengths, keep, windows, pieces = [], [], [0], []
        for first in range(0, len(texts), TEXTS_AT_ONCE):
            for found in self.tokenizer.encode(texts[first : first + TEXTS_AT_ONCE]):
                pieces.append(len(found))
                cut_text = cut(
                    found,
                    self._truncation,
                    positions=self.encoder.positions,
                    cls_id=self.tokenizer.cls_id,
                    sep_id=self.tokenizer.sep_id,
                )
                for window in cut_text:
                    ids.append(window.input_ids)
                    lengths.append(len(window.input_ids))
                    keep.append((window.keep.start, window.keep.stop))
                windows.append(windows[-1] + len(cut_text))
            if progress:
                progress(min(first + TEXTS_AT_ONCE, len(texts)), len(texts))
        counted = np.array(pieces, dtype=np.int64)
        return Prepared(
            ids=np.concatenate(ids) if ids else np.empty(0, dtype=np.int32),
            starts=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
            keep=np.array(keep, dtype=np.int64).reshape(-1, 2),
            first_windows=np.array(windows, dtype=np.int64),
            pieces=counted,
            cut=cut_off(counted, self._truncation, positions=self.encoder.positions),
        )

    def encode(
        self, prepared: Prepared, *, progress: Progress | None = None
    ) -> Iterator[tuple[int, Tensor]]:
        """States of each text, short texts first.

        Texts are independent of each other, and so is what was given before an interruption.

        Args:
            prepared: from `prepare`.
            progress: called with (done, total) tokens.

        Yields:
            The index of a text, and its states (rows, dim) on the CPU, float32 or bfloat16.
        """
        done = 0
        held: dict[int, list[Tensor]] = {}
        for batch in self._batches(prepared):
            tokens = [prepared.window(window) for _, window in batch]
            states = self.encoder.packed_states(tokens, self.layers).cpu()
            parts = torch.split(states, [len(ids) for ids in tokens])
            for (text, window), part in zip(batch, parts, strict=True):
                first, last = prepared.keep[window]
                held.setdefault(text, []).append(part[first:last])
                if window + 1 == prepared.first_windows[text + 1]:
                    kept = held.pop(text)
                    yield text, kept[0] if len(kept) == 1 else torch.cat(kept)
            done += len(states)
            if progress:
                progress(done, prepared.tokens)

    def input_ids(self, texts: Sequence[str]) -> list[Ids]:
        """Tokens of each text with the special ones, int32 (tokens,), cut to one window."""
        prepared = self.prepare(texts)
        return [prepared.window(int(window)) for window in prepared.first_windows[:-1]]

    def _batches(self, prepared: Prepared) -> Iterator[list[tuple[int, int]]]:
        """Windows by (text, window), the windows of a text one after another."""
        batch: list[tuple[int, int]] = []
        tokens = 0
        for text in np.argsort(prepared.rows, kind="stable").tolist():
            for window in range(prepared.first_windows[text], prepared.first_windows[text + 1]):
                length = int(prepared.starts[window + 1] - prepared.starts[window])
                if batch and tokens + length > self._batch_tokens:
                    yield batch
                    batch, tokens = [], 0
                batch.append((text, window))
                tokens += length
        if batch:
            yield batch


def open_text_encoder(
    settings: EncoderSettings,
    *,
    device: torch.device,
    below: int | Literal["all"] = 0,
    progress: Progress | None = None,
) -> TextEncoder:
    """Find and load an encoder with its tokenizer.

    Args:
        settings: which, and which of its states.
        device: where it computes.
        below: top layers that are left to a model which trains them.
        progress: told while files are fetched.

    Raises:
        RecipeError: the settings ask for what the encoder does not have.
        QKVError: it cannot be had.
    """
    files = locate_encoder(settings.name, settings.revision, progress=progress)
    tokenizer = Tokenizer.from_folder(files.folder)
    encoder = load_encoder(files, device=device, precision=settings.precision)
    return TextEncoder(encoder, tokenizer, settings, below=below)
