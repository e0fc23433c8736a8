"""Kept states in padded batches.

Files are read, not mapped: pages of a map count as the process's memory for as long as they stay,
a map of a file that shrinks ends the process by a signal, and reading into place is no slower.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from io import FileIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Bool, Float32
from torch import Tensor

from qkv.data.dataset import IntArray
from qkv.errors import DataError
from qkv.text.states.keys import Kind
from qkv.text.states.packing import unpack
from qkv.text.states.table import Located

MAX_OPEN_FILES = 64


class StatesReader:
    """The states of given texts, in their order.

    Memory beyond a batch does not grow with the store. Threads may share a reader.

    Args:
        located: where the states are; all of them must be there.
        dim: width of a state.
        kind: how entries are kept.
    """

    def __init__(self, located: Located, dim: int, kind: Kind) -> None:
        self.dim = dim
        self.kind: Kind = kind
        self._located = located
        self._files = _OpenFiles()
        self._lock = threading.Lock()
        dtype = np.dtype(np.float16 if kind == "float16" else np.int8)
        # Kept between batches: memory fresh from the system costs more than the copying.
        self._values = np.empty(0, dtype)

    def __len__(self) -> int:
        return len(self._located.length)

    @property
    def lengths(self) -> IntArray:
        """int64 (texts,): states of each text."""
        return self._located.length

    @property
    def pieces(self) -> IntArray:
        """int64 (texts,): word pieces of each text before any were cut off; −1 where not known."""
        return self._located.pieces

    def padded(
        self, indices: npt.ArrayLike
    ) -> tuple[Float32[Tensor, "texts tokens dim"], Bool[Tensor, "texts tokens"]]:
        """The states of some texts, padded with zeros to the longest of them.

        Args:
            indices: which texts, in the order in which they are wanted.

        Returns:
            float32 states (texts, tokens, dim), and a mask that is True where a state is.

        Raises:
            DataError: a file has gone or shrunk since the reader was made.
        """
        chosen = np.asarray(indices, dtype=np.int64).reshape(-1)
        lengths = self._located.length[chosen]
        longest = int(lengths.max(initial=0))
        shape = (len(chosen), longest)
        scales = np.zeros(shape, np.float32) if self.kind == "int8" else None
        with self._lock:
            values = self._room(*shape)
            for place in self._in_file_order(chosen):
                self._read(
                    int(chosen[place]), values[place], None if scales is None else scales[place]
                )
            states = unpack(values, scales)
        mask = torch.from_numpy(np.arange(longest) < lengths[:, None])
        return states, mask

    def close(self) -> None:
        """Let go of the files; reading opens them again."""
        with self._lock:
            self._files.close()

    def _room(self, texts: int, tokens: int) -> npt.NDArray[Any]:
        size = texts * tokens * self.dim
        if self._values.size < size:
            self._values = np.empty(size, self._values.dtype)
        return self._values[:size].reshape(texts, tokens, self.dim)

    def _in_file_order(self, chosen: IntArray) -> IntArray:
        """Positions in the batch, so that each file is read once and forwards."""
        located = self._located
        return np.lexsort((located.start[chosen], located.segment[chosen]))

    def _read(
        self, text: int, values: npt.NDArray[Any], scales: npt.NDArray[np.float32] | None
    ) -> None:
        located = self._located
        length = int(located.length[text])
        values[length:] = 0
        if not length:
            return
        segment = located.segments[located.segment[text]]
        start = int(located.start[text])
        if scales is not None:
            self._files.read(segment.path, segment.scales_at + 4 * start, scales[:length])
        row_bytes = self.dim * values.itemsize
        self._files.read(segment.path, segment.states_at + row_bytes * start, values[:length])


class _OpenFiles:
    """The files that were used last, kept open."""

    def __init__(self) -> None:
        self._files: OrderedDict[Path, FileIO] = OrderedDict()

    def read(self, path: Path, at: int, target: npt.NDArray[Any]) -> None:
        """Fill `target`, which is contiguous, from byte `at` on."""
        left = target.data.cast("B")
        try:
            file = self._open(path)
            file.seek(at)
            while left:
                count = file.readinto(left)
                if not count:
                    raise DataError(
                        f"{path} has shrunk since it was checked",
                        remedy="run again: what is damaged is encoded again",
                    )
                left = left[count:]
        except OSError as error:
            raise DataError(
                f"{path} cannot be read any more: {error.strerror or error}",
                remedy="run again: what is missing is encoded again",
            ) from error

    def close(self) -> None:
        """Close them all."""
        while self._files:
            self._files.popitem()[1].close()

    def _open(self, path: Path) -> FileIO:
        file = self._files.pop(path, None)
        if file is None:
            if len(self._files) >= MAX_OPEN_FILES:
                self._files.popitem(last=False)[1].close()
            file = FileIO(path)
        self._files[path] = file
        return file

    def __del__(self) -> None:
        self.close()
