"""The protections in their order around an application."""

from __future__ import annotations

from collections.abc import Callable

from starlette.types import ASGIApp

from qkv.serving.guard.body import BodyLimit
from qkv.serving.guard.full import FullCheck
from qkv.serving.guard.headers import SecurityHeaders
from qkv.serving.guard.hosts import HostCheck
from qkv.serving.guard.keys import KeyCheck, Keys
from qkv.serving.guard.origin import OriginCheck
from qkv.serving.guard.traffic import Traffic, TrafficCheck
from qkv.serving.metrics import Metrics, MetricsCount
from qkv.serving.settings import ServingSettings

# So many of the largest bodies may be in memory at once.
HELD_BODIES = 32


def guard(
    app: ASGIApp,
    settings: ServingSettings,
    *,
    traffic: Traffic,
    keys: Keys | None = None,
    metrics: Metrics | None = None,
    is_full: Callable[[str, str], bool] | None = None,
) -> ASGIApp:
    """An application behind all protections.

    Made for `FastAPI.add_middleware(guard, settings=settings, traffic=app.state.traffic, …)`; the
    server reads `app.state.traffic` and drains by it.

    From the outside in: headers on every answer, a count of it, no new requests while draining,
    Host, Origin, key, room in the queue, body. What costs least and refuses most comes first, and
    nothing of a body is read for a request that is refused for another reason.

    Args:
        app: what answers the requests that pass.
        settings: the limits.
        traffic: counts the requests, and is told when the server drains.
        keys: those that requests must carry; None: they need none.
        metrics: counts answers; None: nothing does.
        is_full: see `FullCheck`; None: every body is read.
    """
    own = () if settings.is_wildcard else (settings.host,)
    app = BodyLimit(
        app,
        max_bytes=settings.max_body_bytes,
        max_held_bytes=HELD_BODIES * settings.max_body_bytes,
        timeout_seconds=settings.body_timeout_seconds,
    )
    if is_full is not None:
        app = FullCheck(app, is_full=is_full)
    if keys is not None:
        app = KeyCheck(app, keys=keys)
    app = OriginCheck(app, allowed=settings.allowed_hosts)
    app = HostCheck(app, allowed=(*own, *settings.allowed_hosts))
    app = TrafficCheck(app, traffic=traffic)
    if metrics is not None:
        app = MetricsCount(app, metrics=metrics)
    return SecurityHeaders(app, closing=lambda: traffic.draining)
