"""Early refusal: a request that would find no place in the queue is not even read."""

from __future__ import annotations

from collections.abc import Callable

from starlette.types import ASGIApp, Receive, Scope, Send

from qkv.serving.guard.refusal import Refusal

_PREFIX = "/v1/models/"
RETRY_AFTER_SECONDS = 1

FULL = Refusal(
    429,
    "too many requests are waiting for this model",
    remedy=f"try again after {RETRY_AFTER_SECONDS} s",
    headers=((b"retry-after", str(RETRY_AFTER_SECONDS).encode()),),
)


IsFull = Callable[[str, str], bool]
"""Whether the queue of a model's id and a kind of work (the last part of the path: `predict`,
`explain`, `attention`) has no place; False for what it does not know."""


def is_full_at(is_full: IsFull, target: bytes) -> bool:
    """Whether the queue is full that a request with this target (path and query) asks for."""
    path = target.partition(b"?")[0].decode("latin-1")
    return path.startswith(_PREFIX) and _asks_full(is_full, path)


class FullCheck:
    """ASGI middleware that refuses work with 429 while the queue for it is full.

    Args:
        app: what answers.
        is_full: tells which are.
    """

    def __init__(self, app: ASGIApp, *, is_full: IsFull) -> None:
        self._app = app
        self._is_full = is_full

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or refuse."""
        answer = self._app
        if scope["type"] == "http" and scope["method"] == "POST":
            path: str = scope["path"]
            if path.startswith(_PREFIX) and _asks_full(self._is_full, path):
                answer = FULL
        await answer(scope, receive, send)


def _asks_full(is_full: IsFull, path: str) -> bool:
    model, _, work = path[len(_PREFIX) :].partition("/")
    return is_full(model, work)
