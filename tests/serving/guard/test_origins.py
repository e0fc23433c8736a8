"""Pages of other origins cannot ask for work."""

from __future__ import annotations

import pytest
from fake_asgi import App, ask, passes_other_scopes, scope

from qkv.serving.guard.origin import OriginCheck

HOST = "127.0.0.1:8000"


def status(
    *headers: tuple[str, str], method: str = "POST", host: str = HOST, allowed: str = ""
) -> int:
    app = App()
    guarded = OriginCheck(app, allowed=[allowed] if allowed else [])
    answer = ask(guarded, scope(method, headers=[("host", host), *headers]))
    assert (answer.status == 200) == bool(app.asked)
    if not app.asked:
        assert "origin" in answer.error
    return answer.status


def test_a_program_without_origin_passes() -> None:
    assert status() == 200


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_the_page_of_this_server_passes(scheme: str) -> None:
    assert status(("origin", f"{scheme}://{HOST}"), ("sec-fetch-site", "same-origin")) == 200
    assert status(("origin", f"{scheme}://{HOST}")) == 200
    assert status(("sec-fetch-site", "none")) == 200


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
    assert status(("origin", origin)) == 403


@pytest.mark.parametrize("site", ["cross-site", "same-site", "Cross-Site", "unheard-of", ""])
def test_what_the_browser_says_of_the_page_counts(site: str) -> None:
    assert status(("sec-fetch-site", site)) == 403
    assert status(("origin", f"http://{HOST}"), ("sec-fetch-site", site)) == 403


def test_neither_header_excuses_the_other() -> None:
    assert status(("origin", "http://evil.example"), ("sec-fetch-site", "same-origin")) == 403
    assert status(("origin", f"http://{HOST}"), ("origin", "http://evil.example")) == 403


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "WHATEVER"])
def test_every_method_but_the_reading_ones_is_looked_at(method: str) -> None:
    assert status(("origin", "http://evil.example"), method=method) == 403


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
def test_reading_passes(method: str) -> None:
    assert status(("sec-fetch-site", "cross-site"), method=method) == 200


def test_behind_a_proxy_that_changes_the_host_an_allowed_name_is_its_own() -> None:
    origin = ("origin", "https://models.example.org")
    assert status(origin) == 403
    assert status(origin, allowed="models.example.org") == 200
    assert status(("origin", "https://example.org"), allowed="models.example.org") == 403


def test_the_start_of_the_server_passes() -> None:
    assert passes_other_scopes(OriginCheck)
