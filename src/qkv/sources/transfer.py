"""One request for one artefact at one address, taken up where the last one was cut."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import httpx

from qkv.errors import DataError, DownloadError
from qkv.sources.artefact import Artefact, install

Progress = Callable[[int, int], None]

TRY_AGAIN = "check the network (and HTTP_PROXY, HTTPS_PROXY), then try again"


class RetryError(Exception):
    """One request failed; the next may not. The server may have named a wait."""

    def __init__(self, reason: str, wait_seconds: float = 0.0) -> None:
        super().__init__(reason)
        self.wait_seconds = wait_seconds


class Transfer:
    """The state of one artefact's transfer from one address: the part file and its origin."""

    def __init__(
        self,
        artefact: Artefact,
        folder: Path,
        url: str,
        client: httpx.Client,
        progress: Progress | None,
    ) -> None:
        self.artefact = artefact
        self.folder = folder
        self.url = url
        self.client = client
        self.progress = progress
        self.packed = artefact.compression == "gzip"
        self.part = folder / f"{artefact.name}.part"
        self.origin = folder / f"{artefact.name}.part.json"
        # Incompressible content grows by 5 bytes a block when packed; the header may hold a name.
        self.limit = artefact.size + (artefact.size // 1000 + 4096 if self.packed else 0)

    def run(self) -> None:
        """Make one request, take what comes, and install it if it is whole.

        Raises:
            httpx.TransportError: the connection failed; what came is kept.
            RetryError: the server asks to come back, or the resumed bytes do not fit together.
            DownloadError: this address will not give the artefact.
        """
        offset, etag = self._resumable()
        headers = {}
        if offset:
            headers["Range"] = f"bytes={offset}-"
            if etag:
                headers["If-Range"] = etag
        with self.client.stream("GET", self.url, headers=headers) as response:
            status = response.status_code
            if status == httpx.codes.PARTIAL_CONTENT and offset:
                self._check_range(response, offset, etag)
                self._receive(response, offset)
            elif status == httpx.codes.OK:
                self._discard()
                self._receive(response, 0)
                offset = 0
            elif status == httpx.codes.TOO_MANY_REQUESTS or status >= 500:
                raise RetryError(f"the server answered {status}", _asked_wait(response))
            elif not (status == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE and offset):
                raise DownloadError(f"the server answered {status}", remedy=TRY_AGAIN)
        # If no such range is left, all is here or it is of another file: the hash tells which.
        self._install(resumed=offset > 0)

    def _resumable(self) -> tuple[int, str | None]:
        """How many bytes of this address lie in the part file, and their ETag."""
        try:
            origin = json.loads(self.origin.read_text("utf-8"))
            size = self.part.stat().st_size
        except (OSError, ValueError):
            origin, size = None, 0
        if isinstance(origin, dict) and origin.get("url") == self.url and 0 < size <= self.limit:
            etag = origin.get("etag")
            return size, etag if isinstance(etag, str) else None
        self._discard()
        return 0, None

    def _check_range(self, response: httpx.Response, offset: int, etag: str | None) -> None:
        stated = response.headers.get("Content-Range", "")
        match = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+|\*)", stated)
        fits = match is not None and int(match[1]) == offset
        if match is not None and match[3] != "*":
            fits = fits and int(match[2]) == int(match[3]) - 1
        if not fits or (etag and response.headers.get("ETag", etag) != etag):
            self._discard()
            raise RetryError(f"the server sent another range than asked for ({stated!r})")

    def _receive(self, response: httpx.Response, done: int) -> None:
        length = response.headers.get("Content-Length", "")
        total = done + int(length) if length.isdecimal() else self.artefact.size
        if total > self.limit:
            self._refuse_excess()
        if not done:
            etag = response.headers.get("ETag", "")
            # A weak tag does not promise equal bytes.
            strong = etag if etag.startswith('"') and etag.isascii() else None
            self.origin.write_text(json.dumps({"url": self.url, "etag": strong}), "utf-8")
        with self.part.open("ab" if done else "wb") as out:
            for chunk in response.iter_raw():
                done += len(chunk)
                if done > self.limit:
                    self._refuse_excess()
                out.write(chunk)
                if self.progress:
                    self.progress(done, max(done, total))

    def _refuse_excess(self) -> None:
        self._discard()
        raise DownloadError(
            f"the server sends more than the {self.limit} bytes that {self.artefact.name} can have",
            remedy=TRY_AGAIN,
        )

    def _install(self, *, resumed: bool) -> None:
        try:
            install(self.artefact, self.part, self.folder, packed=self.packed)
        except DataError as error:
            self._discard()
            reason = f"the bytes received are wrong: {error.problem}"
            if resumed:
                # The halves may come from two versions of the file: once more from the start.
                raise RetryError(reason) from error
            raise DownloadError(reason, remedy=TRY_AGAIN) from error
        self._discard()

    def _discard(self) -> None:
        self.part.unlink(missing_ok=True)
        self.origin.unlink(missing_ok=True)


def _asked_wait(response: httpx.Response) -> float:
    stated = response.headers.get("Retry-After", "")
    return float(stated) if re.fullmatch(r"\d{1,6}", stated) else 0.0
