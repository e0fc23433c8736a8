"""The process that computes one image model: `python -m qkv.serving.predictors.image_process RUN`.

It reads batches from standard input and writes their probabilities to standard output, in the form
of `wire.py`, until its input ends, as it does when the server ends in whatever way.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import torch

from qkv.errors import QKVError
from qkv.loading import load
from qkv.runs import Run
from qkv.serving.niceness import give_way
from qkv.serving.predictors.wire import read_images, write_probabilities, write_ready
from qkv.vision.classifier import VisionClassifier


def main() -> None:
    """Obey until there is nothing more to read."""
    run, threads = Path(sys.argv[1]), int(sys.argv[2])
    requests, answers = sys.stdin.buffer, os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    # Whatever a library prints must not stand among the answers.
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    # Ctrl-C reaches every process of a terminal; the server says when this one is to end.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    give_way()
    torch.set_num_threads(threads)
    try:
        classifier = load(Run.open(run), device="cpu")
    except QKVError as error:
        sys.exit(str(error))
    assert isinstance(classifier, VisionClassifier)
    write_ready(answers, len(classifier.class_names))
    while (images := read_images(requests)) is not None:
        write_probabilities(answers, classifier.logits(images).softmax(dim=1).numpy())


if __name__ == "__main__":
    main()
