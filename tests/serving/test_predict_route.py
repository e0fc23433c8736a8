"""Predictions by the API: right, never mixed up, bounded, and refused in one form."""

from __future__ import annotations

import asyncio
import base64
import io
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from asgi_calls import Client, Reply, ask, run, started
from PIL import Image
from starlette.testclient import TestClient

from qkv.serving.app import create_app
from qkv.serving.models import Models
from qkv.serving.predictors import ImagePredictor
from qkv.serving.settings import ServingSettings

BANDS, REVIEWS = "/v1/models/bands/predict", "/v1/models/reviews/predict"
PNG = "image/png"
Picture = Callable[..., bytes]


def scores_of(answer: list[dict[str, Any]]) -> dict[str, float]:
    assert all(set(entry) == {"label", "score"} for entry in answer)
    values = [entry["score"] for entry in answer]
    assert values == sorted(values, reverse=True)
    return {entry["label"]: entry["score"] for entry in answer}


class Gate(threading.Event):
    """What a computation waits for; `asked` is how many images have come to it."""

    asked = 0


@pytest.fixture
def held(models: Models, monkeypatch: pytest.MonkeyPatch) -> Gate:
    """The vision model computes only once this is set."""
    gate = Gate()
    compute = ImagePredictor.compute

    def wait(self: ImagePredictor, images: list[Any]) -> Any:
        gate.asked += len(images)
        assert gate.wait(20)
        return compute(self, images)

    monkeypatch.setattr(ImagePredictor, "compute", wait)
    monkeypatch.setattr(ImagePredictor, "warm_up", lambda _: None)
    return gate


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.002)


# --- what is answered


def test_an_image_gets_the_classifiers_probabilities(
    client: TestClient, models: Models, picture: Picture
) -> None:
    for label in range(3):
        content = picture(label, 1000)
        answer = client.post(BANDS, content=content, headers={"Content-Type": PNG})
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "application/json"
        (expected,) = models["bands"].classifier.predict([content])
        assert scores_of(answer.json()) == pytest.approx(expected.probabilities, abs=1e-5)
        assert answer.json()[0]["label"] == expected.label


def test_every_body_says_the_same(client: TestClient, picture: Picture) -> None:
    content = picture(1, 7)
    plain = client.post(BANDS, content=content, headers={"Content-Type": PNG}).json()
    jpeg = client.post(BANDS, content=content, headers={"Content-Type": "image/jpeg"}).json()
    text = base64.b64encode(content).decode()
    assert jpeg == plain  # the bytes tell what they are
    assert client.post(BANDS, json={"inputs": text}).json() == plain
    assert client.post(BANDS, json={"inputs": [text]}).json() == [plain]
    assert client.post(BANDS, files=[("file", content)]).json() == [plain]
    several = client.post(BANDS, files=[("file", content), ("file", picture(2))]).json()
    assert len(several) == 2
    assert scores_of(several[0]) == pytest.approx(scores_of(plain), abs=1e-6)


def test_top_k_keeps_the_largest(client: TestClient, picture: Picture) -> None:
    headers = {"Content-Type": PNG}
    whole = client.post(BANDS, content=picture(0), headers=headers).json()
    for top_k in (1, 2, 3, 99_999):
        part = client.post(f"{BANDS}?top_k={top_k}", content=picture(0), headers=headers)
        assert part.json() == whole[:top_k]
    parameters = {"inputs": "a good film", "parameters": {"top_k": 1}}
    (answer,) = client.post(f"{REVIEWS}?top_k=2", json=parameters).json()
    assert set(answer) == {"label", "score"}
    for wrong in ("0", "-1", "x", "1.5", "", "100001", "9" * 30):
        refused = client.post(f"{BANDS}?top_k={wrong}", content=picture(0), headers=headers)
        assert refused.status_code == 422
        assert set(refused.json()) == {"error", "remedy"}


def test_texts_get_the_classifiers_probabilities(client: TestClient, models: Models) -> None:
    texts = ["the film was good", "awful", "a story was so so and this movie was great " * 20]
    answers = client.post(REVIEWS, json={"inputs": texts}).json()
    expected = models["reviews"].classifier.predict(texts)
    for answer, prediction in zip(answers, expected, strict=True):
        assert scores_of(answer) == pytest.approx(prediction.probabilities, abs=1e-4)
    alone = client.post(REVIEWS, json={"inputs": texts[0]}).json()
    assert scores_of(alone) == pytest.approx(expected[0].probabilities, abs=1e-4)


