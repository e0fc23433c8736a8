"""The servers that are measured: how each is set up, started, paused, watched, and surely ended."""

from __future__ import annotations

import importlib.util
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, Literal, Self

import httpx

from benchmarks.serving import module_environment
from qkv.errors import MissingExtraError, QKVError

START_SECONDS = 120.0
STOP_SECONDS = 10.0
REQUEST_SECONDS = 60.0
OUTPUT_BYTES = 2000

Task = Literal["vision", "text"]
Kind = Literal["qkv", "fastapi", "litserve"]

# As many as the models of the benchmark have at most.
MOST_CLASSES = 10
NAMES: dict[Kind, str] = {"qkv": "qkv serve", "fastapi": "plain FastAPI", "litserve": "LitServe"}
SERVER_PACKAGES = ("fastapi", "uvicorn", "httptools", "python_multipart", "prometheus_client")
BASELINE_PACKAGES = ("litserve",)


def require_packages(*, baselines: bool = True) -> None:
    """See that the servers' packages are installed, without importing them.

    Args:
        baselines: whether those of the baselines are needed too.

    Raises:
        MissingExtraError: one is not.
    """
    needed = [(name, "serve") for name in SERVER_PACKAGES]
    needed += [(name, "bench") for name in BASELINE_PACKAGES if baselines]
    for package, extra in needed:
        if importlib.util.find_spec(package) is None:
            raise MissingExtraError(
                f"the benchmark of serving needs {package}, which is not installed",
                remedy=f"pip install 'qkv[{extra}]'",
            )


def free_port() -> int:
    """A TCP port of this machine that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


class ServerProcess:
    """A server and whatever processes it starts; a context manager.

    They are a process group of their own, so that all of them can be paused and ended together.

    Args:
        name: what errors call it.
        command: what to run; it must listen on `port`.
        port: on this machine.
        ready_path: answers 200 once the server can be used.
        environment: variables beside those of this process.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        port: int,
        *,
        ready_path: str,
        environment: dict[str, str] | None = None,
    ) -> None:
        self.name = name
        self.port = port
        self._command = list(command)
        self._ready_path = ready_path
        self._environment = environment or {}
        self._process: subprocess.Popen[bytes] | None = None
        self._paused = False

    def __enter__(self) -> Self:
        self._output = TemporaryFile()
        self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=subprocess.STDOUT,
            env={**module_environment(), **self._environment},
            start_new_session=True,
        )
        try:
            self._wait_until_ready()
        except BaseException:  # Ctrl-C too: nothing may be left behind
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process is not None
        self.resume()
        self._signal(signal.SIGTERM)
        try:
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(STOP_SECONDS)
        finally:
            # The group outlives its leader if a worker has not ended.
            self._signal(signal.SIGKILL)
            self._process.wait()
            self._output.close()

    def pause(self) -> None:
        """Stop all its processes, so that an idle server that polls takes nobody's time."""
        self._signal(signal.SIGSTOP)
        self._paused = True

    def resume(self) -> None:
        """Let a paused server go on."""
        if self._paused:
            self._signal(signal.SIGCONT)
            self._paused = False

    def memory_bytes(self) -> int:
        """Resident memory of all its processes, shared pages counted in each; 0 if unknown."""
        return sum(_resident_bytes(pid) for pid in self._pids())

    def require_alive(self) -> None:
        """See that the server has not ended.

        Raises:
            QKVError: it has; what it printed last is told.
        """
        assert self._process is not None
        if self._process.poll() is not None:
            raise QKVError(
                f"{self.name} ended with {self._process.returncode}: {self._last_words()}",
                remedy="run its command by itself to see more",
            )

    def post_each(self, path: str, content_type: str, bodies: Sequence[bytes]) -> list[bytes]:
        """The body of the answer to each POST, one after another; each must be answered with 200.

        Raises:
            QKVError: a request fails.
        """
        remedy = "run the server by itself to see why"
        answers = []
        with httpx.Client(
            base_url=f"http://127.0.0.1:{self.port}", timeout=REQUEST_SECONDS, trust_env=False
        ) as client:
            for number, body in enumerate(bodies):
                try:
                    answer = client.post(path, content=body, headers={"Content-Type": content_type})
                except httpx.HTTPError as error:
                    raise QKVError(f"POST {path} failed: {error}", remedy=remedy) from None
                if answer.status_code != 200:
                    raise QKVError(
                        f"POST {path} number {number} answered {answer.status_code}: "
                        f"{answer.text[:200]}",
                        remedy=remedy,
                    )
                answers.append(answer.content)
        return answers

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            self.require_alive()
            if _is_ready(self.port, self._ready_path):
                return
            time.sleep(0.1)
        raise QKVError(
            f"{self.name} was not ready after {START_SECONDS:g} s: {self._last_words()}",
            remedy="run its command by itself to see more",
        )

    def _last_words(self) -> str:
        size = self._output.seek(0, os.SEEK_END)
        self._output.seek(max(0, size - OUTPUT_BYTES))
        words = self._output.read().decode("utf-8", "replace").split()
        return " ".join(words) or "it printed nothing"

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)

    def _pids(self) -> list[int]:
        assert self._process is not None
        group = self._process.pid
        pids = (int(entry.name) for entry in Path("/proc").glob("[0-9]*"))
        return [pid for pid in pids if _group_of(pid) == group]


