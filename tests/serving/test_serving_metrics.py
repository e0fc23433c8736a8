"""What the server counts, read as Prometheus reads it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from fastapi import APIRouter, FastAPI
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient
from starlette.types import Message

from qkv.serving.metrics import INPUTS, SECONDS, Metrics, MetricsCount


def values(metrics: Metrics) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    families = text_string_to_metric_families(metrics.render().decode())
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in families
        for sample in family.samples
    }


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return values(metrics).get((name, frozenset(labels.items())))


def test_requests_are_counted_by_route_method_and_status() -> None:
    metrics = Metrics()
    route = "/v1/models/{model_id}"
    for status in (200, 200, 404):
        metrics.request_began()
        metrics.request_ended(route, "GET", status, 0.003)
    metrics.request_began()
    counted = {"route": route, "method": "GET"}
    assert value(metrics, "qkv_requests_total", **counted, status="200") == 2
    assert value(metrics, "qkv_requests_total", **counted, status="404") == 1
    assert value(metrics, "qkv_request_seconds_count", route=route) == 3
    assert value(metrics, "qkv_request_seconds_sum", route=route) == pytest.approx(0.009)
    assert value(metrics, "qkv_request_seconds_bucket", route=route, le="0.0025") == 0
    assert value(metrics, "qkv_request_seconds_bucket", route=route, le="0.005") == 3
    assert value(metrics, "qkv_requests_active") == 1


def test_methods_from_outside_make_no_labels() -> None:
    metrics = Metrics()
    for number in range(50):
        metrics.request_began()
        metrics.request_ended("none", f"M{number}", 405, 0.001)
    counted = [labels for name, labels in values(metrics) if name == "qkv_requests_total"]
    assert [dict(labels)["method"] for labels in counted] == ["other"]
    assert value(metrics, "qkv_requests_total", route="none", method="other", status="405") == 50


def test_batches_are_counted_by_model() -> None:
    metrics = Metrics()
    count = metrics.of_batches("fashion", "images")
    count(3, 3, 0.02)
    count(5, 5, 0.02)
    metrics.of_batches("reviews", "tokens")(2, 700, 0.5)
    assert value(metrics, "qkv_batch_inputs_sum", model="fashion") == 8
    assert value(metrics, "qkv_batch_inputs_bucket", model="fashion", le="4.0") == 1
    assert value(metrics, "qkv_batch_seconds_count", model="reviews") == 1
    assert value(metrics, "qkv_computed_total", model="fashion", unit="images") == 8
    assert value(metrics, "qkv_computed_total", model="reviews", unit="tokens") == 700


def test_a_queue_is_looked_at_when_the_metrics_are_read() -> None:
    metrics = Metrics()
    queue = [1, 2]
    metrics.watch_queue("predict", lambda: len(queue))
    assert value(metrics, "qkv_queue_depth", queue="predict") == 2
    queue.clear()
    assert value(metrics, "qkv_queue_depth", queue="predict") == 0


def test_two_servers_of_one_process_count_apart() -> None:
    one, other = Metrics(), Metrics()
    one.of_batches("a", "images")(1, 1, 0.1)
    assert value(other, "qkv_batch_inputs_count", model="a") is None


def test_buckets_rise() -> None:
    assert list(SECONDS) == sorted(set(SECONDS))
    assert list(INPUTS) == sorted(set(INPUTS))


def counted_app() -> tuple[TestClient, Metrics]:
    metrics, app, router = Metrics(), FastAPI(), APIRouter()

    @router.get("/v1/models/{model_id}")
    async def model(model_id: str) -> str:
        if model_id == "bad":
            raise ZeroDivisionError
        return model_id

    app.include_router(router)
    app.add_middleware(MetricsCount, metrics=metrics)
    return TestClient(app, raise_server_exceptions=False), metrics


def test_a_route_is_counted_by_its_template() -> None:
    client, metrics = counted_app()
    for path in ("/v1/models/a", "/v1/models/b", "/v1/models/bad", "/nothing", "/nothing/else"):
        client.get(path)
    route = {"route": "/v1/models/{model_id}", "method": "GET"}
    assert value(metrics, "qkv_requests_total", **route, status="200") == 2
    assert value(metrics, "qkv_requests_total", **route, status="500") == 1
    assert value(metrics, "qkv_requests_total", route="none", method="GET", status="404") == 2
    assert value(metrics, "qkv_requests_active") == 0


def test_a_client_that_went_away_counts_as_499() -> None:
    metrics = Metrics()

    async def silent(*_: Any) -> None:
        return

    async def nothing() -> Message:
        raise AssertionError

    async def send(message: Message) -> None:
        raise AssertionError

    asyncio.run(
        MetricsCount(silent, metrics=metrics)({"type": "http", "method": "POST"}, nothing, send)
    )
    assert value(metrics, "qkv_requests_total", route="none", method="POST", status="499") == 1
