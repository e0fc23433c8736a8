"""An image model in processes of its own, which do not share the server's interpreter.

A model of a hundred operations takes and leaves the interpreter a hundred times a batch, and a busy
event loop takes it in between. Processes cost the memory of as many more programs.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float32, UInt8

from qkv.errors import QKVError, ServerStartError
from qkv.serving.errors import ServingError
from qkv.vision.classifier import VisionClassifier

# The event loop goes first: its turns are short, and clients wait for them.
COMPUTING_NICENESS = 5

# Of a worker process: its model.
_classifier: VisionClassifier


class ImageProcesses:
    """Processes that compute the same model, a batch each, with so many threads of torch.

    Raises:
        ServerStartError: one ends before its model is loaded.
    """

    def __init__(self, run: Path, count: int, threads: int) -> None:
        self._run, self._count, self._threads = run, count, threads
        self._lock = threading.Lock()
        self._pool = self._start()
        try:
            # A process is started for each of them, since none is free before it has loaded.
            for ready in [self._pool.submit(os.getpid) for _ in range(count)]:
                ready.result()
        except BrokenProcessPool:
            self.close()
            raise ServerStartError(
                f"a process of {run} ended before its model was loaded",
                remedy="see the lines above; for want of memory, serve without --processes",
            ) from None

    def probabilities(
        self, images: UInt8[np.ndarray, "images channels size size"]
    ) -> Float32[np.ndarray, "images classes"]:
        """Probabilities of a batch; from any thread.

        Raises:
            ServingError: a process has ended; new ones take the place of all.
        """
        pool = self._pool
        try:
            return pool.submit(_probabilities, images).result()
        except BrokenProcessPool:
            with self._lock:
                if self._pool is pool:  # the first to notice
                    pool.shutdown(wait=False)
                    self._pool = self._start()
            raise ServingError(
                500, "the process of this model has ended", remedy="try again"
            ) from None

    def close(self) -> None:
        """End all of them."""
        self._pool.shutdown(cancel_futures=True)

    def _start(self) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(
            self._count,
            # A fork would copy locks of the server's threads.
            multiprocessing.get_context("spawn"),
            _load,
            (self._run, self._threads),
        )


def lower_priority() -> None:
    """Have this thread, and those that it starts, wait for the event loop."""
    if sys.platform == "linux":  # elsewhere it would be the whole process
        this = threading.get_native_id()
        niceness = max(os.getpriority(os.PRIO_PROCESS, this), COMPUTING_NICENESS)
        os.setpriority(os.PRIO_PROCESS, this, niceness)


def _load(run: Path, threads: int) -> None:
    """Make a process ready to compute."""
    global _classifier
    # Ctrl-C reaches every process of a terminal; the server says when this one is to end.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    lower_priority()
    torch.set_num_threads(threads)
    from qkv.loading import load
    from qkv.runs import Run

    try:
        classifier = load(Run.open(run), device="cpu")
    except QKVError as error:
        sys.stderr.write(f"{error}\n")
        sys.stderr.flush()
        os._exit(1)
    assert isinstance(classifier, VisionClassifier)
    _classifier = classifier


def _end_with_parent() -> None:
    """A server that is killed tells nobody."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _probabilities(
    images: UInt8[np.ndarray, "images channels size size"],
) -> Float32[np.ndarray, "images classes"]:
    found: Float32[np.ndarray, "images classes"] = _classifier.logits(images).softmax(1).numpy()
    return found
