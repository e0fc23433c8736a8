"""Where a server listens: its sockets, and how many connections the system lets it have."""

from __future__ import annotations

import ctypes
import errno
import ipaddress
import os
import socket
import struct
import sys
from contextlib import ExitStack, suppress

from qkv.errors import QKVError

# Files that the process needs besides its connections.
OTHER_FILES = 64

# A program for Linux's packet filter (McCanne and Jacobson 1993), as (code, jumps, operand): load
# the flags of the TCP header; if SYN is among them keep 0 bytes of the packet, else all.
_SO_ATTACH_FILTER = 26
_DROP_SYN = tuple(
    struct.pack("HBBI", *line)
    for line in (
        (0x30, 0, 0, 13),
        (0x45, 0, 1, 0x02),
        (0x06, 0, 0, 0),
        (0x06, 0, 0, 0xFFFFFFFF),
    )
)


def bind(host: str, port: int) -> list[socket.socket]:
    """Sockets bound to every address of a host, not yet listening.

    Args:
        host: a name or an address.
        port: 0 takes any free one, the same for all addresses.

    Raises:
        QKVError: the host has no address here, or the port is taken or not allowed.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError:  # its words differ from system to system
        raise QKVError(
            f"host {host} has no address", remedy="check --host, or give an address"
        ) from None
    bound: list[socket.socket] = []
    refused: OSError | None = None
    with ExitStack() as on_error:
        for family, kind, protocol, _, address in dict.fromkeys(found):
            try:
                opened = socket.socket(family, kind, protocol)
            except OSError as error:  # no IPv6 here, say
                refused = error
                continue
            on_error.enter_context(opened)
            try:
                _bind_one(opened, address, port=bound_port(bound) if bound else port)
            except OSError as error:
                if error.errno != errno.EADDRNOTAVAIL:
                    raise _cannot_listen(host, port, error) from None
                refused = error
                opened.close()
            else:
                bound.append(opened)
        if not bound:
            assert refused is not None
            raise _cannot_listen(host, port, refused)
        for opened in bound:
            opened.setblocking(False)
        on_error.pop_all()
    return bound


def bound_port(bound: list[socket.socket]) -> int:
    """The port that the sockets have."""
    return int(bound[0].getsockname()[1])


def start_listening(host: str, bound: list[socket.socket], backlog: int) -> None:
    """Let clients connect; the system holds `backlog` connections until they are accepted.

    Raises:
        QKVError: another program has come to listen on the port since it was bound.
    """
    try:
        for opened in bound:
            opened.listen(backlog)
    except OSError as error:
        raise _cannot_listen(host, bound_port(bound), error) from None


def address_of(host: str, port: int) -> str:
    """Host and port as a URL has them."""
    try:
        is_v6 = ipaddress.ip_address(host).version == 6
    except ValueError:
        is_v6 = False
    return f"[{host}]:{port}" if is_v6 else f"{host}:{port}"


def room_for_connections(wanted: int) -> int:
    """How many connections the process may have, `wanted` at most; raises the limit if it may."""
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return wanted
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = wanted + OTHER_FILES
    if soft != resource.RLIM_INFINITY and soft < needed:
        soft = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        return max(1, soft - OTHER_FILES)
    return wanted


def take_no_more(bound: list[socket.socket]) -> None:
    """Have the system drop new attempts to connect, while those that stand can be accepted.

    A listening socket that is closed resets connections that the system has made and nobody has
    accepted: requests would be lost. Only Linux can do this; elsewhere nothing happens.
    """
    if sys.platform != "linux":
        return
    program = ctypes.create_string_buffer(b"".join(_DROP_SYN))
    filter_ = struct.pack("HP", len(_DROP_SYN), ctypes.addressof(program))
    for opened in bound:
        with suppress(OSError):  # forbidden by a sandbox: then it is as on other systems
            opened.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, filter_)


def _cannot_listen(host: str, port: int, error: OSError) -> QKVError:
    """The error for an address that cannot be had."""
    if error.errno == errno.EADDRINUSE:
        return QKVError(
            f"port {port} of {host} is taken by another program",
            remedy="give another --port, or --port 0 for any free one",
        )
    if error.errno == errno.EACCES:
        return QKVError(f"port {port} is for the system only", remedy="give a --port above 1023")
    reason = os.strerror(error.errno) if error.errno else str(error)
    return QKVError(f"cannot listen on {address_of(host, port)}: {reason}", remedy="check --host")


def _bind_one(opened: socket.socket, address: object, *, port: int) -> None:
    # Without it the port stays blocked for a minute after a server has ended; on Windows it would
    # mean that two servers may share one port.
    if os.name == "posix":
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    assert isinstance(address, tuple)
    if opened.family == socket.AF_INET6:
        # Every address of the machine is meant with ::, those of IPv4 too.
        opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(address[0] != "::"))
    opened.bind((address[0], port, *address[2:]))
