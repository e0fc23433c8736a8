"""A server in a thread whose answers and delays a test chooses."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

# The n-th request and its body, to a status and a body; None closes the connection.
Reply = Callable[[int, bytes], tuple[int, bytes] | None]


def scores(**values: float) -> bytes:
    return json.dumps([{"label": key, "score": value} for key, value in values.items()]).encode()


class _Stub:
    def __init__(self, reply: Reply, seconds: float) -> None:
        self._reply = reply
        self._seconds = seconds
        self._lock = threading.Lock()
        self._count = 0
        self.bodies: list[bytes] = []
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=200)
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as file:
            while line := file.readline():
                assert line.startswith(b"POST /predict HTTP/1.1")
                headers = {}
                while (line := file.readline()) != b"\r\n":
                    name, _, value = line.partition(b":")
                    headers[name.strip().lower()] = value.strip()
                body = file.read(int(headers[b"content-length"]))
                with self._lock:  # one at a time, as a model computes
                    time.sleep(self._seconds)
                    number = self._count
                    self._count += 1
                    self.bodies.append(body)
                    answer = self._reply(number, body)
                if answer is None:
                    return
                status, content = answer
                head = f"HTTP/1.1 {status} X\r\nContent-Length: {len(content)}\r\n\r\n".encode()
                try:
                    # In two pieces, so that a reader must put them together.
                    connection.sendall(head[:20])
                    connection.sendall(head[20:] + content)
                except OSError:
                    return


@contextmanager
def stub_server(reply: Reply | None = None, *, seconds: float = 0.0) -> Iterator[_Stub]:
    """A server on a free port of this machine.

    Args:
        reply: chooses each answer; None: 200 with the body that came.
        seconds: how long each answer takes, one after the other.
    """
    stub = _Stub(reply or (lambda _, body: (200, body)), seconds)
    try:
        yield stub
    finally:
        stub.close()
