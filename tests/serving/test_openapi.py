"""The description of the API, and that the API is as described."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
import uvicorn
from hypothesis import HealthCheck, given, settings
from schemathesis.specs.openapi.checks import positive_data_acceptance
from starlette.testclient import TestClient

from qkv.serving.app import create_app
from qkv.serving.models import Models
from qkv.serving.settings import ServingSettings

EXAMPLES = 15
# Each takes half a second.
FEW = 3
ERROR = {"$ref": "#/components/schemas/ErrorAnswer"}


@pytest.fixture(scope="module")
def description(models: Models) -> dict[str, Any]:
    app = create_app(models, ServingSettings())
    document: dict[str, Any] = json.loads(json.dumps(app.openapi()))
    return document


def test_it_is_openapi_3_1(description: dict[str, Any]) -> None:
    assert description["openapi"].startswith("3.1")
    assert description["info"]["title"] == "qkv"


@pytest.mark.parametrize("work", ["predict", "explain", "attention"])
def test_bodies_are_described(description: dict[str, Any], work: str) -> None:
    operation = description["paths"][f"/v1/models/{{model_id}}/{work}"]["post"]
    content = operation["requestBody"]["content"]
    assert {"application/json", "multipart/form-data"} < set(content)
    assert any(kind.startswith("image/") for kind in content)
    assert operation["requestBody"]["required"] is True
    statuses = set(operation["responses"])
    assert {"200", "400", "404", "408", "413", "415", "422", "429", "503"} <= statuses
    for status in statuses - {"200"}:
        schema = operation["responses"][status]["content"]["application/json"]["schema"]
        assert schema == ERROR, status


def test_every_operation_has_a_name_and_words(description: dict[str, Any]) -> None:
    names = []
    for operations in description["paths"].values():
        for operation in operations.values():
            names.append(operation["operationId"])
            assert operation["summary"]
    assert len(set(names)) == len(names)


def test_no_error_but_the_one_form_is_described(description: dict[str, Any]) -> None:
    assert "HTTPValidationError" not in description["components"]["schemas"]
    for path, operations in description["paths"].items():
        for operation in operations.values():
            for status, answer in operation["responses"].items():
                if status >= "400" and path != "/readyz":
                    assert answer["content"]["application/json"]["schema"] == ERROR


def test_every_reference_leads_somewhere(description: dict[str, Any]) -> None:
    def references(node: Any) -> Iterator[str]:
        if isinstance(node, dict):
            if isinstance(node.get("$ref"), str):
                yield node["$ref"]
            for value in node.values():
                yield from references(value)
        elif isinstance(node, list):
            for value in node:
                yield from references(value)

    for reference in set(references(description)):
        found: Any = description
        for part in reference.removeprefix("#/").split("/"):
            found = found[part]
        assert found


def test_no_page_from_elsewhere_shows_it(client: TestClient) -> None:
    assert client.get("/openapi.json").status_code == 200
    assert client.get("/docs").status_code == 404
    assert client.get("/redoc").status_code == 404


def test_errors_off_the_described_paths_have_the_form_too(client: TestClient) -> None:
    missing = client.get("/v2")
    assert missing.status_code == 404
    assert set(missing.json()) == {"error", "remedy"}
    wrong = client.post("/v1/models")
    assert wrong.status_code == 405
    assert wrong.headers["allow"] == "GET"
    assert set(wrong.json()) == {"error", "remedy"}


# --- the API is as described: requests drawn from the description


@pytest.fixture(scope="module")
def address(models: Models) -> Iterator[str]:
    """A server on loopback, in a thread of this process."""
    app = create_app(models, ServingSettings())
    config = uvicorn.Config(app, port=0, log_config=None, lifespan="on", ws="none")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
        assert thread.is_alive()
    port = server.servers[0].sockets[0].getsockname()[1]
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    thread.join(20)
    assert not thread.is_alive()


OPERATIONS = (
    "GET /healthz",
    "GET /readyz",
    "GET /metrics",
    "GET /v1/models",
    "GET /v1/models/{model_id}",
    "POST /v1/models/{model_id}/predict",
    "POST /v1/models/{model_id}/explain",
    "POST /v1/models/{model_id}/attention",
    "GET /v1/models/{model_id}/attention",
    "GET /v1/models/{model_id}/examples",
    "GET /v1/models/{model_id}/examples/{index}",
    "GET /v1/models/{model_id}/examples/{index}/image",
    "GET /v1/models/{model_id}/report",
    "GET /v1/studies",
    "GET /v1/studies/copying",
    "GET /v1/studies/linear-attention",
    "POST /v1/studies/linear-attention/measure",
    "POST /v1/studies/recurrence",
)


# What they read has a meaning beyond its shape: bytes that are an image, the name of a class. A
# shape alone cannot promise that they accept it.
OF_MEANING = {name for name in OPERATIONS if name.endswith(("/predict", "/explain", "/attention"))}
OF_MEANING.add("GET /v1/models/{model_id}/examples")


def test_every_operation_is_tried(description: dict[str, Any]) -> None:
    found = {
        f"{method.upper()} {path}"
        for path, operations in description["paths"].items()
        for method in operations
    }
    assert found == set(OPERATIONS)


@pytest.mark.parametrize("name", OPERATIONS)
def test_the_api_is_as_described(address: str, name: str) -> None:
    method, _, path = name.partition(" ")
    operation = schemathesis.openapi.from_url(f"{address}/openapi.json")[path][method]

    excluded = [positive_data_acceptance] if name in OF_MEANING else []

    @given(case=operation.as_strategy())
    @settings(
        max_examples=3 if name.endswith("/measure") else EXAMPLES,
        suppress_health_check=list(HealthCheck),
    )
    def as_described(case: Any) -> None:
        case.path_parameters = {**(case.path_parameters or {}), **known}
        case.call_and_validate(excluded_checks=excluded)

    for known in ({}, {"model_id": "bands"}, {"model_id": "reviews"}):
        if known and "model_id" not in path:
            continue
        as_described()
