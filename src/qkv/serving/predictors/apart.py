"""An image model in processes of its own, which do not share the server's interpreter.

A model of a hundred operations takes and leaves the interpreter a hundred times a batch, and a busy
event loop takes it in between. Two processes beside such a loop classify a third more images a
second than two threads, at the cost of the memory of two more programs.
"""

from __future__ import annotations

import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue
from typing import BinaryIO, cast

import numpy as np
from jaxtyping import Float32, UInt8

from qkv.errors import ServerStartError
from qkv.serving.errors import ServingError
from qkv.serving.predictors.wire import CutOffError, read_probabilities, read_ready, write_images

MODULE = "qkv.serving.predictors.image_process"
END_SECONDS = 2.0


class ImageProcesses:
    """Processes that compute the same model; each for one caller at a time.

    Args:
        run: the folder of the model.
        count: how many.
        threads: of torch, in each.

    Raises:
        ServerStartError: one ends before its model is loaded.
    """

    def __init__(self, run: Path, count: int, threads: int) -> None:
        self._run = run
        self._threads = threads
        self._free: SimpleQueue[_Process] = SimpleQueue()
        self._all: set[_Process] = set()
        # All at once: what takes longest is to import torch.
        for _ in range(count):
            self._free.put(self._start())
        try:
            for process in self._all:
                process.wait_until_ready()
        except CutOffError:
            self.close()
            raise ServerStartError(
                f"a process of {run} ended before its model was loaded",
                remedy="see the lines above; for want of memory, serve without --processes",
            ) from None

    def probabilities(
        self, images: UInt8[np.ndarray, "images channels size size"]
    ) -> Float32[np.ndarray, "images classes"]:
        """Probabilities of a batch, by the next process that is free; from any thread.

        Raises:
            ServingError: the process ended; another takes its place.
        """
        process = self._free.get()
        try:
            return process.probabilities(images)
        except (CutOffError, OSError, ValueError):  # it has ended, or its pipes are closed
            process.end()
            self._all.discard(process)
            process = self._start()
            raise ServingError(
                500, "the process of this model has ended", remedy="try again"
            ) from None
        finally:
            self._free.put(process)

    def close(self) -> None:
        """End all of them."""
        for process in list(self._all):  # one may be replaced meanwhile
            process.end()

    def _start(self) -> _Process:
        process = _Process(self._run, self._threads)
        self._all.add(process)
        return process


class _Process:
    """One of them."""

    def __init__(self, run: Path, threads: int) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", MODULE, str(run), str(threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self._requests = cast("BinaryIO", self._process.stdin)
        self._answers = cast("BinaryIO", self._process.stdout)
        self._num_classes = 0

    def wait_until_ready(self) -> None:
        if not self._num_classes:
            self._num_classes = read_ready(self._answers)

    def probabilities(self, images: np.ndarray) -> np.ndarray:
        self.wait_until_ready()
        write_images(self._requests, images)
        return read_probabilities(self._answers, len(images), self._num_classes)

    def end(self) -> None:
        with suppress(OSError):  # what it has not read
            self._requests.close()
        try:
            self._process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._answers.close()
