"""The Host of a request: this server's names and no other."""

from __future__ import annotations

import pytest
from fake_asgi import App, ask, passes_other_scopes, scope
from hypothesis import given
from hypothesis import strategies as st

from qkv.serving.guard.hosts import HostCheck, bare_host


def status(host: str, *, allowed: tuple[str, ...] = (), **more: object) -> int:
    app = App()
    answer = ask(HostCheck(app, allowed=allowed), scope(headers=[("host", host)], **more))
    assert (answer.status == 200) == bool(app.asked)
    return answer.status


@pytest.mark.parametrize(
    "host",
    ["localhost", "LocalHost:8000", "localhost.", "127.0.0.1:1", "[::1]:8000", "[0:0::1]", "[::1]"],
)
def test_the_names_of_loopback_pass_with_any_port(host: str) -> None:
    assert status(host) == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8000",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "127.0.0.1@evil.example",
        "localhost:8000@evil.example",
        "localhost, evil.example",
        "localhost:80x",
        "localhost evil.example",
        "[::1",
        "[::1]evil",
        "[localhost]",
        "::1",
        "2130706433",
        "127.1",
        "lоcalhost".encode().decode("latin-1"),  # with a Cyrillic letter
        "10.0.0.7",
        ":8000",
        ".",
    ],
)
def test_another_name_is_misdirected(host: str) -> None:
    answer = ask(HostCheck(App()), scope(headers=[("host", host)]))
    assert answer.status == 421
    assert "--allow-host" in answer.body.decode()
    assert "evil" not in answer.body.decode()  # what a stranger wrote is not repeated


@pytest.mark.parametrize("headers", [[], [("host", "")], [("host", "localhost")] * 2])
def test_no_host_and_two_hosts_are_bad_requests(headers: list[tuple[str, str]]) -> None:
    answer = ask(HostCheck(App()), scope(headers=headers))
    assert answer.status == 400
    assert "Host" in answer.error


def test_a_given_name_passes_and_only_that() -> None:
    allowed = ("models.example.org", "2001:db8::1")
    assert status("Models.Example.Org:443", allowed=allowed) == 200
    assert status("[2001:DB8:0::1]:443", allowed=allowed) == 200
    assert status("example.org", allowed=allowed) == 421
    assert status("evil-models.example.org", allowed=allowed) == 421


def test_the_address_that_the_request_came_in_at_passes() -> None:
    assert status("10.0.0.7:8000", server=("10.0.0.7", 8000)) == 200
    assert status("[2001:db8::1]:8000", server=("2001:db8::1", 8000)) == 200
    assert status("10.0.0.8:8000", server=("10.0.0.7", 8000)) == 421
    assert status("10.0.0.7:8000", server=None) == 421


def test_a_rebound_name_is_refused_even_as_the_servers_own() -> None:
    """In a rebinding the name stands for this address, and only the Host tells."""
    assert status("rebound.example", server=("rebound.example", 8000)) == 421


@given(st.binary(max_size=40))
def test_no_bytes_break_it(value: bytes) -> None:
    host = bare_host(value)
    assert host == host.lower()
    allowed = {b"localhost", b"127.0.0.1", b"[::1]"}
    if host in {"localhost", "127.0.0.1", "::1"}:
        assert value.lower().rstrip(b"0123456789").rstrip(b":.") in allowed | {b"127"}


def test_the_start_of_the_server_passes() -> None:
    assert passes_other_scopes(HostCheck)
