"""Explanations and attention by the API: what the library gives, whole, and no one held up."""

from __future__ import annotations

import asyncio
import base64
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from asgi_calls import Client, ask, run, started
from starlette.testclient import TestClient

from qkv.explanation.explain import explain
from qkv.explanation.text_attention import text_attention
from qkv.explanation.vision_attention import attention_map, attention_weights
from qkv.serving.app import create_app
from qkv.serving.models import Models
from qkv.serving.predictors import ImagePredictor
from qkv.serving.schemas import ExplanationAnswer
from qkv.serving.settings import ServingSettings
from qkv.text.classifier import TextClassifier

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


BANDS_MAP, REVIEWS_MAP = "/v1/models/bands/attention", "/v1/models/reviews/attention"
AS_PNG = {"Content-Type": "image/png"}
TEXT = "the film was good and this movie was bad"


@pytest.mark.parametrize("head", ["mean", "0", "1"])
@pytest.mark.parametrize("query", [None, 0, 15])
def test_a_patch_attends_as_inspection_says(
    client: TestClient, models: Models, picture: Picture, head: str, query: int | None
) -> None:
    asked = f"{BANDS_MAP}?layer=2&head={head}" + ("" if query is None else f"&query={query}")
    found = client.post(asked, content=picture(1), headers=AS_PNG).json()
    predictor = models["bands"].predictor
    assert isinstance(predictor, ImagePredictor)
    pixels = predictor.read(picture(1), ServingSettings())
    number = None if head == "mean" else int(head)
    expected = attention_map(predictor.classifier, pixels, 1, number, query)
    assert found["layer"] == 2
    assert found["head"] == ("mean" if number is None else number)
    assert found["query"] == query
    assert found["grid_size"] == 4
    assert found["weights"] == pytest.approx(expected.ravel().tolist(), abs=1e-6)
    assert found["class_token"] + sum(found["weights"]) == pytest.approx(1, abs=1e-4)


def test_all_tokens_come_at_once(client: TestClient, models: Models, picture: Picture) -> None:
    found = client.post(
        f"{BANDS_MAP}?layer=1&head=1&all=true", content=picture(2), headers=AS_PNG
    ).json()
    predictor = models["bands"].predictor
    assert isinstance(predictor, ImagePredictor)
    pixels = predictor.read(picture(2), ServingSettings())
    expected = attention_weights(predictor.classifier, pixels, 0)[1]
    assert np.array(found["matrix"]) == pytest.approx(expected, abs=1e-6)
    assert np.array(found["matrix"]).shape == (17, 17)


def test_the_last_layer_and_the_mean_are_what_is_meant(
    client: TestClient, picture: Picture
) -> None:
    found = client.post(BANDS_MAP, content=picture(0), headers=AS_PNG).json()
    assert (found["layer"], found["head"], found["query"]) == (2, "mean", None)


@pytest.mark.parametrize("path", [BANDS_MAP, REVIEWS_MAP])
def test_layers_are_counted_from_one_for_images_and_texts(client: TestClient, path: str) -> None:
    layers = client.get(path.removesuffix("/attention")).json()["attention"]["layers"]
    assert layers[:2] == [1, 2]
    for layer in layers:
        found = client.get(f"{path}?example=0&layer={layer}")
        assert (found.status_code, found.json()["layer"]) == (200, layer)
    answer = client.get(f"{path}?example=0&layer=9").json()
    assert answer["remedy"].startswith("choose one of 1, 2")


def test_words_attend_as_inspection_says(client: TestClient, models: Models) -> None:
    classifier = models["reviews"].classifier
    assert isinstance(classifier, TextClassifier)
    read, weights = text_attention(classifier, TEXT, 2, 1)
    words = [vars(word) for word in read]
    whole = client.post(f"{REVIEWS_MAP}?layer=2&head=1", json={"inputs": TEXT}).json()
    assert whole["words"] == words
    matrix = np.frombuffer(base64.b64decode(whole["matrix"]), "<f2").reshape(9, 9)
    assert matrix == pytest.approx(weights, abs=1e-3)
    row = client.get(REVIEWS_MAP, params={"text": TEXT, "layer": 2, "head": 1, "query": 3}).json()
    assert row["weights"] == pytest.approx(weights[3].tolist(), abs=1e-6)
    assert row["query"] == 3


def test_the_pool_takes_words(client: TestClient) -> None:
    choices = client.get("/v1/models/reviews").json()["attention"]
    found = client.post(REVIEWS_MAP, json={"inputs": TEXT}).json()
    assert found["layer"] == choices["layers"][-1]
    if choices["pool"]:
        assert found["layer"] == "head"
        assert len(found["weights"]) == len(found["words"]) == 9


def test_an_example_needs_no_body(client: TestClient) -> None:
    for path in (BANDS_MAP, REVIEWS_MAP):
        model = path.removesuffix("/attention")
        index = client.get(f"{model}/examples").json()["examples"][0]["index"]
        found = client.get(f"{path}?example={index}")
        assert found.status_code == 200
        assert found.json()["layer"] is not None
    assert client.get(f"{BANDS_MAP}?example=123456").status_code == 404


@pytest.mark.parametrize(
    "query",
    [
        "layer=3",
        "layer=0",
        "layer=head",
        "layer=x",
        "layer=-1",
        "head=2",
        "head=",
        "query=16",
        "query=-1",
    ],
)
def test_what_is_not_there_is_refused(client: TestClient, picture: Picture, query: str) -> None:
    answer = client.post(f"{BANDS_MAP}?{query}", content=picture(0), headers=AS_PNG)
    assert answer.status_code == 422
    assert set(answer.json()) == {"error", "remedy"}


@pytest.mark.parametrize(
    "query", ["layer=0", "layer=9", "layer=2&head=2", "layer=2&query=9", f"text={'a' * 2001}"]
)
def test_what_a_text_has_not_is_refused(client: TestClient, query: str) -> None:
    given = "" if query.startswith("text") else f"text={TEXT}&"
    answer = client.get(f"{REVIEWS_MAP}?{given}{query}")
    assert answer.status_code == 422
    assert set(answer.json()) == {"error", "remedy"}


def test_one_of_example_and_text_is_needed(client: TestClient) -> None:
    for query in ("", "?example=0&text=good"):
        assert client.get(REVIEWS_MAP + query).status_code == 422
    assert client.get(f"{BANDS_MAP}?text=good").status_code == 422
