"""Downloads over http that survive cuts and show no file before its hash is checked."""

from __future__ import annotations

import gzip
import hashlib
import mmap
import random
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import sleep

import httpx

from qkv.errors import DataError, DownloadError
from qkv.files import locked, replacing
from qkv.progress import Progress

Content = bytes | mmap.mmap
"""Verified content: bytes, or a read-only memory map."""

_GZIP_MAGIC = b"\x1f\x8b"
_CONNECT_SECONDS = 5.0
_UNREACHED_ATTEMPTS = 2
_LONGEST_WAIT_SECONDS = 30.0
_TRY_AGAIN = "check the network (and HTTP_PROXY, HTTPS_PROXY), then try again"


@dataclass(frozen=True)
class RemoteFile:
    """One file to obtain, and how to know that it is the right one.

    Attributes:
        name: a plain file name.
        sha256: hash of the content, 64 hex digits.
        size: bytes of the content.
        urls: http or https addresses, in the order in which they are tried.
        gzipped: whether it is published packed by gzip. Hash and size are those of the unpacked
            content, which is what is kept.
    """

    name: str
    sha256: str
    size: int
    urls: tuple[str, ...] = ()
    gzipped: bool = False

    @property
    def remedy(self) -> str:
        """What a person can do about a damaged copy."""
        return f"delete it and fetch it again{f' from {self.urls[0]}' if self.urls else ''}"

    def copy_in(self, folder: Path) -> Path | None:
        """The file of `folder` that may hold this one: `NAME`, or else `NAME.gz`."""
        paths = (folder / self.name, folder / f"{self.name}.gz")
        return next((path for path in paths if path.is_file()), None)


@dataclass(frozen=True)
class RetryPolicy:
    """How long and how often a download tries.

    Attributes:
        attempts: requests for each address; no more than two where nothing answers.
        first_wait_seconds: before the second request; it doubles each time, less up to half at
            random, so that many clients do not return together.
        timeout_seconds: between two pieces of an answer.
        lock_timeout_seconds: for another process that fetches the same file.
    """

    attempts: int = 5
    first_wait_seconds: float = 0.5
    timeout_seconds: float = 30.0
    lock_timeout_seconds: float = 600.0


def read_verified(file: RemoteFile, path: Path) -> Content:
    """The content of `path`, checked against the size and hash of `file`.

    A plain file is mapped read-only and costs no memory; one packed by gzip is unpacked.

    Raises:
        DataError: the file cannot be read, or its content is another.
    """
    content: Content = b""
    try:
        with path.open("rb") as raw:
            if file.gzipped and raw.peek(2)[:2] == _GZIP_MAGIC:
                # One byte past the expected size is enough to know that there is too much.
                content = gzip.GzipFile(fileobj=raw).read(file.size + 1)
            elif path.stat().st_size:
                content = mmap.mmap(raw.fileno(), 0, access=mmap.ACCESS_READ)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path} is a damaged gzip file ({error})", remedy=file.remedy) from error
    except OSError as error:
        raise DataError(
            f"{path} cannot be read: {error.strerror or error}",
            remedy=f"make it readable, or {file.remedy}",
        ) from error
    digest = hashlib.sha256(content).hexdigest()
    if len(content) != file.size:
        found = f"holds {len(content):,} bytes, expected {file.size:,}"
    elif digest != file.sha256:
        found = f"its content has sha256 {digest[:12]}…, expected {file.sha256[:12]}…"
    else:
        return content
    raise DataError(f"{path} is not {file.name}: {found}", remedy=file.remedy)


def install(file: RemoteFile, path: Path, folder: Path) -> None:
    """Keep the content of `path` as `folder/NAME`, unpacked; the name exists once it is verified.

    Raises:
        DataError: the content is not that of `file`.
        OSError: `folder` cannot be written.
    """
    content = read_verified(file, path)
    with replacing(folder / file.name) as temporary:
        temporary.write_bytes(content)


def download(
    file: RemoteFile,
    folder: Path,
    *,
    progress: Progress | None = None,
    policy: RetryPolicy | None = None,
) -> Path:
    """Fetch a file into `folder/NAME`, which holds verified content or does not exist.

    The transfer grows in `NAME.part`. After a cut, in this call or a later one, it goes on from
    there if the server can. A file that is there already and intact is not fetched again.
    `progress` is called with (done, total) bytes of the transfer.

    Returns:
        The path of the verified, unpacked file.

    Raises:
        DownloadError: no address gave the right bytes, the folder cannot be written, or another
            process holds the lock for too long.
    """
    policy = policy or RetryPolicy()
    final = folder / file.name
    reasons = []
    with fetching(str(final), folder / f".{file.name}.lock", policy):
        with suppress(DataError):
            read_verified(file, final)
            return final
        final.unlink(missing_ok=True)
        with _client(policy) as client:
            for url in file.urls:
                try:
                    _insist(partial(_request, client, url, file, folder, progress), policy)
                except DownloadError as error:
                    reasons.append(f"{url}: {error.problem}")
                else:
                    return final
    raise DownloadError(
        f"{file.name} could not be downloaded ({'; '.join(reasons) or 'it has no address'})",
        remedy=_TRY_AGAIN,
    )


