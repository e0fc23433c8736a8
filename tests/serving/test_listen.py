"""Sockets: which addresses they have, what takes them, and how they end."""

from __future__ import annotations

import errno
import socket
import sys
from contextlib import ExitStack

import pytest

from qkv.errors import QKVError
from qkv.serving import server
from qkv.serving.server import address_of, bind, bound_port, room_for_connections, serve_app
from qkv.serving.settings import ServingSettings
from serve_small import small_app


def test_any_free_port_is_one_for_all_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    loopbacks = [
        (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 0)),
        (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.2", 0)),
        (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 0)),  # some systems repeat one
        (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", 0)),  # not an address of here
    ]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: loopbacks)
    with ExitStack() as stack:
        bound = [stack.enter_context(opened) for opened in bind("a-name", 0)]
        assert [opened.getsockname()[0] for opened in bound] == ["127.0.0.1", "127.0.0.2"]
        assert {opened.getsockname()[1] for opened in bound} == {bound_port(bound)}
        assert bound_port(bound) > 0


def test_an_address_of_another_machine_is_refused() -> None:
    with pytest.raises(QKVError, match=r"cannot listen on 192\.0\.2\.1:0: .*; check --host"):
        bind("192.0.2.1", 0)


def test_a_port_for_the_system_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(server, "_bind_one", forbidden)
    with pytest.raises(QKVError, match="port 80 is for the system only; give a --port above 1023"):
        bind("127.0.0.1", 80)


def test_a_program_that_listens_first_takes_the_port() -> None:
    """Two may bind a port of which nobody listens yet; only one can listen."""
    settings, said = ServingSettings(port=0), []
    with ExitStack() as stack:
        (ours,) = (stack.enter_context(opened) for opened in bind("127.0.0.1", 0))
        port = bound_port([ours])
        (other,) = (stack.enter_context(opened) for opened in bind("127.0.0.1", port))
        other.listen()
        with pytest.raises(QKVError, match=f"port {port} of 127.0.0.1 is taken"):
            serve_app(small_app(settings), [ours], settings, say=said.append)
    assert said == []


@pytest.mark.parametrize(
    ("host", "address"),
    [("127.0.0.1", "127.0.0.1:80"), ("::1", "[::1]:80"), ("a.example", "a.example:80")],
)
def test_an_address_reads_as_in_a_url(host: str, address: str) -> None:
    assert address_of(host, 80) == address


@pytest.mark.skipif(sys.platform == "win32", reason="there is no such limit")
@pytest.mark.parametrize(
    ("soft", "hard", "wanted", "room", "raised"),
    [
        (1024, 4096, 500, 500, None),
        (1024, 4096, 2000, 2000, 2064),
        (1024, 1500, 2000, 1436, 1500),
        (1024, -1, 2000, 2000, 2064),
        (-1, -1, 2000, 2000, None),
        (32, 32, 2000, 1, 32),
    ],
)
def test_the_limit_on_open_files_is_raised_or_kept(
    monkeypatch: pytest.MonkeyPatch,
    soft: int,
    hard: int,
    wanted: int,
    room: int,
    raised: int | None,
) -> None:
    import resource

    calls: list[int] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: (soft, hard))
    monkeypatch.setattr(resource, "setrlimit", lambda _, limits: calls.append(limits[0]))
    assert room_for_connections(wanted) == room
    assert calls == ([] if raised is None else [raised])
