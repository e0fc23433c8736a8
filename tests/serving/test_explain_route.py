"""Explanations by the API: whole documents, one thread, and no one held up."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest
from asgi_calls import Client, ask, run, started
from starlette.testclient import TestClient

from qkv.explanation.explain import explain
from qkv.serving.app import create_app
from qkv.serving.models import Models
from qkv.serving.schemas import ExplanationAnswer
from qkv.serving.settings import ServingSettings

BANDS, REVIEWS = "/v1/models/bands/explain", "/v1/models/reviews/explain"
PNG = "image/png"
Picture = Callable[..., bytes]


def test_an_image_is_explained(client: TestClient, models: Models, picture: Picture) -> None:
    content = picture(1)
    answer = client.post(BANDS, content=content, headers={"Content-Type": PNG})
    assert answer.status_code == 200
    found = answer.json()
    assert found["task"] == "vision"
    assert found["grid_size"] == 4
    assert len(found["contributions"]) == 16
    assert len(found["heat"]) == len(found["pixels"]) == 16
    assert found["method"] == client.get("/v1/models/bands").json()["default_method"]
    expected = explain(models["bands"].classifier, content).document()
    assert found["contributions"] == pytest.approx(expected["contributions"], abs=1e-6)
    assert found["faithfulness"].keys() == expected["faithfulness"].keys()


def test_a_text_is_explained(client: TestClient) -> None:
    found = client.post(REVIEWS, json={"inputs": "the film was good"}).json()
    ExplanationAnswer.model_validate(found)
    assert found["task"] == "text"
    assert [word["text"] for word in found["words"]] == ["the", "film", "was", "good"]
    assert len(found["contributions"]) == 4


def test_method_and_label_can_be_chosen(client: TestClient, picture: Picture) -> None:
    files = [("file", picture(1))]
    methods = client.get("/v1/models/bands").json()["methods"]
    for method in methods:
        answer = client.post(f"{BANDS}?method={method}&label=low%20end", files=files)
        assert answer.status_code == 200, method
        ExplanationAnswer.model_validate(answer.json())
        has_gap = answer.json()["completeness_gap"] is not None
        assert has_gap == (method == "integrated-gradients")
        assert (answer.json()["method"], answer.json()["label"]) == (method, "low end")


@pytest.mark.parametrize(
    ("query", "body", "status"),
    [
        ("?method=oclusion", {"inputs": "good"}, 422),
        ("?label=god", {"inputs": "good"}, 422),
        (f"?method={'x' * 300}", {"inputs": "good"}, 422),
        ("", {"inputs": ["good", "bad"]}, 422),
        ("", {"inputs": ""}, 422),
        ("", {"inputs": []}, 422),
    ],
)
def test_mistakes_are_answered_in_one_form(
    client: TestClient, query: str, body: dict[str, Any], status: int
) -> None:
    answer = client.post(REVIEWS + query, json=body)
    assert answer.status_code == status
    assert set(answer.json()) == {"error", "remedy"}


def test_a_wrong_name_gets_the_nearest(client: TestClient) -> None:
    answer = client.post(f"{REVIEWS}?method=oclusion", json={"inputs": "good"})
    assert "occlusion" in answer.json()["remedy"]


def test_a_long_explanation_holds_up_no_prediction(
    models: Models, picture: Picture, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate, begun = threading.Event(), threading.Event()
    threads: list[str] = []

    def slow(*arguments: Any, **named: Any) -> Any:
        threads.append(threading.current_thread().name)
        begun.set()
        assert gate.wait(20)
        return explain(*arguments, **named)

    monkeypatch.setattr("qkv.explanation.explain.explain", slow)

    async def test() -> None:
        app = create_app(models, ServingSettings(explain_queue_size=2))
        async with started(app):
            waiting = app.state.engine.inspection
            asked = [asyncio.create_task(ask(app, "POST", BANDS, picture(0), PNG))]
            while not begun.is_set():
                await asyncio.sleep(0.002)
            leaving = Client(app)
            left = asyncio.create_task(leaving.ask("POST", BANDS, picture(0), PNG))
            asked.append(asyncio.create_task(ask(app, "POST", BANDS, picture(1), PNG)))
            while waiting.waiting < 2:
                await asyncio.sleep(0.002)
            refused = await ask(app, "POST", BANDS, picture(0), PNG)
            assert refused.status == 429
            assert "retry-after" in refused.headers
            predicted = await ask(app, "POST", "/v1/models/bands/predict", picture(0), PNG)
            assert predicted.status == 200
            leaving.gone.set()
            while waiting.waiting > 1:
                await asyncio.sleep(0.002)
            await left
            gate.set()
            assert [(await reply).status for reply in asked] == [200, 200]
            assert threads == ["inspection"] * 2  # nobody explained for the one who left

    run(test())
