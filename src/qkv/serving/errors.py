"""What a request can be refused for: an error with its HTTP status."""

from __future__ import annotations

from collections.abc import Mapping

from qkv.errors import QKVError


class ServingError(QKVError):
    """A request that is not answered as it asks; `status` and `headers` go with the message."""

    def __init__(
        self, status: int, problem: str, *, remedy: str, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(problem, remedy=remedy)
        self.status = status
        self.headers = dict(headers or {})


class QueueFullError(ServingError):
    """Too much waits already: 429 with Retry-After."""

    def __init__(self, *, retry_after_seconds: int = 1) -> None:
        super().__init__(
            429,
            "too many requests are waiting",
            remedy=f"try again after {retry_after_seconds} s",
            headers={"Retry-After": str(retry_after_seconds)},
        )


class NotServingError(ServingError):
    """The server is starting or stopping: 503."""

    def __init__(self) -> None:
        super().__init__(
            503,
            "the server is starting or stopping and takes no requests",
            remedy="wait until /readyz says that it is ready",
            headers={"Retry-After": "5"},
        )


class ClientGoneError(ServingError):
    """The client closed its connection before its answer was there; nobody reads this."""

    def __init__(self) -> None:
        super().__init__(499, "the client closed the connection", remedy="ask again")
