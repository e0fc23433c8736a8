"""A real server process: how it starts, what it withstands, how it stops."""

from __future__ import annotations

import errno
import json
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from qkv.errors import QKVError, RecipeError
from qkv.serving import server as server_module
from qkv.serving.server import address_of, bind, bound_port, room_for_connections, serve_app
from qkv.serving.settings import ServingSettings
from serve_small import small_app
from server_processes import SMALL, ServerProcess, small_server

PREDICT = "/v1/models/a/predict"
DRAIN_SECONDS = 10.0


@pytest.fixture(scope="module")
def server() -> ServerProcess:
    """One that several tests ask; none of them stops it."""
    with small_server(max_body_bytes=100_000, body_timeout_seconds=1.0) as server:
        yield server


def raw(server: ServerProcess, *parts: bytes, pause: float = 0.0) -> bytes:
    """What comes back for these bytes until the server closes."""
    received = b""
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
        try:
            for part in parts:
                connection.sendall(part)
                time.sleep(pause)
            while piece := connection.recv(65_536):
                received += piece
        except ConnectionError:
            pass
    return received


def test_it_says_where_it_serves_what(server: ServerProcess) -> None:
    assert re.fullmatch(
        r"qkv: serving http://127\.0\.0\.1:[1-9]\d* \(models: a, b\); stop with Ctrl-C",
        server.lines[0],
    )
    with server.client() as client:
        answer = client.post(PREDICT, content=b"hello")
        assert (answer.status_code, answer.content) == (200, b"hello")
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert "server" not in answer.headers  # what it runs on is nobody's business


def test_it_withstands_a_rebound_name_and_a_foreign_page(server: ServerProcess) -> None:
    with server.client() as client:
        foreign = {"Host": "rebound.example"}
        assert client.post(PREDICT, content=b"x", headers=foreign).status_code == 421
        foreign = {"Origin": "http://evil.example"}
        assert client.post(PREDICT, content=b"x", headers=foreign).status_code == 403
        own = {"Origin": server.url}
        assert client.post(PREDICT, content=b"x", headers=own).status_code == 200


def test_a_failure_is_one_answer_not_the_end(server: ServerProcess) -> None:
    with server.client() as client:
        answer = client.get("/fail")
        assert answer.status_code == 500
        assert sorted(answer.json()) == ["error", "remedy"]
        assert "content-security-policy" in answer.headers
        assert client.get("/healthz").status_code == 200
    assert server.says("ZeroDivisionError"), server.lines


@pytest.mark.parametrize("chunked", [False, True])
def test_a_client_that_sends_too_much_reads_why(server: ServerProcess, chunked: bool) -> None:
    def pieces() -> object:
        for _ in range(40):
            yield b"x" * 10_000

    content = pieces() if chunked else b"x" * 400_000
    with server.client() as client:
        answer = client.post(PREDICT, content=content)
    assert answer.status_code == 413
    assert "100,000 bytes" in answer.json()["error"]
    assert answer.headers["connection"] == "close"


def test_who_asks_first_sends_nothing_too_large(server: ServerProcess) -> None:
    head = f"POST {PREDICT} HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\n"
    received = raw(server, head.encode() + b"Content-Length: 100001\r\n\r\n")
    assert received.startswith(b"HTTP/1.1 413 ")
    asked = head.encode() + b"Connection: close\r\nContent-Length: 5\r\n\r\n"
    assert raw(server, asked).startswith(b"HTTP/1.1 100 Continue\r\n\r\n")


def test_a_body_that_stops_is_refused(server: ServerProcess) -> None:
    began = time.monotonic()
    head = f"POST {PREDICT} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 50\r\n\r\n"
    received = raw(server, head.encode(), b"x" * 10)
    assert received.startswith(b"HTTP/1.1 408 ")
    assert json.loads(received.partition(b"\r\n\r\n")[2])["error"]
    assert time.monotonic() - began < 10


def test_the_second_of_two_servers_says_that_the_port_is_taken(server: ServerProcess) -> None:
    second = subprocess.run(
        [sys.executable, SMALL, json.dumps({"port": server.port})],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert f"port {server.port} of 127.0.0.1 is taken" in second.stderr


def test_silent_connections_hold_no_place(tmp_path: Path) -> None:
    with small_server(header_timeout_seconds=0.5, max_connections=20) as server:
        silent = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(20)]
        for number, connection in enumerate(silent):
            connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n"[: number % 20])
        assert raw(server).startswith(b"HTTP/1.1 429 ")
        time.sleep(1.5)
        with server.client() as client:
            assert client.get("/healthz").status_code == 200
        for connection in silent:
            connection.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_asked_to_stop_it_answers_what_has_begun(number: signal.Signals) -> None:
    with small_server(drain_seconds=DRAIN_SECONDS) as server, ThreadPoolExecutor(4) as pool:
        begun = [
            pool.submit(httpx.post, f"{server.url}{PREDICT}?seconds=1.5", content=b"%d" % index)
            for index in range(4)
        ]
        time.sleep(0.5)
        with server.client() as client:
            assert client.get("/readyz").status_code == 200
            server.send(number)
            time.sleep(0.2)
            refused = client.post(PREDICT, content=b"late")
            assert refused.status_code == 503
            assert refused.headers["connection"] == "close"
            assert "stopping" in refused.json()["error"]
            assert client.get("/readyz").status_code == 503
            assert client.get("/healthz").status_code == 200
        answers = [future.result(timeout=20) for future in begun]
        assert [answer.content for answer in answers] == [b"0", b"1", b"2", b"3"]
        assert {answer.headers["connection"] for answer in answers} == {"close"}
        assert server.end(None, within=DRAIN_SECONDS) == 0
        assert server.lines[1:] == [
            "qkv: stopping; once more to stop at once",
            "closed in order",
            "qkv: stopped",
        ]


