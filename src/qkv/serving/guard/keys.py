"""Keys: who may use the models."""

from __future__ import annotations

import hashlib
import hmac
import os
import stat
from collections.abc import Iterable
from pathlib import Path

from starlette.types import ASGIApp, Receive, Scope, Send

from qkv.errors import QKVError
from qkv.serving.guard.refusal import Refusal

MIN_KEY_LENGTH = 16
MAX_FILE_BYTES = 2**20

# Probes carry no keys, and the page must load before it can ask for one.
OPEN_PATHS = frozenset({"/", "/favicon.ico", "/healthz", "/readyz"})
OPEN_FOLDER = "/page/"

_MISSING = Refusal(
    401,
    "this server asks for a key",
    remedy="send the header Authorization: Bearer and one of its keys",
    headers=((b"www-authenticate", b'Bearer realm="qkv"'),),
)
_WRONG = Refusal(
    401,
    "this is not a key of this server",
    remedy="send the header Authorization: Bearer and one of its keys",
    headers=((b"www-authenticate", b'Bearer realm="qkv", error="invalid_token"'),),
)


class Keys:
    """Keys, kept as digests only.

    Args:
        keys: the accepted ones.
    """

    def __init__(self, keys: Iterable[str]) -> None:
        self._digests = tuple(hashlib.sha256(key.encode()).digest() for key in keys)

    def __len__(self) -> int:
        return len(self._digests)

    def accept(self, key: bytes) -> bool:
        """Whether `key` is one of the keys.

        Digests of one length are compared in a time that does not depend on them, and every one
        of them always is, so that the time of an answer tells nothing of the keys.
        """
        digest = hashlib.sha256(key).digest()
        found = False
        for known in self._digests:
            found |= hmac.compare_digest(digest, known)
        return found


class KeyCheck:
    """ASGI middleware that refuses a request without a key: 401.

    Open to everyone are the page's own files and the two health probes; what the page asks the
    API for needs a key like any request. The page asks the person for it, keeps it for its tab and
    sends it as `Authorization: Bearer`; images too, which it therefore fetches itself.

    Args:
        app: what answers.
        keys: those accepted.
    """

    def __init__(self, app: ASGIApp, *, keys: Keys) -> None:
        self._app = app
        self._keys = keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or refuse."""
        answer = self._app
        if scope["type"] == "http" and not _is_open(scope):
            given = [value for name, value in scope["headers"] if name == b"authorization"]
            if not given:
                answer = _MISSING
            elif len(given) > 1 or not self._accepts(given[0]):
                answer = _WRONG
        await answer(scope, receive, send)

    def _accepts(self, authorization: bytes) -> bool:
        scheme, _, key = authorization.partition(b" ")
        return scheme.lower() == b"bearer" and self._keys.accept(key.strip(b" "))


def _is_open(scope: Scope) -> bool:
    if scope["method"] not in {"GET", "HEAD"}:
        return False
    path: str = scope["path"]
    return path in OPEN_PATHS or path.startswith(OPEN_FOLDER)


def read_keys(path: Path) -> Keys:
    """The keys of a file: one a line; empty lines and lines that begin with # do not count.

    Raises:
        QKVError: the file cannot be read, is open to every user of the machine, holds no key, or
            has a line that can be none: shorter than 16 characters, or with other characters than
            printable ASCII without spaces. The message never shows the line.
    """
    content = _read_private(path)
    keys = []
    for number, line in enumerate(content.splitlines(), start=1):
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
                raise QKVError(f"{path} is not a file", remedy="name a file with one key a line")
            # A group may read it: that is how secrets are mounted for a service's account.
            if os.name == "posix" and facts.st_mode & stat.S_IRWXO:
                raise QKVError(
                    f"{path} is open to every user of this machine",
                    remedy=f"close it with chmod o-rwx {path}",
                )
            content = file.read(MAX_FILE_BYTES + 1)
        if len(content) > MAX_FILE_BYTES:
            raise QKVError(
                f"{path} is larger than {MAX_FILE_BYTES:,} bytes",
                remedy="name a file with one key a line",
            )
        return content.decode()
    except OSError as error:
        raise QKVError(
            f"cannot read {path}: {error.strerror}", remedy="name a file with one key a line"
        ) from None
    except UnicodeDecodeError:
        raise QKVError(f"{path} is not text", remedy="name a file with one key a line") from None
