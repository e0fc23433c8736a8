"""What a server allows, and where it listens."""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path
from typing import Self

from pydantic import Field, field_validator, model_validator

from qkv.devices import DeviceName
from qkv.errors import QKVError
from qkv.settings import Settings

MEBIBYTE = 2**20
_LABEL = r"[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?"
_NAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")


class ServingSettings(Settings):
    """Where a server listens, how much one request may ask for, and how much may wait."""

    host: str = "127.0.0.1"
    """Name or address to listen on; beyond loopback a key file or `no_auth` is needed."""
    port: int = Field(default=8000, ge=0, le=65_535)
    """TCP port; 0 takes any free one."""
    allowed_hosts: tuple[str, ...] = ()
    """Names, besides those of loopback and `host`, that a request's Host may carry: lower case,
    without a port, such as `models.example.org`. Any port goes with them."""
    api_key_file: Path | None = None
    """File with one key a line; a request must then carry one of them. None: no key is asked."""
    no_auth: bool = False
    """Serve beyond loopback without keys."""
    device: DeviceName = "auto"
    """Where the models run: auto, cpu, cuda or mps."""
    threads: int | None = Field(default=None, ge=1, le=1024)
    """Threads of one prediction on a CPU; None: so many that all cores are taken."""
    workers: int | None = Field(default=None, ge=1, le=64)
    """Predictions computed side by side; None: on a CPU one a core, at most 4; else one."""
    processes: bool = False
    """Compute images on a CPU in so many processes in place of threads: about a third more images a
    second, for the memory of as many programs."""

    max_body_bytes: int = Field(default=10 * MEBIBYTE, ge=1, le=1024 * MEBIBYTE)
    """Largest body of a request, bytes."""
    max_pixels: int = Field(default=50_000_000, ge=1, le=50_000_000)
    """Largest image, width times height, checked before it is decoded."""
    max_inputs: int = Field(default=64, ge=1, le=4096)
    """Inputs of one request."""
    max_text_characters: int = Field(default=100_000, ge=1)
    """Characters of one text; what a model does not read of them is cut as in training."""
    max_request_tokens: int = Field(default=32_768, ge=1)
    """Tokens of all texts of one request together, after each is cut to what its model reads."""

    batch_images: int = Field(default=48, ge=1, le=65_536)
    """Images computed together at most, across requests. On a CPU larger batches are no faster by
    image, and all of a batch wait for its end."""
    batch_tokens: int = Field(default=256, ge=1)
    """Tokens computed together at most, across requests; one text may alone be longer. On a CPU
    larger batches are no faster by token."""
    queue_size: int = Field(default=512, ge=1, le=1_000_000)
    """Inputs of one model that may wait for their prediction; more are refused with 429."""
    explain_queue_size: int = Field(default=16, ge=1, le=1_000_000)
    """Explanations and looks at attention that may wait; more are refused with 429."""

    header_timeout_seconds: float = Field(default=10.0, gt=0.0, le=3600.0)
    """Time that a connection has for the whole head of a request, from its opening or from the
    head's first byte; then it is closed."""
    body_timeout_seconds: float = Field(default=20.0, gt=0.0, le=3600.0)
    """Time that a request has for its whole body, from the end of its head."""
    keep_alive_seconds: int = Field(default=15, ge=1, le=3600)
    """Time that a connection may stay open between two requests."""
    max_connections: int = Field(default=4096, ge=1, le=1_000_000)
    """Connections open at once; a further one is told 429 and closed."""
    backlog: int = Field(default=1024, ge=1, le=65_535)
    """Connections that the system may hold until the server takes them."""
    drain_seconds: float = Field(default=20.0, gt=0.0, le=3600.0)
    """Time to answer what is queued when the server is asked to stop; then it ends anyway."""

    @field_validator("host")
    @classmethod
    def _is_host(cls, value: str) -> str:
        return _as_host(value)

    @field_validator("allowed_hosts")
    @classmethod
    def _are_hosts(cls, values: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(_as_host(value) for value in values)

    @model_validator(mode="after")
    def _one_way_of_authentication(self) -> Self:
        if self.api_key_file is not None and self.no_auth:
            raise ValueError("api_key_file and no_auth contradict each other")
        return self

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach `host`."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:  # a name, which may stand for any address
            return False

    @property
    def is_wildcard(self) -> bool:
        """Whether `host` stands for every address of this machine."""
        return self.host in {"0.0.0.0", "::"}  # noqa: S104 - compared, not bound

    def require_safe_binding(self) -> None:
        """See that nobody beyond this machine is served without someone having decided so.

        Raises:
            QKVError: the host lies beyond loopback, without keys and without `no_auth`.
        """
        if self.is_loopback or self.api_key_file is not None or self.no_auth:
            return
        raise QKVError(
            f"host {self.host} can be reached from other machines, and no key would be asked",
            remedy="give --api-key-file FILE, or --no-auth if everyone may use these models",
        )


def _as_host(value: str) -> str:
    """A host in lower case, without the brackets of an IPv6 address."""
    host = value.lower()
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    try:
        return str(ipaddress.ip_address(bare))
    except ValueError:
        pass
    if len(host) > 253 or not _NAME.fullmatch(host):
        raise ValueError("must be a host name or an IP address, without a port")
    return host
