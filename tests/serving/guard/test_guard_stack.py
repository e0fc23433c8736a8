"""All protections together: what is refused first, and what a refusal leaves unread."""

from __future__ import annotations

from typing import Any

import pytest
from fake_asgi import Answer, App, ask, passes_other_scopes, received, scope
from starlette.types import Message

from qkv.serving.guard import Keys, Traffic, guard
from qkv.serving.metrics import Metrics
from qkv.serving.settings import ServingSettings

KEY = "correct-horse-battery"
GOOD = {"host": "127.0.0.1:8000", "authorization": f"Bearer {KEY}", "content-length": "5"}
PREDICT = "/v1/models/a/predict"


class Guarded:
    def __init__(self, **settings: Any) -> None:
        self.app, self.traffic, self.metrics = App(), Traffic(), Metrics()
        self.full = False
        self.guard = guard(
            self.app,
            ServingSettings(**settings),
            traffic=self.traffic,
            keys=Keys([KEY]),
            metrics=self.metrics,
            is_full=lambda model, work: self.full,
        )

    def post(self, *, reads: bool = False, **changes: str | None) -> Answer:
        """Ask for a prediction, with some headers changed; unless it `reads`, it must not."""

        async def unread() -> Message:
            raise AssertionError("a refused body was read")

        given = {**GOOD, **{name.replace("_", "-"): value for name, value in changes.items()}}
        headers = [(name, value) for name, value in given.items() if value is not None]
        request = scope("POST", PREDICT, headers)
        answer = ask(self.guard, request, received(b"image") if reads else unread)
        assert "content-security-policy" in answer.headers
        assert (answer.status == 200) == bool(self.app.asked)
        assert self.traffic.active == 0
        return answer


def test_a_good_request_passes_with_its_body() -> None:
    guarded = Guarded()
    assert guarded.post(reads=True).status == 200
    assert guarded.app.bodies == [b"image"]


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"host": "evil.example"}, 421),
        ({"host": None}, 400),
        ({"origin": "http://evil.example"}, 403),
        ({"sec_fetch_site": "cross-site"}, 403),
        ({"authorization": None}, 401),
        ({"authorization": "Bearer wrong"}, 401),
        ({"content_length": "x"}, 400),
    ],
)
def test_each_protection_refuses_without_reading(changes: dict[str, Any], status: int) -> None:
    answer = Guarded().post(**changes)
    assert answer.status == status
    assert answer.error


def test_a_full_queue_refuses_without_reading_but_only_those_with_a_key() -> None:
    guarded = Guarded()
    guarded.full = True
    assert guarded.post().status == 429
    assert guarded.post(authorization=None).status == 401  # a stranger learns nothing of queues


def test_too_large_a_body_is_refused() -> None:
    assert Guarded(max_body_bytes=4).post(reads=True).status == 413


def test_while_draining_all_is_refused_and_connections_end() -> None:
    guarded = Guarded()
    guarded.traffic.draining = True
    answer = guarded.post()
    assert answer.status == 503
    assert answer.headers["connection"] == "close"


def test_the_bound_host_and_the_allowed_ones_pass() -> None:
    settings: dict[str, Any] = {"host": "models.lan", "allowed_hosts": ("example.org",)}
    for host in ("models.lan:8000", "example.org", "localhost"):
        assert Guarded(**settings).post(reads=True, host=host).status == 200
    assert Guarded(**settings).post(host="org").status == 421


def test_every_address_is_no_name() -> None:
    assert Guarded(host="0.0.0.0", no_auth=True).post(host="0.0.0.0").status == 421


def test_refusals_are_counted_like_answers() -> None:
    guarded = Guarded()
    guarded.post(reads=True)
    text = guarded.metrics.render().decode()
    assert 'qkv_requests_total{method="POST",route="none",status="200"} 1.0' in text
    guarded = Guarded()
    guarded.post(host="evil.example")
    text = guarded.metrics.render().decode()
    assert 'qkv_requests_total{method="POST",route="none",status="421"} 1.0' in text


def test_the_start_of_the_server_passes() -> None:
    assert passes_other_scopes(lambda app: guard(app, ServingSettings(), traffic=Traffic()))
