"""The page's files over HTTP, and the studies as it draws them, against formulas."""

from __future__ import annotations

import json
import math
import re
from typing import Any

import numpy as np
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st

from qkv.serving.page import read_page, router
from qkv.serving.study_documents import (
    COMPARED,
    answer_copying,
    answer_linear_attention,
    answer_recurrence,
    copying_curve,
    measure_linear_attention,
)
from qkv.studies.attention_costs import Budget, CostMeasurer

FILES = read_page()
IMPORT = re.compile(r"""(?:from|import)\s*\(?\s*["'](\.[^"']+)["']""")


@pytest.fixture(scope="module")
def page() -> TestClient:
    app = FastAPI()
    app.include_router(router)
    return TestClient(app)


@pytest.mark.parametrize("name", sorted(FILES))
def test_every_file_is_served_with_its_type_and_is_asked_for_again(
    page: TestClient, name: str
) -> None:
    answer = page.get(f"/page/{name}")
    assert answer.status_code == 200
    assert answer.content == FILES[name].content
    assert answer.headers["content-type"] == FILES[name].media_type
    again = page.get(f"/page/{name}", headers={"If-None-Match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_the_index_is_at_the_root(page: TestClient) -> None:
    assert page.get("/").content == FILES["index.html"].content


@pytest.mark.parametrize(
    "name", ["nothing.js", "../app.py", "%2e%2e/app.py", "..%2f..%2fapp.py", "__init__.py", ""]
)
def test_what_is_no_file_of_the_page_is_not_found(page: TestClient, name: str) -> None:
    answer = page.get(f"/page/{name}")
    assert answer.status_code == 404


def test_all_that_the_page_asks_for_is_there() -> None:
    html = FILES["index.html"].content.decode()
    for address in re.findall(r"""(?:src|href)="(/page/[^"]+)\"""", html):
        assert address.removeprefix("/page/") in FILES
    for name, file in FILES.items():
        if not name.endswith(".js"):
            continue
        folder = name.split("/")[:-1]
        for relative in IMPORT.findall(file.content.decode()):
            parts = list(folder)
            for step in relative.split("/"):
                if step == "..":
                    parts.pop()
                elif step != ".":
                    parts.append(step)
            assert "/".join(parts) in FILES, f"{name} imports {relative}"


@pytest.mark.parametrize("name", sorted(FILES))
def test_no_file_asks_anyone_else(name: str) -> None:
    for address in re.findall(rb"https?://[^\s\"'<>)]+", FILES[name].content):
        assert address.startswith(b"http://www.w3.org/"), address


def test_the_page_has_no_inline_script_or_style() -> None:
    html = FILES["index.html"].content.decode()
    assert not re.search(r"<script(?![^>]*\bsrc=)", html)
    assert "style=" not in html
    assert "<style" not in html


def test_all_studies_are_listed(client: TestClient) -> None:
    listed = client.get("/v1/studies").json()["studies"]
    assert [study["id"] for study in listed] == ["recurrence", "copying", "linear-attention"]
    assert all(study["title"] and study["question"].endswith("?") for study in listed)


@pytest.mark.parametrize("beta", [0.01, 0.5, 1.0, 2.0, 4.5])
def test_copying_is_softmax_of_the_scores(client: TestClient, beta: float) -> None:
    answer = client.get("/v1/studies/copying", params={"beta": beta}).json()
    x = beta * np.array([[0, 1, 0, 1], [1, 0, 0, 0], [0, 1, 1, 0]])
    powers = np.exp(x @ x.T - (x @ x.T).max())
    weights = powers / powers.sum(axis=1, keepdims=True)
    y = weights @ x
    assert answer["law"] == pytest.approx(math.exp(-(beta**2)))
    for row, token in enumerate(answer["tokens"]):
        assert token["weights"] == pytest.approx(weights[row])
        assert token["output"] == pytest.approx(y[row] / beta)
        assert [beta * part for part in token["input"]] == pytest.approx(x[row])
        error = np.linalg.norm(y[row] - x[row]) / np.linalg.norm(x[row])
        assert token["error"] == pytest.approx(error, rel=1e-6)
        assert token["measured"] == pytest.approx(error, rel=1e-6)
        assert 10 ** token["log10_error"] == pytest.approx(error, rel=1e-6)


def test_the_curve_passes_through_the_answers() -> None:
    curve = copying_curve()
    for place in (20, 55, 100):
        answer = answer_copying(curve["beta"][place])
        assert curve["log10_law"][place] == pytest.approx(answer["log10_law"])
        for number, token in enumerate(answer["tokens"]):
            assert curve["log10_errors"][number][place] == pytest.approx(token["log10_error"])


def test_far_out_the_errors_are_still_told() -> None:
    answer = answer_copying(20.0)
    assert all(token["log10_error"] < -170 for token in answer["tokens"])
    json.dumps(answer, allow_nan=False)


@pytest.mark.parametrize("head_dim", [8, 16, 64, 256])
def test_linear_attention_costs_less_from_the_crossing_on(head_dim: int) -> None:
    crossing = answer_linear_attention(1024, head_dim)["crossing"]
    for cost in ("operations", "bytes"):
        at = crossing[cost]  # type: ignore[literal-required]
        for tokens, cheaper in ((max(at, 16), True), (at - 1, False)):
            if tokens >= 16:
                costs = answer_linear_attention(tokens, head_dim)["costs"]
                by_kernel: Any = {one["kernel"]: one for one in costs}
                assert (by_kernel["linear"][cost] <= by_kernel["plain"][cost]) is cheaper


def test_costs_grow_as_they_should() -> None:
    few, many = (answer_linear_attention(tokens)["costs"] for tokens in (1000, 2000))
    growth = {
        one["kernel"]: other["operations"] / one["operations"]
        for one, other in zip(few, many, strict=True)
    }
    assert growth == pytest.approx({"plain": 4.0, "fused": 4.0, "linear": 2.0})


def test_counted_bytes_of_plain_attention_are_those_that_the_study_measures() -> None:
    measurer = CostMeasurer(64, Budget(60.0, 2**30))
    (row,) = measurer.measure(["plain"], "forward", 512)
    answer = answer_linear_attention(512)
    plain = next(cost for cost in answer["costs"] if cost["kernel"] == "plain")
    assert row["peak_bytes"] is not None
    # Inputs stand beside what the allocator gave out at the worst moment.
    assert plain["bytes"] == pytest.approx(row["peak_bytes"] + 3 * 512 * 64 * 4, rel=0.02)


def test_the_curve_of_costs_has_the_answer_on_it() -> None:
    answer = answer_linear_attention(4096)
    place = answer["curve"]["tokens"].index(4096)
    for cost in answer["costs"]:
        kernel = cost["kernel"]
        assert answer["curve"]["operations"][kernel][place] == cost["operations"]
        assert answer["curve"]["bytes"][kernel][place] == cost["bytes"]


def test_a_measurement_times_every_kernel(client: TestClient) -> None:
    address = "/v1/studies/linear-attention/measure"
    answer = client.post(address, json={"tokens": 32, "head_dim": 8}).json()
    assert [one["kernel"] for one in answer["kernels"]] == list(COMPARED)
    for one in answer["kernels"]:
        low, middle, high = one["quartiles_ms"]
        assert 0 < low <= middle == one["milliseconds"] <= high


def test_measured_times_are_of_calls_at_that_length() -> None:
    short, long = (
        next(k for k in measure_linear_attention(tokens)["kernels"] if k["kernel"] == "plain")
        for tokens in (64, 1024)
    )
    assert long["milliseconds"] > 4 * short["milliseconds"]


@given(st.lists(st.integers(-(10**99), 10**99), min_size=1, max_size=40))
def test_the_recurrence_is_exact_at_any_size(inputs: list[int]) -> None:
    answer = answer_recurrence(inputs)
    h = 0
    for step, x in zip(answer["steps"], inputs, strict=True):
        assert (int(step["x"]), int(step["before"])) == (x, h)
        h = x - h
        assert int(step["h"]) == int(step["closed_form"]) == h
        assert step["y"] == (0.5 if h == 0 else float(h > 0))
    signed = sum(step["sign"] * int(step["x"]) for step in answer["steps"])
    assert signed == h
    if len(inputs) % 2:
        assert answer["output"] is None
    else:
        even, odd = sum(inputs[1::2]), sum(inputs[::2])
        assert (int(answer["even_sum"]), int(answer["odd_sum"])) == (even, odd)
        assert answer["output"] == (0.5 if even == odd else float(even > odd))


def test_large_integers_survive_the_way(client: TestClient) -> None:
    large = 10**60 + 7
    answer = client.post("/v1/studies/recurrence", json={"inputs": [1, large]}).json()
    assert [int(step["h"]) for step in answer["steps"]] == [1, large - 1]
    assert "more than" in answer["verdict"]


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("copying?beta=0", "beta"),
        ("copying?beta=nan", "beta"),
        ("copying?beta=wide", "beta"),
        ("linear-attention?tokens=15", "tokens"),
        ("linear-attention?tokens=65537", "tokens"),
        ("linear-attention?head_dim=1000", "head_dim"),
    ],
)
def test_settings_out_of_range_are_refused(client: TestClient, address: str, words: str) -> None:
    answer = client.get(f"/v1/studies/{address}")
    assert answer.status_code == 422
    assert set(answer.json()) == {"error", "remedy"}
    assert words in answer.text


@pytest.mark.parametrize(
    "body",
    [
        b"{}",
        b'{"inputs": []}',
        b'{"inputs": ["a"]}',
        b'{"inputs": [1.5]}',
        b'{"inputs": [1], "more": 2}',
        b'{"inputs": [1' + b"0" * 100 + b"]}",
        b'{"inputs": [1' + b"0" * 5000 + b"]}",
        b'{"inputs": [' + b"1," * 200 + b"1]}",
        b"[" * 3000,
        b"not JSON",
    ],
)
def test_bodies_that_are_no_sequence_are_refused(client: TestClient, body: bytes) -> None:
    answer = client.post(
        "/v1/studies/recurrence", content=body, headers={"content-type": "application/json"}
    )
    assert answer.status_code in {400, 422}
    assert set(answer.json()) == {"error", "remedy"}
