"""An image model in worker processes: the same answers, and an end with the server."""

from __future__ import annotations

import asyncio
import io
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from multiprocessing import active_children
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.serving.load import LoadGenerator, Scores, Target, difference, request_bytes
from benchmarks.serving.servers import ServerProcess, free_port
from benchmarks.serving.workload import make_vision_run
from qkv.errors import ServerStartError
from qkv.loading import load
from qkv.serving.engine import Engine
from qkv.serving.errors import ServingError
from qkv.serving.models import Models
from qkv.serving.settings import ServingSettings
from qkv.serving.worker_process import COMPUTING_NICENESS, ImageProcesses

IMAGES = np.random.default_rng(0).integers(0, 256, (7, 1, 16, 16), dtype=np.uint8)


@pytest.fixture(scope="module")
def processes(vision_run: Path) -> Iterator[ImageProcesses]:
    opened = ImageProcesses(vision_run, 2, 1)
    yield opened
    opened.close()


def expected(models: Models, images: np.ndarray) -> np.ndarray:
    classifier = models["bands"].classifier
    return classifier.logits(images).softmax(dim=1).numpy()  # type: ignore[arg-type]


def test_probabilities_are_those_of_the_model(models: Models, processes: ImageProcesses) -> None:
    for batch in (IMAGES, IMAGES[:1]):
        found = processes.probabilities(batch)
        np.testing.assert_allclose(found, expected(models, batch), atol=1e-6)


def test_several_threads_get_each_their_own(models: Models, processes: ImageProcesses) -> None:
    right = expected(models, IMAGES)
    wrong: list[int] = []

    def ask(image: int) -> None:
        for _ in range(20):
            found = processes.probabilities(IMAGES[image : image + 1])[0]
            if not np.allclose(found, right[image], atol=1e-6):
                wrong.append(image)

    threads = [threading.Thread(target=ask, args=(image,)) for image in range(len(IMAGES))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_one_that_ends_fails_its_batch_and_is_replaced(models: Models, vision_run: Path) -> None:
    before = set(active_children())
    opened = ImageProcesses(vision_run, 1, 1)
    try:
        (only,) = set(active_children()) - before
        only.kill()
        with pytest.raises(ServingError, match="has ended") as raised:
            while True:  # until its end is noticed
                opened.probabilities(IMAGES)
        assert raised.value.status == 500
        np.testing.assert_allclose(
            opened.probabilities(IMAGES), expected(models, IMAGES), atol=1e-6
        )
        assert len(set(active_children()) - before - {only}) == 1
    finally:
        opened.close()


def test_a_model_that_cannot_be_loaded_is_told_at_the_start(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ServerStartError, match="ended before its model was loaded") as raised:
        ImageProcesses(tmp_path / "nothing", 2, 1)
    assert str(tmp_path) in str(raised.value)
    assert str(tmp_path / "nothing") in capfd.readouterr().err


def test_a_server_with_processes_answers_as_one_without(
    models: Models, picture: Callable[..., bytes]
) -> None:
    model = models["bands"]
    images = [
        model.predictor.read(picture(label, seed), ServingSettings())  # type: ignore[call-arg, arg-type]
        for label in range(3)
        for seed in range(4)
    ]
    direct = model.predictor.compute(images)  # type: ignore[arg-type]

    async def answers() -> list[object]:
        engine = Engine(models, ServingSettings(workers=2, threads=1, processes=True))
        await engine.start()
        try:
            assert model.predictor.processes is not None  # type: ignore[union-attr]
            return list(await engine.predict(model, images))
        finally:
            await engine.drain()

    found = asyncio.run(answers())
    assert model.predictor.processes is None  # type: ignore[union-attr]
    for one, other in zip(found, direct, strict=True):
        assert one.labels == other.labels  # type: ignore[attr-defined]
        np.testing.assert_allclose(one.values, other.values, atol=1e-6)  # type: ignore[attr-defined]


@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
def test_its_processes_end_with_whoever_started_them(vision_run: Path) -> None:
    """Even where that is killed: then nobody tells them to end."""
    program = (
        "import sys, time; from multiprocessing import active_children; from pathlib import Path\n"
        "from qkv.serving.worker_process import ImageProcesses\n"
        "opened = ImageProcesses(Path(sys.argv[1]), 2, 1)\n"
        "print(*(child.pid for child in active_children()), flush=True)\n"
        "time.sleep(60)\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", program, str(vision_run)], stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    pids = [int(word) for word in parent.stdout.readline().split()]
    parent.stdout.close()
    assert len(pids) == 2
    assert all(is_running(pid) for pid in pids)
    parent.kill()
    parent.wait()
    deadline = time.monotonic() + 20
    while any(is_running(pid) for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(is_running(pid) for pid in pids)


def is_running(pid: int) -> bool:
    """Whether there is such a process that has not ended; one that nobody awaits is a zombie."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except FileNotFoundError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


PROGRAM = """
import os, sys
from qkv.serving.worker_process import lower_priority
os.nice(int(sys.argv[1]))
if os.geteuid() == 0:
    os.seteuid(65534)
lower_priority()
lower_priority()
print(os.getpriority(os.PRIO_PROCESS, 0))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only there a thread has a niceness of its own")
@pytest.mark.parametrize("more", [0, 19])
def test_it_gives_way_once_and_never_takes_it_back(more: int) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(more)], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    assert int(ended.stdout) >= max(COMPUTING_NICENESS, more)


REQUESTS = 2000
CONNECTIONS = 1600
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
def test_thousands_come_at_once(computed: list[str], many_files: None, tmp_path: Path) -> None:
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
