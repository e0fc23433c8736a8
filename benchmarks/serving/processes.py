"""Servers as processes of their own: started, paused, watched, and surely ended."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from tempfile import TemporaryFile
from typing import Self

from benchmarks.serving import module_environment
from qkv.errors import QKVError

START_SECONDS = 120.0
STOP_SECONDS = 10.0
OUTPUT_BYTES = 2000


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

    def cpu_seconds(self) -> float:
        """Time that its living processes have computed; 0 if unknown."""
        return sum(_cpu_seconds(pid) for pid in self._pids())

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

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            self.require_alive()
            if _answers(self.port, self._ready_path):
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


def _answers(port: int, path: str) -> bool:
    connection = HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()


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


def _cpu_seconds(pid: int) -> float:
    try:
        # The name in brackets may hold anything, spaces too.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
