"""Who is answered: the Host of a request, the Origin of a page, and keys."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from fake_asgi import Answer, App, ask, scope
from hypothesis import given
from hypothesis import strategies as st

from qkv.errors import QKVError
from qkv.serving.access import Keys, bare_host, check_host, check_key, check_origin, read_keys
from qkv.serving.middleware import ActiveRequests, Admission

HOST = "127.0.0.1:8000"
KEY, OTHER = "correct-horse-battery", "staple-0123456789"


def checked(app: App, check: Callable[..., Any], **settings: Any) -> Admission:
    """The application behind one check."""
    return Admission(app, active=ActiveRequests(), checks=[partial(check, **settings)])


# --- hosts


def host_status(host: str, *, allowed: tuple[str, ...] = (), **more: object) -> int:
    app = App()
    guarded = checked(app, check_host, allowed=allowed)
    answer = ask(guarded, scope(headers=[("host", host)], **more))
    assert (answer.status == 200) == bool(app.asked)
    return answer.status


@pytest.mark.parametrize(
    "host",
    ["localhost", "LocalHost:8000", "localhost.", "127.0.0.1:1", "[::1]:8000", "[0:0::1]", "[::1]"],
)
def test_the_names_of_loopback_pass_with_any_port(host: str) -> None:
    assert host_status(host) == 200


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
    answer = ask(checked(App(), check_host, allowed=()), scope(headers=[("host", host)]))
    assert answer.status == 421
    assert "--allow-host" in answer.body.decode()
    assert "evil" not in answer.body.decode()  # what a stranger wrote is not repeated


@pytest.mark.parametrize("headers", [[], [("host", "")], [("host", "localhost")] * 2])
def test_no_host_and_two_hosts_are_bad_requests(headers: list[tuple[str, str]]) -> None:
    answer = ask(checked(App(), check_host, allowed=()), scope(headers=headers))
    assert answer.status == 400
    assert "Host" in answer.error


def test_a_given_name_passes_and_only_that() -> None:
    allowed = ("models.example.org", "2001:db8::1")
    assert host_status("Models.Example.Org:443", allowed=allowed) == 200
    assert host_status("[2001:DB8:0::1]:443", allowed=allowed) == 200
    assert host_status("example.org", allowed=allowed) == 421
    assert host_status("evil-models.example.org", allowed=allowed) == 421


def test_the_address_that_the_request_came_in_at_passes() -> None:
    assert host_status("10.0.0.7:8000", server=("10.0.0.7", 8000)) == 200
    assert host_status("[2001:db8::1]:8000", server=("2001:db8::1", 8000)) == 200
    assert host_status("10.0.0.8:8000", server=("10.0.0.7", 8000)) == 421
    assert host_status("10.0.0.7:8000", server=None) == 421


def test_a_rebound_name_is_refused_even_as_the_servers_own() -> None:
    """In a rebinding the name stands for this address, and only the Host tells."""
    assert host_status("rebound.example", server=("rebound.example", 8000)) == 421


@given(st.binary(max_size=40))
def test_no_bytes_break_it(value: bytes) -> None:
    host = bare_host(value)
    assert host == host.lower()
    allowed = {b"localhost", b"127.0.0.1", b"[::1]"}
    if host in {"localhost", "127.0.0.1", "::1"}:
        assert value.lower().rstrip(b"0123456789").rstrip(b":.") in allowed | {b"127"}


# --- origins


def origin_status(
    *headers: tuple[str, str], method: str = "POST", host: str = HOST, allowed: str = ""
) -> int:
    app = App()
    guarded = checked(app, check_origin, allowed=[allowed] if allowed else [])
    answer = ask(guarded, scope(method, headers=[("host", host), *headers]))
    assert (answer.status == 200) == bool(app.asked)
    if not app.asked:
        assert "origin" in answer.error
    return answer.status


def test_a_program_without_origin_passes() -> None:
    assert origin_status() == 200


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_the_page_of_this_server_passes(scheme: str) -> None:
    assert origin_status(("origin", f"{scheme}://{HOST}"), ("sec-fetch-site", "same-origin")) == 200
    assert origin_status(("origin", f"{scheme}://{HOST}")) == 200
    assert origin_status(("sec-fetch-site", "none")) == 200


@pytest.mark.parametrize(
    "origin",
    [
        "http://evil.example",
        "http://127.0.0.1:9000",  # another program's page on this machine
        "http://localhost:8000",  # a browser keeps these two apart, so this server does
        "http://127.0.0.1:8000.evil.example",
        "http://evil.example/http://127.0.0.1:8000",
        "https://evil.example@127.0.0.1:8000",
        "null",
        "",
        "file://",
        "file://127.0.0.1:8000",
        "moz-extension://127.0.0.1:8000",
        "127.0.0.1:8000",
    ],
)
def test_another_origin_is_refused(origin: str) -> None:
    assert origin_status(("origin", origin)) == 403


@pytest.mark.parametrize("site", ["cross-site", "same-site", "Cross-Site", "unheard-of", ""])
def test_what_the_browser_says_of_the_page_counts(site: str) -> None:
    assert origin_status(("sec-fetch-site", site)) == 403
    assert origin_status(("origin", f"http://{HOST}"), ("sec-fetch-site", site)) == 403


def test_neither_header_excuses_the_other() -> None:
    assert (
        origin_status(("origin", "http://evil.example"), ("sec-fetch-site", "same-origin")) == 403
    )
    assert origin_status(("origin", f"http://{HOST}"), ("origin", "http://evil.example")) == 403


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "WHATEVER"])
def test_every_method_but_the_reading_ones_is_looked_at(method: str) -> None:
    assert origin_status(("origin", "http://evil.example"), method=method) == 403


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
def test_reading_passes(method: str) -> None:
    assert origin_status(("sec-fetch-site", "cross-site"), method=method) == 200


def test_behind_a_proxy_that_changes_the_host_an_allowed_name_is_its_own() -> None:
    origin = ("origin", "https://models.example.org")
    assert origin_status(origin) == 403
    assert origin_status(origin, allowed="models.example.org") == 200
    assert origin_status(("origin", "https://example.org"), allowed="models.example.org") == 403


# --- keys


def key_answer(*authorization: str, method: str = "GET", path: str = "/v1/models") -> Answer:
    app = App()
    headers = [("authorization", value) for value in authorization]
    given = ask(checked(app, check_key, keys=Keys([KEY, OTHER])), scope(method, path, headers))
    assert (given.status == 200) == bool(app.asked)
    return given


@pytest.mark.parametrize("key", [KEY, OTHER])
@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_each_key_opens(scheme: str, key: str) -> None:
    assert key_answer(f"{scheme} {key}").status == 200


def test_without_a_key_it_says_what_to_send() -> None:
    refused = key_answer()
    assert refused.status == 401
    assert refused.headers["www-authenticate"] == 'Bearer realm="qkv"'
    assert "key" in refused.error


@pytest.mark.parametrize(
    "authorization",
    [
        f"Bearer {KEY}x",
        f"Bearer {KEY[:-1]}",
        f"Bearer {KEY.upper()}",
        f"Bearer {KEY},{OTHER}",
        "Bearer",
        "Bearer ",
        f"Basic {KEY}",
        KEY,
        f"Bearer{KEY}",
        "",
        "Bearer \xff\xfe",
    ],
)
def test_anything_else_does_not(authorization: str) -> None:
    refused = key_answer(authorization)
    assert refused.status == 401
    assert refused.headers["www-authenticate"] == 'Bearer realm="qkv", error="invalid_token"'
    assert KEY not in refused.error


def test_two_headers_are_none() -> None:
    assert key_answer(f"Bearer {KEY}", "Bearer no").status == 401


@pytest.mark.parametrize("path", ["/", "/page/app.js", "/healthz", "/readyz", "/favicon.ico"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_the_page_and_the_probes_are_open(method: str, path: str) -> None:
    assert key_answer(method=method, path=path).status == 200


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/models"),
        ("POST", "/v1/models/a/predict"),
        ("GET", "/v1/models/a/examples/3/image"),
        ("GET", "/metrics"),
        ("GET", "/openapi.json"),
        ("GET", "/page"),
        ("GET", "/pages/app.js"),
        ("GET", "/healthz/"),
        ("POST", "/page/app.js"),
        ("POST", "/"),
        ("OPTIONS", "/"),
    ],
)
def test_nothing_else_is(method: str, path: str) -> None:
    assert key_answer(method=method, path=path).status == 401


def test_every_key_is_compared_however_early_one_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    compared = []

    def compare(one: bytes, other: bytes) -> bool:
        compared.append(len(other))
        return one == other

    monkeypatch.setattr("hmac.compare_digest", compare)
    keys = Keys([KEY, OTHER, "another-one-of-many"])
    assert keys.accept(KEY.encode())
    assert not keys.accept(b"x")
    assert compared == [32] * 6  # digests of one length: nothing tells how long a key is


def key_file(folder: Path, content: str | bytes, mode: int = 0o600) -> Path:
    path = folder / "keys"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    path.chmod(mode)
    return path


def test_a_file_has_a_key_on_each_line(tmp_path: Path) -> None:
    keys = read_keys(key_file(tmp_path, f"# ours\n{KEY}\n\n  {OTHER}  \r\n#{KEY}not\n"))
    assert len(keys) == 2
    assert keys.accept(KEY.encode())
    assert keys.accept(OTHER.encode())
    assert not keys.accept(b"# ours")
    assert not keys.accept(b"")


@pytest.mark.parametrize("content", ["", "\n\n", "# only a comment\n"])
def test_a_file_without_a_key_is_refused(tmp_path: Path, content: str) -> None:
    path = key_file(tmp_path, content)
    with pytest.raises(QKVError) as refused:
        read_keys(path)
    assert str(refused.value) == f"{path} holds no key; write one key on each line"


@pytest.mark.parametrize(
    "line", ["short", "two words are no key at all", "clé-clé-clé-clé-clé-clé"]
)
def test_a_line_that_is_no_key_is_named_but_not_shown(tmp_path: Path, line: str) -> None:
    with pytest.raises(QKVError, match="line 2 of .* is no key") as refused:
        read_keys(key_file(tmp_path, f"{KEY}\n{line}\n"))
    assert line not in str(refused.value)


@pytest.mark.skipif(os.name != "posix", reason="files have other permissions there")
@pytest.mark.parametrize(("mode", "fits"), [(0o600, True), (0o640, True), (0o644, False)])
def test_a_file_that_everyone_may_read_is_refused(tmp_path: Path, mode: int, fits: bool) -> None:
    path = key_file(tmp_path, KEY, mode)
    if fits:
        assert len(read_keys(path)) == 1
    else:
        with pytest.raises(QKVError, match="open to every user .* chmod o-rwx"):
            read_keys(path)


def test_what_is_no_such_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(QKVError, match="cannot read .*absent"):
        read_keys(tmp_path / "absent")
    with pytest.raises(QKVError, match="cannot read"):
        read_keys(tmp_path)
    with pytest.raises(QKVError, match="is not text"):
        read_keys(key_file(tmp_path, b"\xff" * 40))
    with pytest.raises(QKVError, match="larger than"):
        read_keys(key_file(tmp_path, "k" * 2_000_000))
