"""Who is answered: requests to this server's name, from its own pages, with a key if one is needed.

Each check gives the refusal of a request, or None where it may pass.
"""

from __future__ import annotations

import functools
import hashlib
import hmac
import ipaddress
import os
import stat
from collections.abc import Collection, Iterable
from pathlib import Path

from starlette.types import Scope

from qkv.errors import QKVError
from qkv.serving.errors import Refusal

LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
READING = frozenset({"GET", "HEAD", "OPTIONS"})
MIN_KEY_LENGTH = 16
MAX_FILE_BYTES = 2**20
# Probes carry no keys, and the page must load before it can ask for one.
OPEN_PATHS = frozenset({"/", "/favicon.ico", "/healthz", "/readyz"})
OPEN_FOLDER = "/page/"

# Browsers set Sec-Fetch-Site themselves; `none` is a request of the person, not of a page.
_OWN_SITES = frozenset({b"same-origin", b"none"})
_NO_HOST = Refusal(
    400,
    "the request has no Host, or more than one",
    remedy="send one Host header with this server's name",
)
_FOREIGN_HOST = Refusal(
    421,
    "this server does not go by the name in the Host header",
    remedy="use its own address, or start it with --allow-host and that name",
)
_FOREIGN_ORIGIN = Refusal(
    403,
    "a page of another origin sent this request",
    remedy="send it from the page of this server, or from a program without an Origin header",
)
_NO_KEY = Refusal(
    401,
    "this server asks for a key",
    remedy="send the header Authorization: Bearer and one of its keys",
    headers=((b"www-authenticate", b'Bearer realm="qkv"'),),
)
_WRONG_KEY = Refusal(
    401,
    "this is not a key of this server",
    remedy="send the header Authorization: Bearer and one of its keys",
    headers=((b"www-authenticate", b'Bearer realm="qkv", error="invalid_token"'),),
)
_KEY_FILE = "name a file with one key a line"


def check_host(scope: Scope, allowed: Collection[str]) -> Refusal | None:
    """Refuse a request for another host: 421, or 400 where none is named.

    In DNS rebinding a page's own name is made to stand for this machine's address. Its requests
    still carry that name as their Host. Allowed are the names of loopback, the given ones (lower
    case, no port), and the address that the request came in at, which no name can be rebound to.
    """
    hosts = [value for name, value in scope["headers"] if name == b"host"]
    if len(hosts) != 1 or not hosts[0]:
        return _NO_HOST
    host = bare_host(hosts[0])
    if host in LOOPBACK_NAMES or host in allowed or _is_own_address(host, scope):
        return None
    return _FOREIGN_HOST


@functools.lru_cache(maxsize=256)
def bare_host(value: bytes) -> str:
    """The host of a Host header or an origin's authority, in one form.

    A name in lower case without a last dot, or an address as `ipaddress` writes it, without port
    and brackets. Empty where `value` is no host.
    """
    text = value.decode("latin-1").lower()
    if text.startswith("["):
        address, closed, rest = text[1:].partition("]")
        if not closed or not _is_port(rest):
            return ""
        try:
            return str(ipaddress.IPv6Address(address))
        except ValueError:
            return ""
    host, colon, port = text.partition(":")
    return host.removesuffix(".") if _is_port(colon + port) else ""


def _is_port(text: str) -> bool:
    """Whether `text` is what may follow a host: nothing, or a colon and digits."""
    return text in {"", ":"} or (text[0] == ":" and text[1:].isascii() and text[1:].isdigit())


def _is_own_address(host: str, scope: Scope) -> bool:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:  # a name, which is just what can be rebound
        return False
    server = scope.get("server")
    return server is not None and str(address) == str(server[0])


