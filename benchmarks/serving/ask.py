"""A few requests, one after another on one connection, with their answers."""

from __future__ import annotations

from collections.abc import Sequence
from http.client import HTTPConnection, HTTPException

from qkv.errors import QKVError

TIMEOUT_SECONDS = 60.0


def ask_each(port: int, path: str, content_type: str, bodies: Sequence[bytes]) -> list[bytes]:
    """The body of the answer to each POST, which must be 200.

    Raises:
        QKVError: a request fails.
    """
    connection = HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_SECONDS)
    answers = []
    try:
        for number, body in enumerate(bodies):
            connection.request("POST", path, body, {"Content-Type": content_type})
            answer = connection.getresponse()
            content = answer.read()
            if answer.status != 200:
                shown = content[:200].decode("utf-8", "replace")
                raise QKVError(
                    f"POST {path} number {number} answered {answer.status}: {shown}",
                    remedy="run the server by itself to see why",
                )
            answers.append(content)
    except (OSError, HTTPException) as error:
        raise QKVError(
            f"POST {path} failed: {error}", remedy="run the server by itself to see why"
        ) from None
    finally:
        connection.close()
    return answers
