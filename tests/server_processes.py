"""Server processes: started, awaited, asked over sockets, and ended."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

SMALL = Path(__file__).with_name("serve_small.py")
START_SECONDS = 60.0


@dataclass
class ServerProcess:
    """A server in a process of its own.

    Attributes:
        lines: what it has written on standard error so far.
        url: where it answers.
    """

    process: subprocess.Popen[str]
    url: str = ""
    lines: list[str] = field(default_factory=list)
    _reader: threading.Thread | None = None

    def await_ready(self) -> None:
        ready = threading.Event()

        def read() -> None:
            assert self.process.stderr is not None
            for line in self.process.stderr:
                self.lines.append(line.rstrip("\n"))
                if found := re.match(r"qkv: serving (http://\S+) ", line):
                    self.url = found[1]
                    ready.set()
            ready.set()

        self._reader = threading.Thread(target=read, daemon=True)
        self._reader.start()
        assert ready.wait(START_SECONDS), self.lines
        assert self.url, self.lines

    def says(self, words: str, *, within: float = 10) -> bool:
        """Whether it writes a line with these words in time; what it writes is read by a thread."""
        deadline = time.monotonic() + within
        while not any(words in line for line in list(self.lines)):
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)
        return True

    @property
    def port(self) -> int:
        return int(self.url.rsplit(":", 1)[1])

    def client(self, **more: Any) -> httpx.Client:
        return httpx.Client(base_url=self.url, timeout=30, trust_env=False, **more)

    def send(self, number: signal.Signals = signal.SIGTERM) -> None:
        self.process.send_signal(number)

    def end(self, number: signal.Signals | None = signal.SIGTERM, *, within: float = 20) -> int:
        """Send a signal if one is given; the exit code, which must come within these seconds."""
        if number is not None:
            self.send(number)
        code = self.process.wait(timeout=within)
        assert self._reader is not None
        self._reader.join(timeout=5)
        return code


@contextmanager
def running(command: Sequence[str | Path]) -> Iterator[ServerProcess]:
    """A server by its command, ready for requests; whatever happens, it is gone in the end."""
    process = subprocess.Popen(
        [sys.executable, "-W", "error", *map(str, command)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    server = ServerProcess(process)
    try:
        server.await_ready()
        yield server
    finally:
        if process.poll() is None:
            process.kill()
        process.wait(timeout=10)
        if server._reader is not None:
            server._reader.join(timeout=5)
        assert process.stderr is not None
        process.stderr.close()


def small_server(**settings: Any) -> Any:
    """The application without models, on a free port."""
    return running([SMALL, json.dumps({"port": 0, **settings})])


def qkv_serve(*arguments: str | Path) -> Any:
    """`qkv serve`, on a free port."""
    return running(["-m", "qkv", "serve", *arguments, "--port", "0"])
