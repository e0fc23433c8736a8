"""Thousands of different requests at once through a real server process: no answer is swapped."""

from __future__ import annotations

import io
import resource
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.serving.http_client import Scores, difference, request_bytes
from benchmarks.serving.load import LoadGenerator, Target
from benchmarks.serving.servers import ServerProcess, free_port
from benchmarks.serving.workload import make_vision_run
from qkv.loading import load

REQUESTS = 5000
CONNECTIONS = 4000
TOLERANCE = 1e-4
TINY = {"dim": 16, "depth": 1, "num_heads": 2, "head_dim": 8, "mlp_dim": 16, "stem": "linear"}


def different_images(count: int) -> list[bytes]:
    """PNG files of a few random squares, all different."""
    generator = np.random.default_rng(0)
    images = np.zeros((count, 28, 28), dtype=np.uint8)
    for image in images:
        for _ in range(4):
            top, left = generator.integers(0, 22, 2)
            image[top : top + 6, left : left + 6] = generator.integers(40, 256)
    files = []
    for image in images:
        file = io.BytesIO()
        Image.fromarray(image).save(file, "png")
        files.append(file.getvalue())
    assert len(set(files)) == count
    return files


@pytest.fixture(scope="module")
def many_files() -> Iterator[None]:
    """As many connections as are needed, in the processes started meanwhile."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * CONNECTIONS
    most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, most), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def apart(scores: list[Scores], pairs: int = 20_000) -> float:
    """Share of random pairs that could not be swapped unseen."""
    generator = np.random.default_rng(1)
    drawn = generator.integers(0, len(scores), (pairs, 2))
    seen = [difference(scores[i], scores[j]) > 2 * TOLERANCE for i, j in drawn if i != j]
    return sum(seen) / len(seen)


@pytest.mark.parametrize(
    "computed",
    [["--threads", "1"], ["--processes", "--workers", "2"]],
    ids=["threads", "processes"],
)
def test_five_thousand_at_once(computed: list[str], many_files: None, tmp_path: Path) -> None:
    images = different_images(REQUESTS)
    folder = tmp_path / "tiny"
    make_vision_run(folder, images[:64], TINY)
    classifier = load(folder)
    # Each alone: what a batch gives is not judged by another batch.
    expected = [classifier.predict([image])[0].probabilities for image in images]
    assert apart(expected) > 0.999
    port = free_port()
    command = [sys.executable, "-m", "qkv", "serve", str(folder), "--port", str(port)]
    command += [*computed, "--queue-size", str(REQUESTS)]
    path = "/v1/models/tiny/predict?top_k=10"
    with (
        ServerProcess("qkv serve", command, port, ready_path="/readyz") as server,
        LoadGenerator() as load_generator,
    ):
        requests = [request_bytes(port, path, "image/png", image) for image in images]
        load_generator.add_target("all", Target(port, requests, expected, TOLERANCE))
        result = load_generator.at_the_same_moment(
            "all", REQUESTS, connections=CONNECTIONS, patience_seconds=120.0
        )
        server.require_alive()
    assert result["by_status"].keys() == {"200"}
    assert result["answered"] == REQUESTS
    assert result["wrong_answers"] == 0
    assert result["connections"] > 1000
