"""Counting what is being answered, refusing the rest while draining; and a full queue."""

from __future__ import annotations

import asyncio

import pytest
from fake_asgi import App, ask, ask_async, passes_other_scopes, received, scope
from starlette.types import Message, Receive, Scope, Send

from qkv.serving.guard.full import FullCheck
from qkv.serving.guard.traffic import Traffic, TrafficCheck


def test_what_is_being_answered_is_counted_until_it_is_answered() -> None:
    async def check() -> list[int]:
        traffic = Traffic()
        go_on = asyncio.Event()

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            await go_on.wait()

        guarded = TrafficCheck(app, traffic=traffic)
        await asyncio.wait_for(traffic.quiet(), 1)
        begun = [asyncio.create_task(ask_async(guarded)) for _ in range(2)]
        await asyncio.sleep(0)
        counts = [traffic.active]
        quiet = asyncio.create_task(traffic.quiet())
        begun[0].cancel()  # a client that went away
        await asyncio.wait([begun[0]])
        counts.append(traffic.active)
        assert not quiet.done()
        go_on.set()
        await asyncio.wait_for(quiet, 1)
        return [*counts, traffic.active]

    assert asyncio.run(check()) == [2, 1, 0]


def test_a_failing_request_is_answered_too() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise ZeroDivisionError

    traffic = Traffic()
    with pytest.raises(ZeroDivisionError):
        ask(TrafficCheck(app, traffic=traffic))
    assert traffic.active == 0


@pytest.mark.parametrize("path", ["/v1/models/a/predict", "/", "/readyz"])
def test_while_draining_new_requests_are_refused(path: str) -> None:
    app, traffic = App(), Traffic()
    traffic.draining = True
    answer = ask(TrafficCheck(app, traffic=traffic), scope("POST", path))
    assert answer.status == 503
    assert answer.headers["connection"] == "close"
    assert int(answer.headers["retry-after"]) > 0
    assert "stopping" in answer.error
    assert (app.asked, traffic.active) == (0, 0)


@pytest.mark.parametrize("path", ["/healthz", "/metrics"])
def test_while_draining_the_server_still_says_how_it_is(path: str) -> None:
    app, traffic = App(), Traffic()
    traffic.draining = True
    assert ask(TrafficCheck(app, traffic=traffic), scope(path=path)).status == 200


def test_work_for_a_full_queue_is_refused_unread() -> None:
    asked: list[tuple[str, str]] = []

    def is_full(model: str, work: str) -> bool:
        asked.append((model, work))
        return work == "predict"

    async def unread() -> Message:
        raise AssertionError

    app = App()
    guarded = FullCheck(app, is_full=is_full)
    answer = ask(guarded, scope("POST", "/v1/models/fashion.1/predict"), unread)
    assert answer.status == 429
    assert int(answer.headers["retry-after"]) > 0
    assert "waiting" in answer.error
    assert ask(guarded, scope("POST", "/v1/models/fashion.1/explain"), received()).status == 200
    assert ask(guarded, scope("POST", "/v1/studies/recurrence"), received()).status == 200
    assert ask(guarded, scope("GET", "/v1/models/fashion.1/predict"), received()).status == 200
    assert asked == [("fashion.1", "predict"), ("fashion.1", "explain")]


def test_the_start_of_the_server_passes() -> None:
    assert passes_other_scopes(lambda app: TrafficCheck(app, traffic=Traffic()))
    assert passes_other_scopes(lambda app: FullCheck(app, is_full=lambda *_: True))