def test_of_several_a_bad_one_fails_alone(client: TestClient, picture: Picture) -> None:
    answers = client.post(BANDS, files=[("file", b"x"), ("file", picture(1))])
    assert answers.status_code == 200
    bad, good = answers.json()
    assert set(bad) == {"error", "remedy"}
    assert len(scores_of(good)) == 3
    texts = client.post(REVIEWS, json={"inputs": ["good", "", "y" * 100_001]}).json()
    assert len(scores_of(texts[0])) == 3
    assert "empty" in texts[1]["error"]
    assert "100,001 characters" in texts[2]["error"]


# --- what is refused


@pytest.mark.parametrize(
    ("method", "path", "content", "kind", "status"),
    [
        ("POST", "/v1/models/none/predict", b"x", PNG, 404),
        ("GET", BANDS, b"", "", 405),
        ("DELETE", BANDS, b"", "", 405),
        ("POST", BANDS, b"", PNG, 400),
        ("POST", BANDS, b"not an image", PNG, 422),
        ("POST", BANDS, b"\x89PNG\r\n\x1a\n", PNG, 422),
        ("POST", BANDS, b"x", "", 415),
        ("POST", BANDS, b"x", "text/plain", 415),
        ("POST", BANDS, b"{", "application/json", 400),
        ("POST", REVIEWS, b"", "application/json", 400),
        ("POST", REVIEWS, b'{"inputs": " "}', "application/json", 422),
        ("POST", REVIEWS, b"x", PNG, 415),
        ("POST", BANDS, b'{"inputs": "?"}', "application/json", 422),
    ],
)
def test_mistakes_are_answered_in_one_form(
    client: TestClient, method: str, path: str, content: bytes, kind: str, status: int
) -> None:
    headers = {"Content-Type": kind} if kind else {}
    answer = client.request(method, path, content=content, headers=headers)
    assert answer.status_code == status
    assert set(answer.json()) == {"error", "remedy"}
    assert all("\n" not in line and line for line in answer.json().values())
    if status == 405:
        assert answer.headers["allow"] == "POST"


def test_limits_are_those_of_the_settings(models: Models, picture: Picture) -> None:
    settings = ServingSettings(
        max_inputs=2, max_pixels=255, max_text_characters=20, max_request_tokens=9
    )

    async def test() -> None:
        app = create_app(models, settings)
        async with started(app):
            image = await ask(app, "POST", BANDS, picture(0), PNG)
            assert (image.status, image.json["error"]) == (422, "image: has more than 255 pixels")
            for inputs, status in (
                ('["a", "b", "c"]', 413),
                ('"a text of more than twenty characters"', 422),
                ('["good film one two", "one two three"]', 413),
                ('["good one", "bad"]', 200),
            ):
                body = f'{{"inputs": {inputs}}}'.encode()
                reply = await ask(app, "POST", REVIEWS, body, "application/json")
                assert reply.status == status, inputs

    run(test())


# --- many at once


def test_thousands_at_once_get_their_own_answers(models: Models, picture: Picture) -> None:
    contents = [picture(seed % 3, seed) for seed in range(1500)]
    texts = [
        f"the film number {number} was {['good', 'bad', 'fine'][number % 3]}"
        for number in range(300)
    ]
    images = models["bands"].classifier.predict_proba(contents)
    words = models["reviews"].classifier.predict_proba(texts)  # type: ignore[arg-type]
    names = {model.id: model.class_names for model in models.values()}

    async def test() -> None:
        app = create_app(models, ServingSettings(queue_size=2000))
        async with started(app):
            asked = [ask(app, "POST", BANDS, content, PNG) for content in contents]
            asked += [
                ask(app, "POST", REVIEWS, f'{{"inputs": "{text}"}}'.encode(), "application/json")
                for text in texts
            ]
            order = np.random.default_rng(0).permutation(len(asked))
            replies: list[Reply] = await asyncio.gather(*(asked[index] for index in order))
        for index, reply in zip(order.tolist(), replies, strict=True):
            assert reply.status == 200
            row = images[index] if index < len(contents) else words[index - len(contents)]
            labels = names["bands" if index < len(contents) else "reviews"]
            expected = dict(zip(labels, map(float, row), strict=True))
            assert scores_of(reply.json) == pytest.approx(expected, abs=2e-4)

    # Distinct inputs have distinct answers, so that a swap would show.
    assert len({row.tobytes() for row in images}) == len(contents)
    run(test())


