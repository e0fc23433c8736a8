"""HTTP/1.1 as a load generator needs it, and answers read and compared.

A general client costs more than the servers that are measured here, on the very cores they need.
"""

from __future__ import annotations

import asyncio
import json
import math
import re
from collections.abc import Mapping

MOST_CONNECTIONS = 900
"""Open at once unless told otherwise, few enough for the usual limit of open files. Beyond that a
request waits, and its latency grows as if it had been sent."""
BROKEN = -1
"""The status of a request whose connection failed."""
Scores = Mapping[str, float]
"""The scores of an answer, by label."""

_HEAD_END = b"\r\n\r\n"
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+) *\r\n")


def request_bytes(port: int, path: str, content_type: str, body: bytes) -> bytes:
    """A whole POST request to this machine."""
    head = (
        f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\naccept: */*\r\n"
        f"content-type: {content_type}\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return head.encode("ascii") + body


class Client:
    """Sends each request on a connection that is free, or on a new one.

    Answers must come with a Content-Length; any other framing counts as broken.

    Args:
        port: of the server, on this machine.
        most: connections that are open at once.

    Attributes:
        connections: how many are open.
    """

    def __init__(self, port: int, most: int = MOST_CONNECTIONS) -> None:
        self._port = port
        self._slots = asyncio.Semaphore(most)
        # The last one used is used next, so that there are no more than needed.
        self._free: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        self.connections = 0

    async def post(self, request: bytes) -> tuple[int, bytes]:
        """Send a whole request and wait for its answer: the status, or `BROKEN`, and the body."""
        async with self._slots:
            try:
                reader, writer = self._free.pop() if self._free else await self._connect()
            except OSError:
                return BROKEN, b""
            answered = keeps = False
            try:
                writer.write(request)
                head = (await reader.readuntil(_HEAD_END)).lower()
                if length := _LENGTH.search(head):
                    body = await reader.readexactly(int(length[1]))
                    answered, keeps = True, b"\r\nconnection: close" not in head
            except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
                pass
            finally:
                if keeps:
                    self._free.append((reader, writer))
                else:
                    self.connections -= 1
                    writer.close()
            return (int(head[9:12]), body) if answered else (BROKEN, b"")

    def close(self) -> None:
        """Close the connections that are free."""
        for _, writer in self._free:
            writer.close()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        connection = await asyncio.open_connection("127.0.0.1", self._port)
        self.connections += 1
        return connection


def read_scores(body: bytes) -> dict[str, float]:
    """The scores of `[{"label", "score"}, …]`, by label.

    Raises:
        ValueError: the body is something else.
    """
    try:
        return {str(entry["label"]): float(entry["score"]) for entry in json.loads(body)}
    except (TypeError, KeyError) as error:
        raise ValueError(f"not a list of labels and scores: {body[:80]!r}") from error


def difference(one: Scores, other: Scores) -> float:
    """The greatest difference between two scores of a label.

    Infinite if the labels differ, or a score is not a number.
    """
    if one.keys() != other.keys():
        return math.inf
    differences = [abs(score - other[label]) for label, score in one.items()]
    # The maximum of numbers and NaN may be either.
    return math.inf if any(map(math.isnan, differences)) else max(differences, default=0.0)


def is_right(body: bytes, expected: Scores, tolerance: float) -> bool:
    """Whether an answer has the expected scores, each off by no more than the tolerance."""
    try:
        return difference(read_scores(body), expected) <= tolerance
    except ValueError:
        return False