def _is_ready(port: int, path: str) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}{path}", timeout=5, trust_env=False).is_success
    except httpx.HTTPError:
        return False


def _group_of(pid: int) -> int | None:
    try:
        return os.getpgid(pid)
    except OSError:
        return None


def _resident_bytes(pid: int) -> int:
    try:
        pages = Path(f"/proc/{pid}/statm").read_text().split()[1]
    except (OSError, IndexError):
        return 0
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class Setup:
    """A server and its settings."""

    kind: Kind  # which
    options: Mapping[str, Any]  # as on its command line, for the report too

    @property
    def name(self) -> str:
        """What a report calls it."""
        return NAMES[self.kind]

    def process(self, folder: Path, task: Task) -> ServerProcess:
        """The server of a run folder, not yet started."""
        port = free_port()
        arguments = ["--port", str(port), *_as_arguments(self.options)]
        if self.kind == "qkv":
            command = [sys.executable, "-m", "qkv", "serve", str(folder), *arguments]
            return ServerProcess(self.name, command, port, ready_path="/readyz")
        module = {"fastapi": "baselines", "litserve": "litserve_app"}[self.kind]
        command = [
            *(sys.executable, "-m", f"benchmarks.serving.{module}"),
            *("--run", str(folder), "--task", task, *arguments),
        ]
        return ServerProcess(
            self.name,
            command,
            port,
            ready_path="/health",
            # Rust's threads beside the pool's would only get in each other's way.
            environment={"TOKENIZERS_PARALLELISM": "false"},
        )

    def predict_path(self, model: str) -> str:
        """Where a request for all scores of an input goes."""
        if self.kind == "qkv":
            return f"/v1/models/{model}/predict?top_k={MOST_CLASSES}"
        return "/predict"


def setups_of(task: Task) -> dict[Kind, list[Setup]]:
    """Ways to set up each server, of which the fastest is measured; qkv as it comes is first."""
    cores = os.cpu_count() or 1
    qkv: list[dict[str, Any]] = [{}]
    if task == "vision":  # of texts there are so few a second that nothing is gained
        qkv.append({"processes": True})
    sizes = {"vision": (16, 64), "text": (4, 16)}[task]
    # One process of one core, one of all, and one for each.
    ways = [{"threads": 1}, {"threads": cores}, {"threads": 1, "workers": cores}]
    litserve: list[dict[str, Any]] = [
        {**way, "max-batch-size": size, "batch-timeout": 0.005}
        for way in (ways if cores > 1 else ways[:1])
        for size in sizes
    ]
    if task == "vision":  # where what passes between the processes weighs most
        litserve.append({**litserve[-2], "fast-queue": True})
    fastapi = [{"threads": count} for count in sorted({1, cores})]
    options: dict[Kind, list[dict[str, Any]]]
    options = {"qkv": qkv, "fastapi": fastapi, "litserve": litserve}
    return {kind: [Setup(kind, one) for one in each] for kind, each in options.items()}


def _as_arguments(options: Mapping[str, Any]) -> list[str]:
    arguments: list[str] = []
    for name, value in options.items():
        if value is True:
            arguments.append(f"--{name}")
        elif value is not False:
            arguments += [f"--{name}", str(value)]
    return arguments