def check_origin(scope: Scope, allowed: Collection[str]) -> Refusal | None:
    """Refuse a request across origins with 403, unless it only reads.

    What is read stays unread by the other page: no answer allows another origin. A request with
    neither Origin nor Sec-Fetch-Site comes from a program and passes. Pages of `allowed` hosts
    count as this server's own, for a proxy that changes the Host.
    """
    if scope["method"] in READING:
        return None
    host = b""
    origins = []
    for name, value in scope["headers"]:
        if name == b"host":
            host = value
        elif name == b"origin":
            origins.append(value)
        elif name == b"sec-fetch-site" and value.strip().lower() not in _OWN_SITES:
            return _FOREIGN_ORIGIN
    return None if all(_is_own(origin, host, allowed) for origin in origins) else _FOREIGN_ORIGIN


def _is_own(origin: bytes, host: bytes, allowed: Collection[str]) -> bool:
    scheme, separator, authority = origin.partition(b"://")
    if not separator or scheme.lower() not in {b"http", b"https"}:
        return False  # `null` among them: a page that hides where it is from
    return authority.lower() == host.lower() or bare_host(authority) in allowed


class Keys:
    """Keys, kept as digests only."""

    def __init__(self, keys: Iterable[str]) -> None:
        self._digests = tuple(hashlib.sha256(key.encode()).digest() for key in keys)

    def __len__(self) -> int:
        return len(self._digests)

    def accept(self, key: bytes) -> bool:
        """Whether `key` is one of the keys.

        All digests are compared, each in constant time, so that time tells nothing of the keys.
        """
        digest = hashlib.sha256(key).digest()
        found = False
        for known in self._digests:
            found |= hmac.compare_digest(digest, known)
        return found


def check_key(scope: Scope, keys: Keys) -> Refusal | None:
    """Refuse a request without a key, 401; the page's files and the probes are open to all."""
    path: str = scope["path"]
    reads = scope["method"] in {"GET", "HEAD"}
    if reads and (path in OPEN_PATHS or path.startswith(OPEN_FOLDER)):
        return None
    given = [value for name, value in scope["headers"] if name == b"authorization"]
    if not given:
        return _NO_KEY
    scheme, _, key = given[0].partition(b" ")
    if len(given) == 1 and scheme.lower() == b"bearer" and keys.accept(key.strip(b" ")):
        return None
    return _WRONG_KEY


def read_keys(path: Path) -> Keys:
    """The keys of a file: one a line; empty lines and lines that begin with # do not count.

    Raises:
        QKVError: the file cannot be read, is open to every user of the machine, holds no key, or
            has a line that can be none (fewer than 16 printable ASCII characters); never shown.
    """
    keys = []
    for number, line in enumerate(_read_private(path).splitlines(), start=1):
        key = line.strip()
        if not key or key.startswith("#"):
            continue
        if len(key) < MIN_KEY_LENGTH or not all("!" <= letter <= "~" for letter in key):
            raise QKVError(
                f"line {number} of {path} is no key",
                remedy=f"give at least {MIN_KEY_LENGTH} printable ASCII characters without spaces",
            )
        keys.append(key)
    if not keys:
        raise QKVError(f"{path} holds no key", remedy="write one key on each line")
    return Keys(keys)


def _read_private(path: Path) -> str:
    try:
        with path.open("rb") as file:
            facts = os.fstat(file.fileno())
            if not stat.S_ISREG(facts.st_mode):
                raise QKVError(f"{path} is not a file", remedy=_KEY_FILE)
            # A group may read it: that is how secrets are mounted for a service's account.
            if os.name == "posix" and facts.st_mode & stat.S_IRWXO:
                raise QKVError(
                    f"{path} is open to every user of this machine",
                    remedy=f"close it with chmod o-rwx {path}",
                )
            content = file.read(MAX_FILE_BYTES + 1)
        if len(content) > MAX_FILE_BYTES:
            raise QKVError(f"{path} is larger than {MAX_FILE_BYTES:,} bytes", remedy=_KEY_FILE)
        return content.decode()
    except OSError as error:
        raise QKVError(f"cannot read {path}: {error.strerror}", remedy=_KEY_FILE) from None
    except UnicodeDecodeError:
        raise QKVError(f"{path} is not text", remedy=_KEY_FILE) from None
