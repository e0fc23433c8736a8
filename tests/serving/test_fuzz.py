"""Requests drawn from the API's description, and hostile ones: never an unplanned 5xx.

A real server process answers them. `QKV_FUZZ_REQUESTS=20000 pytest tests/serving/test_fuzz.py -s
--timeout 3600` sends that many and counts the answers; `QKV_FUZZ_SEED` draws others.
"""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from benchmarks.serving.servers import ServerProcess, free_port

REQUESTS = int(os.environ.get("QKV_FUZZ_REQUESTS", "360"))
SEED = int(os.environ.get("QKV_FUZZ_SEED", "0"))
KNOWN = ("bands", "reviews")
WORK = ("predict", "explain", "attention")
FORM = "multipart/form-data; boundary=edge"


def drawn(count: int, more: int = 0) -> Callable[[Any], Any]:
    """Settings of a property that is tried `count` times, with other draws for each `more`."""

    def decorate(test: Any) -> Any:
        bounded = settings(
            max_examples=count,
            deadline=None,
            derandomize=False,
            database=None,
            suppress_health_check=list(HealthCheck),
        )
        return seed(SEED + 1000 * more)(bounded(test))

    return decorate


@pytest.fixture(scope="module")
def server(vision_run: Path, text_run: Path) -> Iterator[ServerProcess]:
    port = free_port()
    command = [sys.executable, "-m", "qkv", "serve", str(vision_run), str(text_run)]
    command += ["--port", str(port), "--device", "cpu", "--threads", "1", "--max-body", "1"]
    with ServerProcess("qkv serve", command, port, ready_path="/readyz") as process:
        yield process
        # It is the same process, and it still answers.
        process.require_alive()
        assert httpx.get(f"http://127.0.0.1:{port}/readyz").status_code == 200


def test_requests_drawn_from_the_description(server: ServerProcess) -> None:
    address = f"http://127.0.0.1:{server.port}"
    schema = schemathesis.openapi.from_url(f"{address}/openapi.json")
    operations = [result.ok() for result in schema.get_all_operations()]
    assert len(operations) >= 15
    statuses: Counter[int] = Counter()
    ids = st.sampled_from([*KNOWN, *KNOWN, None])
    wanted = REQUESTS // 2
    more = 0
    with requests.Session() as session:
        # Again and again: some operations have few different requests.
        while (missing := wanted - sum(statuses.values())) > 0:
            for operation in operations:

                @drawn(max(1, missing // len(operations)), more)
                @given(case=operation.as_strategy(), known=ids)
                def ask(case: Any, known: str | None) -> None:
                    if known is not None and "model_id" in (case.path_parameters or {}):
                        case.path_parameters["model_id"] = known
                    response = case.call(session=session, timeout=60)
                    statuses[response.status_code] += 1
                    assert response.status_code < 500, (case.as_curl_command(), response.text)

                ask()
            more += 1
    sys.stdout.write(f"\ndrawn from the description: {dict(statuses)}\n")
    assert {200, 404, 422} <= statuses.keys()


def mutated(content: bytes) -> st.SearchStrategy[bytes]:
    """Bytes with some overwritten, some cut off, and some put between."""

    @st.composite
    def changed(draw: st.DrawFn) -> bytes:
        data = bytearray(content)
        for _ in range(draw(st.integers(0, 6))):
            place = draw(st.integers(0, max(0, len(data) - 1)))
            kind = draw(st.sampled_from(["put", "cut", "insert", "repeat"]))
            if kind == "put" and data:
                data[place] = draw(st.integers(0, 255))
            elif kind == "cut":
                del data[place : place + draw(st.integers(1, 40))]
            elif kind == "insert":
                data[place:place] = draw(st.binary(max_size=20))
            else:
                data[place:place] = data[place : place + 30]
        return bytes(data)

    return changed()


def form(content: bytes) -> bytes:
    head = b'--edge\r\nContent-Disposition: form-data; name="file"; filename="a.png"\r\n'
    return head + b"Content-Type: image/png\r\n\r\n" + content + b"\r\n--edge--\r\n"


def test_hostile_bodies(server: ServerProcess, picture: Callable[..., bytes]) -> None:
    image = picture(1)
    text = json.dumps({"inputs": ["good film", "bad film"], "parameters": {"top_k": 2}}).encode()
    deep = b"[" * 3000 + b"]" * 3000
    words = mutated(b'{"inputs": "\\ud800 \\u0000 ' + "é\U0001f600\u202e".encode() + b'"}')
    odd = ["text/html", "application/json; charset=utf-16", "", "image/", "a/b; " + "x" * 300]
    matched = st.one_of(
        st.tuples(mutated(image), st.sampled_from(["image/png", "image/jpeg"])),
        st.tuples(mutated(text), st.just("application/json")),
        st.tuples(words, st.just("application/json")),
        st.tuples(mutated(form(image)), st.just(FORM)),
    )
    others = st.one_of(
        st.sampled_from([b"", b"{}", b"null", b"NaN", b'{"inputs": []}', b"1e999", deep]),
        st.binary(max_size=200),
        mutated(image),
        mutated(text),
    )
    kinds = ["image/png", "application/json", FORM, "multipart/form-data", *odd]
    contents = st.one_of(matched, matched, st.tuples(others, st.sampled_from(kinds)))
    parameters = st.dictionaries(
        st.sampled_from(["top_k", "method", "label", "layer", "head", "query", "all"]),
        st.sampled_from(["0", "1", "-1", "mean", "99999999999999999999", "true", "é", "", "1.5"]),
        max_size=2,
    )
    statuses: Counter[int] = Counter()
    with httpx.Client(base_url=f"http://127.0.0.1:{server.port}", timeout=60) as client:

        @drawn(REQUESTS // 2)
        @given(contents, parameters, st.sampled_from([*KNOWN, *KNOWN, "no"]), st.sampled_from(WORK))
        def ask(content: tuple[bytes, str], query: dict[str, str], model: str, work: str) -> None:
            body, kind = content
            headers = {"Content-Type": kind} if kind else {}
            answer = client.post(
                f"/v1/models/{model}/{work}", content=body, headers=headers, params=query
            )
            statuses[answer.status_code] += 1
            assert answer.status_code < 500, (kind, body, query, answer.text)
            if answer.status_code != 200:
                assert set(answer.json()) == {"error", "remedy"}

        ask()
    sys.stdout.write(f"\nhostile: {dict(statuses)}\n")
    assert sum(statuses.values()) >= REQUESTS // 2
    assert {200, 404, 415, 422} <= statuses.keys()
