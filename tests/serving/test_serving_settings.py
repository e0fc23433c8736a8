"""Settings of a server: what they take, and which bindings are safe."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from qkv.errors import QKVError, RecipeError
from qkv.serving.settings import ServingSettings


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