@contextmanager
def fetching(what: str, lock: Path, policy: RetryPolicy) -> Iterator[None]:
    """Hold the lock file on `what` while it is fetched into the cache.

    Raises:
        DownloadError: another process holds the lock for too long, or the cache cannot be written.
    """
    seconds = policy.lock_timeout_seconds
    busy = DownloadError(
        f"another process has been fetching {what} for over {seconds:g} s",
        remedy="wait for it, or end it and try again",
    )
    try:
        with locked(lock, busy=busy, timeout_seconds=seconds):
            yield
    except OSError as error:
        raise DownloadError(
            f"cannot write {what}: {error.strerror or error}",
            remedy="free some space there, or set QKV_CACHE to another folder",
        ) from error


def _client(policy: RetryPolicy) -> httpx.Client:
    try:
        return httpx.Client(
            follow_redirects=True,
            # The bytes as stored: a packed answer could be neither resumed nor measured.
            headers={"Accept-Encoding": "identity"},
            timeout=httpx.Timeout(policy.timeout_seconds, connect=_CONNECT_SECONDS),
        )
    except (ImportError, ValueError, httpx.InvalidURL) as error:
        raise DownloadError(
            f"the proxy settings cannot be used: {error}",
            remedy="correct or unset HTTP_PROXY, HTTPS_PROXY and ALL_PROXY",
        ) from error


class _RetryError(Exception):
    """One request failed; the next may not."""

    def __init__(self, reason: str, asked_wait: str = "") -> None:
        super().__init__(reason)
        self.wait_seconds = float(asked_wait) if asked_wait.isdecimal() else 0.0


def _insist(request: Callable[[], None], policy: RetryPolicy) -> None:
    """Request until the file is in its place, or the policy ends it with a DownloadError."""
    for attempt in range(1, policy.attempts + 1):
        most, asked_wait = policy.attempts, 0.0
        try:
            return request()
        except (httpx.UnsupportedProtocol, httpx.TooManyRedirects) as error:
            raise DownloadError(str(error), remedy=_TRY_AGAIN) from error
        except httpx.TransportError as error:
            reason = str(error).strip() or type(error).__name__
            if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.ProxyError):
                most = _UNREACHED_ATTEMPTS
        except _RetryError as error:
            reason, asked_wait = str(error), error.wait_seconds
        if attempt >= most:
            break
        # The system's generator: a download must not move the seeded ones.
        jitter = random.SystemRandom().uniform(0.5, 1.0)
        backoff = jitter * policy.first_wait_seconds * 2 ** (attempt - 1)
        sleep(min(max(backoff, asked_wait), _LONGEST_WAIT_SECONDS))
    tries = "1 attempt" if attempt == 1 else f"{attempt} attempts"
    raise DownloadError(f"{reason}, after {tries}", remedy=_TRY_AGAIN)


def _request(
    client: httpx.Client, url: str, file: RemoteFile, folder: Path, progress: Progress | None
) -> None:
    """Make one request, keep what comes in `NAME.part`, and install the file if it is whole."""
    part = folder / f"{file.name}.part"
    done = part.stat().st_size if part.is_file() else 0
    # Incompressible content grows by 5 bytes a block when packed; the header may hold a name.
    limit = file.size + (file.size // 1000 + 4096 if file.gzipped else 0)
    with client.stream("GET", url, headers={"Range": f"bytes={done}-"} if done else {}) as response:
        status = response.status_code
        if status == httpx.codes.TOO_MANY_REQUESTS or status >= 500:
            wait = response.headers.get("Retry-After", "")
            raise _RetryError(f"the server answered {status}", wait)
        stated = response.headers.get("Content-Range", "")
        resumed = status == 206 and stated.startswith(f"bytes {done}-")
        if done and not resumed and status in (206, 416):
            part.unlink()
            raise _RetryError(f"the server sent another range than asked for ({stated!r})")
        if not resumed and status != httpx.codes.OK:
            raise DownloadError(f"the server answered {status}", remedy=_TRY_AGAIN)
        done = done if resumed else 0
        length = response.headers.get("Content-Length", "")
        total = done + int(length) if length.isdecimal() else file.size
        with part.open("ab" if done else "wb") as out:
            for chunk in response.iter_raw():
                done += len(chunk)
                if done > limit:
                    part.unlink()
                    raise DownloadError(
                        f"the server sends more than the {limit} bytes of {file.name}",
                        remedy=_TRY_AGAIN,
                    )
                out.write(chunk)
                if progress:
                    progress(done, max(done, total))
    try:
        install(file, part, folder)
    except DataError as error:
        reason = f"the bytes received are wrong: {error.problem}"
        if resumed:  # the halves may come from two versions of the file: from the start again
            raise _RetryError(reason) from error
        raise DownloadError(reason, remedy=_TRY_AGAIN) from error
    finally:
        part.unlink()
