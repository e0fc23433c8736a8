"""Downloads over http that survive cuts and never show an unverified file."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import filelock
import httpx

from qkv.errors import DataError, DownloadError
from qkv.sources.artefact import Artefact, read_verified
from qkv.sources.transfer import TRY_AGAIN, Progress, RetryError, Transfer

_REACHED_NOTHING = (httpx.ConnectError, httpx.ConnectTimeout, httpx.ProxyError)
_NEVER_WORTH_REPEATING = (httpx.UnsupportedProtocol, httpx.TooManyRedirects)


@dataclass(frozen=True)
class Patience:
    """How long and how often a download tries.

    Attributes:
        attempts: requests for each address, once a server has answered there.
        unreached_attempts: requests for an address where nothing has ever answered.
        unreached_seconds: no second such request once this time is gone.
        connect_timeout_seconds: to open a connection.
        read_timeout_seconds: between two pieces of an answer.
        first_wait_seconds: before the second request; it doubles each time, less up to half at
            random, so that many clients do not return together.
        longest_wait_seconds: upper bound of any wait, also of one that the server asks for.
        lock_timeout_seconds: for another process that fetches the same file.
    """

    attempts: int = 5
    unreached_attempts: int = 2
    unreached_seconds: float = 3.0
    connect_timeout_seconds: float = 5.0
    read_timeout_seconds: float = 30.0
    first_wait_seconds: float = 0.5
    longest_wait_seconds: float = 30.0
    lock_timeout_seconds: float = 600.0


def download(
    artefact: Artefact,
    folder: Path,
    *,
    progress: Progress | None = None,
    patience: Patience | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> Path:
    """Fetch an artefact into `folder/NAME`, which holds verified content or does not exist.

    The transfer grows in `NAME.part`. After a cut, in this call or a later one, it goes on from
    there if the server can. A file that is there already and intact is not fetched again.

    Args:
        artefact: what to fetch; its addresses are tried in order.
        folder: made if missing.
        progress: called with (done, total) bytes of the transfer; the total is the artefact's
            size as long as the server does not tell.
        patience: timeouts and retries.
        sleep: waits the given seconds; tests pass their own.

    Returns:
        The path of the verified, uncompressed file.

    Raises:
        DownloadError: no address gave the right bytes, the folder cannot be written, or another
            process holds the lock for too long.
    """
    patience = patience or Patience()
    for url in artefact.urls:
        _check_url(url)
    final: Path = folder / artefact.name
    lock = folder / f".{artefact.name}.lock"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(lock, timeout=patience.lock_timeout_seconds):
            if not _is_intact(artefact, final):
                final.unlink(missing_ok=True)
                _fetch_from_any(artefact, folder, progress, patience, sleep)
    except filelock.Timeout:
        raise DownloadError(
            f"another process has been fetching {final} for over "
            f"{patience.lock_timeout_seconds:g} s",
            remedy="wait for it, or end it and try again",
        ) from None
    except OSError as error:
        raise DownloadError(
            f"cannot write {final}: {error.strerror or error}",
            remedy="free some space there, or set QKV_CACHE to another folder",
        ) from error
    return final


def _check_url(url: str) -> None:
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise DownloadError(f"{url!r} is not a URL: {error}", remedy="correct it") from None
    if parsed.scheme not in {"http", "https"} or not parsed.host:
        raise DownloadError(f"{url!r} is not an http or https URL", remedy="use one")


def _is_intact(artefact: Artefact, path: Path) -> bool:
    if not path.is_file():
        return False
    try:
        read_verified(artefact, path)
    except DataError:
        return False
    return True


def _fetch_from_any(
    artefact: Artefact,
    folder: Path,
    progress: Progress | None,
    patience: Patience,
    sleep: Callable[[float], None],
) -> None:
    try:
        client = httpx.Client(
            follow_redirects=True,
            # The bytes as stored: a packed answer could be neither resumed nor measured.
            headers={"Accept-Encoding": "identity"},
            timeout=httpx.Timeout(
                patience.read_timeout_seconds, connect=patience.connect_timeout_seconds
            ),
        )
    except (ImportError, ValueError, httpx.InvalidURL) as error:
        raise DownloadError(
            f"the proxy settings cannot be used: {error}",
            remedy="correct or unset HTTP_PROXY, HTTPS_PROXY and ALL_PROXY",
        ) from error
    reasons = []
    with client:
        for url in artefact.urls:
            transfer = Transfer(artefact, folder, url, client, progress)
            try:
                _persist(transfer, patience, sleep)
            except DownloadError as error:
                reasons.append(f"{url}: {error.problem}")
            else:
                return
    raise DownloadError(
        f"{artefact.name} could not be downloaded ({'; '.join(reasons) or 'it has no address'})",
        remedy=TRY_AGAIN,
    )


def _persist(transfer: Transfer, patience: Patience, sleep: Callable[[float], None]) -> None:
    """Request until the artefact is installed, or patience ends with a DownloadError."""
    begun = time.monotonic()
    reached = False
    attempt = 0
    while True:
        attempt += 1
        asked_wait = 0.0
        try:
            transfer.run()
        except _NEVER_WORTH_REPEATING as error:
            raise DownloadError(_words(error), remedy=TRY_AGAIN) from error
        except httpx.TransportError as error:
            reached = reached or not isinstance(error, _REACHED_NOTHING)
            reason = _words(error)
        except RetryError as error:
            reached = True
            reason = str(error)
            asked_wait = error.wait_seconds
        else:
            return
        if reached:
            exhausted = attempt >= patience.attempts
        else:
            spent = time.monotonic() - begun > patience.unreached_seconds
            exhausted = spent or attempt >= patience.unreached_attempts
        if exhausted:
            tries = "1 attempt" if attempt == 1 else f"{attempt} attempts"
            raise DownloadError(f"{reason}, after {tries}", remedy=TRY_AGAIN)
        backoff = patience.first_wait_seconds * 2 ** (attempt - 1)
        # The system's generator: a download must not move the seeded ones.
        jittered = backoff * random.SystemRandom().uniform(0.5, 1.0)
        sleep(min(max(jittered, asked_wait), patience.longest_wait_seconds))


def _words(error: httpx.HTTPError) -> str:
    return str(error).strip() or type(error).__name__