def test_idle_it_stops_at_once() -> None:
    with small_server() as server:
        with server.client() as client:  # an open connection without a request holds nothing up
            client.get("/healthz")
            began = time.monotonic()
            assert server.end() == 0
        assert time.monotonic() - began < 3


def test_a_second_signal_ends_it_at_once() -> None:
    with small_server() as server, ThreadPoolExecutor(1) as pool:
        lost = pool.submit(httpx.post, f"{server.url}{PREDICT}?seconds=30", content=b"x")
        time.sleep(0.5)
        server.send(signal.SIGINT)
        time.sleep(0.3)
        began = time.monotonic()
        assert server.end(signal.SIGINT) == 130
        assert time.monotonic() - began < 3
        with pytest.raises(httpx.TransportError):
            lost.result(timeout=10)


def test_what_has_no_answer_in_time_is_cut_off_and_counted() -> None:
    with small_server(drain_seconds=1.0) as server:
        with ThreadPoolExecutor(1) as pool:
            lost = pool.submit(httpx.post, f"{server.url}{PREDICT}?seconds=30", content=b"x")
            time.sleep(0.5)
            began = time.monotonic()
            assert server.end() == 1
            assert time.monotonic() - began < 5
            with pytest.raises(httpx.TransportError):
                lost.result(timeout=10)
        assert server.lines[-1] == "qkv: stopped; after 1 s 1 had no answer"


def test_under_load_no_request_is_lost() -> None:
    """Every request that came before the signal gets its own answer."""
    outcomes: list[str] = []
    stopping, stop = threading.Event(), threading.Event()

    def ask_on(url: str, name: int) -> None:
        with httpx.Client(trust_env=False, timeout=20) as client:
            number = 0
            while not stop.is_set():
                content = b"%d-%d" % (name, number)
                number += 1
                is_late = stopping.is_set()
                try:
                    answer = client.post(f"{url}{PREDICT}?seconds=0.02", content=content)
                except httpx.ConnectError:
                    outcomes.append("nobody")
                    return
                except httpx.TransportError as error:
                    outcomes.append("nobody" if is_late else f"lost: {error!r}")
                    return
                if answer.status_code == 200 and answer.content == content:
                    outcomes.append("answered")
                else:
                    outcomes.append(f"refused {answer.status_code}")

    with small_server(drain_seconds=DRAIN_SECONDS) as server:
        threads = [threading.Thread(target=ask_on, args=(server.url, n)) for n in range(8)]
        for thread in threads:
            thread.start()
        began = time.monotonic()
        while outcomes.count("answered") <= 50 and time.monotonic() < began + 60:
            time.sleep(0.05)
        stopping.set()
        assert server.end(within=DRAIN_SECONDS) == 0
        stop.set()
        for thread in threads:
            thread.join(timeout=30)
    assert set(outcomes) <= {"answered", "refused 503", "nobody"}, set(outcomes)
    assert outcomes.count("answered") > 50


# --- where it listens


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

    monkeypatch.setattr(server_module, "_bind_one", forbidden)
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


def parse(**given: Any) -> ServingSettings:
    return ServingSettings.parse(given, where="qkv serve")


def test_the_defaults_are_safe() -> None:
    settings = ServingSettings()
    settings.require_safe_binding()
    assert settings.is_loopback
    assert not settings.no_auth
    assert settings.max_body_bytes == 10 * 1024 * 1024


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.10", "localhost", "LOCALHOST", "::1"])
def test_loopback_needs_no_key(host: str) -> None:
    parse(host=host).require_safe_binding()


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.7", "2001:db8::1", "models.lan", "box"])
def test_beyond_loopback_a_key_or_a_decision_is_needed(host: str) -> None:
    with pytest.raises(QKVError, match="--api-key-file FILE, or --no-auth") as refused:
        parse(host=host).require_safe_binding()
    assert host in str(refused.value)
    parse(host=host, no_auth=True).require_safe_binding()
    parse(host=host, api_key_file=Path("keys")).require_safe_binding()


def test_keys_and_no_keys_contradict_each_other() -> None:
    with pytest.raises(RecipeError, match="contradict"):
        parse(api_key_file=Path("keys"), no_auth=True)


@pytest.mark.parametrize(
    ("given", "host"),
    [("[::1]", "::1"), ("0:0::1", "::1"), ("Example.ORG", "example.org"), ("a_b", "a_b")],
)
def test_hosts_are_kept_in_one_form(given: str, host: str) -> None:
    assert parse(host=given, allowed_hosts=(given,)).allowed_hosts == (host,)
    assert parse(host=given).host == host


@pytest.mark.parametrize(
    "host", ["", "a b", "host:8000", "http://host", "-host", "a..b", "*", "a" * 300, "h\n"]
)
def test_what_is_no_host_is_refused(host: str) -> None:
    for given in ({"host": host}, {"allowed_hosts": (host,)}):
        with pytest.raises(RecipeError, match="host name or an IP address"):
            parse(**given)


@pytest.mark.parametrize(
    "given",
    [
        {"port": 70_000},
        {"port": -1},
        {"max_body_bytes": 0},
        {"queue_size": 0},
        {"header_timeout_seconds": 0.0},
        {"drain_seconds": float("inf")},
        {"threads": 0},
        {"max_pixels": 10**9},
    ],
)
def test_every_limit_has_its_range(given: dict[str, Any]) -> None:
    with pytest.raises(RecipeError, match=next(iter(given))):
        parse(**given)
