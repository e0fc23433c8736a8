"""A web server that misbehaves on request, and stand-ins for the system's package tools."""

from __future__ import annotations

import gzip
import io
import os
import random
import tarfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

CONTENT = random.Random(1).randbytes(300_007)


@dataclass
class Answer:
    """How the server treats one request; by default it serves the body as it should."""

    body: bytes = CONTENT
    status: int = 200
    cut_after: int | None = None
    ranges: bool = True
    length: bool = True
    content_range: str | None = None
    headers: dict[str, str] = field(default_factory=dict)
    stall_seconds: float = 0.0


class Loopback:
    """Answers requests from a script, its last answer for ever, and remembers what was asked."""

    def __init__(self) -> None:
        self.script: list[dict[str, Any]] = [{}]  # arguments of an Answer for each request
        self.asked: list[dict[str, str]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked.append({"path": self.path, **dict(self.headers.items())})
                answer = outer.script.pop(0) if len(outer.script) > 1 else outer.script[0]
                respond(self, Answer(**answer))

            def log_message(self, *arguments: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/thing"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        self.thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    @property
    def ranges_asked(self) -> list[str | None]:
        return [request.get("Range") for request in self.asked]


def respond(handler: BaseHTTPRequestHandler, answer: Answer) -> None:
    time.sleep(answer.stall_seconds)
    body, status = answer.body, answer.status
    headers = dict(answer.headers)
    wanted = handler.headers.get("Range")
    if status == 200 and wanted and answer.ranges:
        start = int(wanted.removeprefix("bytes=").removesuffix("-"))
        if start >= len(body):
            status, headers["Content-Range"], body = 416, f"bytes */{len(body)}", b""
        else:
            status = 206
            headers["Content-Range"] = f"bytes {start}-{len(body) - 1}/{len(body)}"
            body = body[start:]
    if status == 206 and answer.content_range:
        headers["Content-Range"] = answer.content_range
    handler.send_response(status)
    if answer.length:
        handler.send_header("Content-Length", str(len(body)))
    for key, value in headers.items():
        handler.send_header(key, value)
    handler.end_headers()
    try:
        handler.wfile.write(body[: answer.cut_after])
    except ConnectionError:
        return  # the client had enough


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Loopback]:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    loopback = Loopback()
    yield loopback
    loopback.close()


@pytest.fixture
def refused(server: Loopback) -> str:
    """An address where nothing listens."""
    other = Loopback()
    other.close()
    return other.url


@dataclass
class Tools:
    """Stand-ins for apt-get and dpkg-deb; a package is a plain tar to them."""

    bin: Path
    archive: Path
    log: Path

    def apt(self, body: str) -> None:
        self._script("apt-get", f'echo "$@" >> {self.log}\n{body}')

    def pack(self, members: dict[str, bytes | None]) -> None:
        """Members by path; None makes a symbolic link."""
        with tarfile.open(self.archive, "w") as tar:
            for path, content in members.items():
                info = tarfile.TarInfo(path)
                if content is None:
                    info.type, info.linkname = tarfile.SYMTYPE, "/etc/hostname"
                else:
                    info.size = len(content)
                tar.addfile(info, io.BytesIO(content or b""))

    def _script(self, name: str, body: str) -> None:
        path = self.bin / name
        path.write_text(f"#!/bin/sh\n{body}\n")
        path.chmod(0o755)

    @property
    def steps(self) -> list[str]:
        return [
            "update" if "update" in line else "download"
            for line in self.log.read_text().splitlines()
        ]


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tools:
    stand_ins = Tools(tmp_path / "bin", tmp_path / "package.tar", tmp_path / "log")
    stand_ins.bin.mkdir()
    stand_ins.log.touch()
    stand_ins.pack(
        {
            "./usr/share/x/thing.gz": gzip.compress(CONTENT),
            "./usr/share/other/thing.gz": b"not this",
        }
    )
    stand_ins.apt(f"cp {stand_ins.archive} x_1_all.deb")
    stand_ins._script("dpkg-deb", 'mkdir "$3" && tar -xf "$2" -C "$3"')
    monkeypatch.setenv("PATH", f"{stand_ins.bin}{os.pathsep}{os.environ['PATH']}")
    return stand_ins
