"""Attention by the API: what the inspection functions give, in the shapes of the page."""

from __future__ import annotations

import base64
from collections.abc import Callable

import numpy as np
import pytest
from starlette.testclient import TestClient

from qkv.explanation.text_attention import text_attention
from qkv.explanation.vision_attention import attention_map, attention_weights
from qkv.serving.models import Models
from qkv.serving.predictors import ImagePredictor
from qkv.serving.settings import ServingSettings
from qkv.text.classifier import TextClassifier

BANDS, REVIEWS = "/v1/models/bands/attention", "/v1/models/reviews/attention"
PNG = {"Content-Type": "image/png"}
TEXT = "the film was good and this movie was bad"
Picture = Callable[..., bytes]


@pytest.mark.parametrize("head", ["mean", "0", "1"])
@pytest.mark.parametrize("query", [None, 0, 15])
def test_a_patch_attends_as_inspection_says(
    client: TestClient, models: Models, picture: Picture, head: str, query: int | None
) -> None:
    asked = f"{BANDS}?layer=2&head={head}" + ("" if query is None else f"&query={query}")
    found = client.post(asked, content=picture(1), headers=PNG).json()
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
    found = client.post(f"{BANDS}?layer=1&head=1&all=true", content=picture(2), headers=PNG).json()
    predictor = models["bands"].predictor
    assert isinstance(predictor, ImagePredictor)
    pixels = predictor.read(picture(2), ServingSettings())
    expected = attention_weights(predictor.classifier, pixels, 0)[1]
    assert np.array(found["matrix"]) == pytest.approx(expected, abs=1e-6)
    assert np.array(found["matrix"]).shape == (17, 17)


def test_the_last_layer_and_the_mean_are_what_is_meant(
    client: TestClient, picture: Picture
) -> None:
    found = client.post(BANDS, content=picture(0), headers=PNG).json()
    assert (found["layer"], found["head"], found["query"]) == (2, "mean", None)


@pytest.mark.parametrize("path", [BANDS, REVIEWS])
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
    whole = client.post(f"{REVIEWS}?layer=2&head=1", json={"inputs": TEXT}).json()
    assert whole["words"] == words
    matrix = np.frombuffer(base64.b64decode(whole["matrix"]), "<f2").reshape(9, 9)
    assert matrix == pytest.approx(weights, abs=1e-3)
    row = client.get(REVIEWS, params={"text": TEXT, "layer": 2, "head": 1, "query": 3}).json()
    assert row["weights"] == pytest.approx(weights[3].tolist(), abs=1e-6)
    assert row["query"] == 3


def test_the_pool_takes_words(client: TestClient) -> None:
    choices = client.get("/v1/models/reviews").json()["attention"]
    found = client.post(REVIEWS, json={"inputs": TEXT}).json()
    assert found["layer"] == choices["layers"][-1]
    if choices["pool"]:
        assert found["layer"] == "head"
        assert len(found["weights"]) == len(found["words"]) == 9


def test_an_example_needs_no_body(client: TestClient) -> None:
    for path in (BANDS, REVIEWS):
        model = path.removesuffix("/attention")
        index = client.get(f"{model}/examples").json()["examples"][0]["index"]
        found = client.get(f"{path}?example={index}")
        assert found.status_code == 200
        assert found.json()["layer"] is not None
    assert client.get(f"{BANDS}?example=123456").status_code == 404


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
    answer = client.post(f"{BANDS}?{query}", content=picture(0), headers=PNG)
    assert answer.status_code == 422
    assert set(answer.json()) == {"error", "remedy"}


@pytest.mark.parametrize(
    "query", ["layer=0", "layer=9", "layer=2&head=2", "layer=2&query=9", f"text={'a' * 2001}"]
)
def test_what_a_text_has_not_is_refused(client: TestClient, query: str) -> None:
    given = "" if query.startswith("text") else f"text={TEXT}&"
    answer = client.get(f"{REVIEWS}?{given}{query}")
    assert answer.status_code == 422
    assert set(answer.json()) == {"error", "remedy"}


def test_one_of_example_and_text_is_needed(client: TestClient) -> None:
    for query in ("", "?example=0&text=good"):
        assert client.get(REVIEWS + query).status_code == 422
    assert client.get(f"{BANDS}?text=good").status_code == 422