def test_an_image_that_breaks_the_model_fails_alone(
    models: Models, picture: Picture, monkeypatch: pytest.MonkeyPatch
) -> None:
    compute = ImagePredictor.compute
    sizes = []
    begun, gate = threading.Event(), threading.Event()

    def poisoned(self: ImagePredictor, images: list[Any]) -> Any:
        begun.set()
        assert gate.wait(20)
        sizes.append(len(images))
        if any(image.max() == 13 for image in images):
            raise RuntimeError("poison")
        return compute(self, images)

    monkeypatch.setattr(ImagePredictor, "compute", poisoned)
    monkeypatch.setattr(ImagePredictor, "warm_up", lambda _: None)

    async def test() -> None:
        file = io.BytesIO()
        Image.fromarray(np.full((16, 16), 13, np.uint8)).save(file, "png")
        poison = file.getvalue()
        app = create_app(models, ServingSettings(workers=1))
        async with started(app):
            contents = [picture(seed % 3, seed) for seed in range(20)]
            contents.insert(11, poison)
            asked = [asyncio.create_task(ask(app, "POST", BANDS, contents[0], PNG))]
            await until(begun.is_set)
            asked += [
                asyncio.create_task(ask(app, "POST", BANDS, content, PNG))
                for content in contents[1:]
            ]
            await until(lambda: app.state.engine.batchers["bands"].waiting == 20)
            gate.set()
            replies = await asyncio.gather(*asked)
        assert [reply.status for reply in replies] == [200] * 11 + [500] + [200] * 9
        assert set(replies[11].json) == {"error", "remedy"}
        assert max(sizes) > 1

    run(test())


# --- a full queue, clients that leave, and the end


def test_a_full_queue_is_answered_at_once(models: Models, picture: Picture, held: Gate) -> None:
    async def test() -> None:
        app = create_app(models, ServingSettings(queue_size=4))
        async with started(app):
            batcher = app.state.engine.batchers["bands"]
            first = asyncio.create_task(ask(app, "POST", BANDS, picture(0), PNG))
            await until(lambda: held.asked == 1)
            rest = [asyncio.create_task(ask(app, "POST", BANDS, picture(0), PNG)) for _ in range(4)]
            await until(lambda: batcher.waiting == 4)
            async with asyncio.timeout(2):
                refused = await ask(app, "POST", BANDS, picture(0), PNG)
            assert refused.status == 429
            assert int(refused.headers["retry-after"]) >= 1
            assert set(refused.json) == {"error", "remedy"}
            other = await ask(app, "POST", "/v1/models/reviews/explain", b"{", "application/json")
            assert other.status == 400  # other queues have room
            held.set()
            replies = await asyncio.gather(first, *rest)
            assert [reply.status for reply in replies] == [200] * 5

    run(test())


@pytest.mark.parametrize("body", ["bytes", "multipart"])
def test_a_client_that_goes_away_frees_its_place(
    models: Models, picture: Picture, held: Gate, body: str
) -> None:
    content, kind = picture(0), PNG
    if body == "multipart":
        part = (
            b'--x\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\n'
            + content
            + b"\r\n"
        )
        content, kind = part + part + b"--x--\r\n", "multipart/form-data; boundary=x"

    async def test() -> None:
        app = create_app(models, ServingSettings(queue_size=8))
        async with started(app):
            batcher = app.state.engine.batchers["bands"]
            first = asyncio.create_task(ask(app, "POST", BANDS, picture(0), PNG))
            await until(lambda: held.asked == 1)
            leaving = Client(app)
            asked = asyncio.create_task(leaving.ask("POST", BANDS, content, kind))
            await until(lambda: batcher.waiting == (2 if body == "multipart" else 1))
            leaving.gone.set()
            await until(lambda: batcher.waiting == 0)
            assert (await asked).status in {0, 499}
            held.set()
            assert (await first).status == 200

    run(test())


def test_the_end_answers_what_is_queued_and_refuses_the_rest(
    models: Models, picture: Picture, held: Gate
) -> None:
    async def test() -> None:
        app = create_app(models, ServingSettings())
        engine = app.state.engine
        lifespan = started(app)
        assert (await ask(app, "GET", "/readyz")).status == 503
        await lifespan.__aenter__()
        assert (await ask(app, "GET", "/readyz")).json == {"status": "ready"}
        first = [asyncio.create_task(ask(app, "POST", BANDS, picture(0), PNG)) for _ in range(5)]
        batcher = engine.batchers["bands"]
        await until(lambda: held.asked + batcher.waiting == 5)
        ending = asyncio.create_task(lifespan.__aexit__(None, None, None))
        await until(lambda: engine.state == "draining")
        refused = await ask(app, "POST", BANDS, picture(0), PNG)
        assert refused.status == 503
        assert "retry-after" in refused.headers
        assert (await ask(app, "GET", "/readyz")).json == {"status": "draining"}
        assert (await ask(app, "GET", "/healthz")).status == 200
        held.set()
        assert [(await reply).status for reply in first] == [200] * 5
        await ending

    run(test())
