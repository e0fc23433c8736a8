"""Examples and reports of served runs, whose saved predictions are wrong here and there."""

from __future__ import annotations

import io
import json
import math
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

import qkv
from qkv.data.dataset import TextSplit
from qkv.runs import Run
from qkv.serving.models import Models, open_models
from qkv.serving.run_examples import RunExamples, as_png, load_local_test
from qkv.serving.run_report import MAX_POINTS, report_document

# Wrong ones and how sure each is of its wrong class, as a logit; the last is the surest.
ERRING = {0: 3.0, 2: 5.0}


def copy_with_mistakes(run: Path, folder: Path, texts: tuple[str, ...] = ()) -> Path:
    """A copy below `folder` that takes examples 0 and 2 for the class after theirs.

    Args:
        run: a finished run.
        folder: is made.
        texts: the test texts, for the mistakes of a text run.
    """
    copy = Run(Path(shutil.copytree(run, folder / run.name)))
    names = copy.record()["data"]["class_names"]
    tensors = copy.results()
    logits, labels = tensors["test_logits"].clone(), tensors["test_labels"]
    for index, size in ERRING.items():
        logits[index] = 0.0
        logits[index, (labels[index] + 1) % len(names)] = size
    changed = {**tensors, "test_logits": logits}
    if "sample_images" in tensors:
        surest_first = tensors["sample_indices"][[2, 0]]
        assert surest_first.tolist() == [2, 0]
        changed["mistake_indices"] = surest_first
        changed["mistake_images"] = tensors["sample_images"][[2, 0]]
    copy.save_results(changed)
    if texts:
        copy.update_record(
            mistakes=[
                {
                    "text": texts[index],
                    "name": None,
                    "label": names[labels[index]],
                    "predicted": names[(labels[index] + 1) % len(names)],
                    "probability": float(logits[index].softmax(0).max()),
                }
                for index in (2, 0)
            ]
        )
    return copy.path


if TYPE_CHECKING:
    from starlette.testclient import TestClient

BANDS = "/v1/models/bands/examples"
REVIEWS = "/v1/models/reviews/examples"


@pytest.fixture(scope="module")
def erring_vision(vision_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_with_mistakes(vision_run, tmp_path_factory.mktemp("erring"))


@pytest.fixture(scope="module")
def erring_text(text_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    split = load_local_test(Run(text_run))
    assert isinstance(split, TextSplit)
    return copy_with_mistakes(text_run, tmp_path_factory.mktemp("erring"), split.texts)


@pytest.fixture(scope="module")
def models(erring_vision: Path, erring_text: Path) -> Models:
    return open_models([erring_vision, erring_text], device="cpu")


def _saved(run: Path) -> tuple[np.ndarray, np.ndarray]:
    """Labels and predictions of the test split, straight from the file."""
    tensors = Run(run).results()
    return tensors["test_labels"].numpy(), tensors["test_logits"].numpy().argmax(axis=1)


def _without_data(run: Path, folder: Path) -> RunExamples:
    """The examples of a copy of a run whose data set is gone."""
    copy = Run(Path(shutil.copytree(run, folder / "moved")))
    record = copy.record()
    copy.write_record({**record, "data": {**record["data"], "folder": str(folder / "gone")}})
    return RunExamples(copy, record["data"]["class_names"])


def test_all_test_images_are_listed_with_truth_and_prediction(
    client: TestClient, erring_vision: Path
) -> None:
    labels, predicted = _saved(erring_vision)
    names = Run(erring_vision).record()["data"]["class_names"]
    answer = client.get(BANDS, params={"limit": 200}).json()
    assert answer["complete"] is True
    assert answer["total"] == len(labels) == len(answer["examples"])
    for place, example in enumerate(answer["examples"]):
        assert example["index"] == place
        assert example["label"] == names[labels[place]]
        assert example["predicted"] == names[predicted[place]]
        assert "text" not in example


def test_a_picture_is_what_the_model_saw_and_may_be_kept(
    client: TestClient, vision_run: Path
) -> None:
    example = client.get(BANDS).json()["examples"][0]
    answer = client.get(example["image"])
    assert answer.headers["content-type"] == "image/png"
    assert "immutable" in answer.headers["cache-control"]
    pixels = np.asarray(Image.open(io.BytesIO(answer.content)))
    kept = Run(vision_run).results()["sample_images"][0, 0].numpy()
    assert np.array_equal(pixels, kept)


def test_the_prediction_shown_is_the_one_that_the_model_gives_of_the_picture(
    client: TestClient,
) -> None:
    example = client.get(f"{BANDS}/3").json()
    picture = client.get(example["image"]).content
    answer = client.post(
        "/v1/models/bands/predict", content=picture, headers={"content-type": "image/png"}
    ).json()
    assert [score["label"] for score in answer] == [s["label"] for s in example["scores"]]
    assert [score["score"] for score in answer] == pytest.approx(
        [score["score"] for score in example["scores"]], abs=1e-3
    )


def test_pages_make_up_the_whole(client: TestClient) -> None:
    whole = client.get(BANDS, params={"limit": 200}).json()["examples"]
    parts: list[Any] = []
    while True:
        page = client.get(BANDS, params={"limit": 4, "offset": len(parts)}).json()
        assert page["offset"] == len(parts)
        if not page["examples"]:
            break
        parts += page["examples"]
    assert parts == whole


def test_filters_by_truth_prediction_and_error(client: TestClient, erring_text: Path) -> None:
    labels, predicted = _saved(erring_text)
    names = Run(erring_text).record()["data"]["class_names"]
    for truth in range(len(names)):
        for answer in range(len(names)):
            found = client.get(
                REVIEWS, params={"truth": names[truth], "predicted": names[answer]}
            ).json()
            expected = np.flatnonzero((labels == truth) & (predicted == answer))
            assert [example["index"] for example in found["examples"]] == expected.tolist()
    wrong = client.get(REVIEWS, params={"wrong": "true", "limit": 200}).json()
    assert [example["index"] for example in wrong["examples"]] == sorted(ERRING)


def test_the_surest_come_first_on_request(client: TestClient) -> None:
    examples = client.get(REVIEWS, params={"order": "confidence"}).json()["examples"]
    shares = [example["probability"] for example in examples]
    assert shares == sorted(shares, reverse=True)
    assert len(set(shares)) > 1


def test_a_long_text_is_cut_in_lists_and_whole_by_itself(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qkv.serving.routes.examples.EXCERPT_LETTERS", 12)
    (short,) = client.get(REVIEWS, params={"limit": 1}).json()["examples"]
    whole = client.get(f"{REVIEWS}/{short['index']}").json()
    assert short["excerpt"] is True
    assert whole["excerpt"] is False
    assert short["text"] == whole["text"][:12] != whole["text"]


@pytest.mark.parametrize(
    ("address", "status", "words"),
    [
        (f"{BANDS}?truth=topp", 422, "did you mean 'top'"),
        (f"{BANDS}?limit=0", 422, "limit"),
        (f"{BANDS}?split=train", 422, "split"),
        (f"{BANDS}/100000", 404, "100000"),
        (f"{BANDS}/100000/image", 404, "100000"),
        (f"{BANDS}/{10**30}", 422, "index"),
        (f"{REVIEWS}/0/image", 404, "0"),
        ("/v1/models/band/examples", 404, "did you mean 'bands'"),
    ],
)
def test_what_is_not_there_is_refused_in_one_line(
    client: TestClient, address: str, status: int, words: str
) -> None:
    answer = client.get(address)
    assert answer.status_code == status
    document = answer.json()
    assert set(document) == {"error", "remedy"}
    assert words in f"{document['error']} {document['remedy']}"


@pytest.mark.parametrize("kind", ["vision", "text"])
def test_without_its_data_a_run_shows_what_it_keeps(
    kind: str, erring_vision: Path, erring_text: Path, tmp_path: Path
) -> None:
    run = erring_vision if kind == "vision" else erring_text
    whole = RunExamples(Run(run), Run(run).record()["data"]["class_names"])
    moved = _without_data(run, tmp_path)
    assert whole.complete
    assert not moved.complete
    kept = moved.find().tolist()
    assert set(ERRING) <= set(kept)
    assert len(kept) < len(whole.find())
    assert moved.find(wrong=True, order="confidence").tolist() == [2, 0]
    for index in kept:
        assert np.array_equal(moved.content(index), whole.content(index))
    left_out = next(index for index in range(len(whole.find())) if index not in kept)
    assert moved.content(left_out) is None


def test_data_that_changed_are_not_shown_for_the_old_ones(text_run: Path, tmp_path: Path) -> None:
    run = Run(Path(shutil.copytree(text_run, tmp_path / "run")))
    record = run.record()
    table = Path(record["data"]["folder"])
    changed = tmp_path / table.name
    lines = table.read_text("utf-8").splitlines(keepends=True)
    changed.write_text("".join([*lines[:1], *reversed(lines[1:])]), "utf-8")
    run.write_record({**record, "data": {**record["data"], "folder": str(changed)}})
    assert not RunExamples(run, record["data"]["class_names"]).complete


def test_nothing_is_fetched_while_serving(
    vision_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the network was used")

    monkeypatch.setattr("qkv.data.locate.download", refuse)
    monkeypatch.setattr("qkv.data.locate.fetch_debian", refuse)
    monkeypatch.setattr("qkv.data.fashion_mnist.SYSTEM_FOLDER", tmp_path / "none")
    monkeypatch.setenv("QKV_CACHE", str(tmp_path / "cache"))
    run = Run(Path(shutil.copytree(vision_run, tmp_path / "run")))
    record = run.record()
    recipe = json.loads(json.dumps(record["recipe"]))
    recipe["data"]["dataset"] = "fashion-mnist"
    run.write_record({**record, "recipe": recipe, "data": {**record["data"], "folder": None}})
    known = RunExamples(run, record["data"]["class_names"])
    assert not known.complete
    assert len(known.find()) > 0


def test_a_run_without_a_test_has_no_examples(vision_run: Path, tmp_path: Path) -> None:
    run = Run(Path(shutil.copytree(vision_run, tmp_path / "run")))
    (run.path / "results.safetensors").unlink()
    known = RunExamples(run, run.record()["data"]["class_names"])
    assert known.predictions is None
    assert known.find().tolist() == []
    assert known.content(0) is None
    assert known.kept == {}


@pytest.mark.parametrize("channels", [1, 3])
def test_pictures_keep_their_pixels(channels: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (channels, 5, 7), dtype=np.uint8)
    read = np.asarray(Image.open(io.BytesIO(as_png(pixels))))
    assert np.array_equal(read, pixels[0] if channels == 1 else pixels.transpose(1, 2, 0))


def test_lone_surrogates_of_a_text_do_not_break_the_answer(
    client: TestClient, models: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RunExamples, "content", lambda *_: "a \ud800 b")
    answer = client.get(f"{REVIEWS}/0")
    assert answer.status_code == 200
    assert answer.json()["text"] == "a ? b"


def test_the_data_are_those_that_the_run_was_tested_on(vision_run: Path) -> None:
    """Independent of the saved predictions: the classifier itself, asked anew."""
    run = Run(vision_run)
    known = RunExamples(run, run.record()["data"]["class_names"])
    found = known.find()
    images = [known.content(int(index)) for index in found]
    assert all(isinstance(image, np.ndarray) for image in images)
    answers = qkv.load(run).predict([image[0] for image in images])  # type: ignore[index]
    predictions = known.predictions
    assert predictions is not None
    assert [answer.label for answer in answers] == [
        predictions.class_names[number] for number in predictions.predicted
    ]


MODELS = ("bands", "reviews")


@pytest.fixture
def run(vision_run: Path, tmp_path: Path) -> Run:
    """A copy to spoil."""
    return Run(Path(shutil.copytree(vision_run, tmp_path / "run")))


@pytest.mark.parametrize("model", MODELS)
def test_the_report_repeats_the_record(client: TestClient, models: Models, model: str) -> None:
    report = client.get(f"/v1/models/{model}/report").json()
    record = models[model].run.record()
    test = record["test"]
    assert report["class_names"] == record["data"]["class_names"]
    assert report["confusion_matrix"] == test["confusion_matrix"]
    assert report["calibration"] == test["calibration"]
    assert report["record"]["test"]["accuracy"] == test["accuracy"]
    assert report["record"]["parameters"] == record["parameters"]
    losses = [epoch["validation_loss"] for epoch in record["epochs"]]
    assert report["curves"]["epochs"]["validation_loss"] == losses
    steps = [line["step"] for line in models[model].run.log() if line["event"] == "step"]
    assert report["curves"]["steps"].get("step", []) == steps


@pytest.mark.parametrize("model", MODELS)
def test_no_path_of_the_machine_is_told(client: TestClient, models: Models, model: str) -> None:
    text = client.get(f"/v1/models/{model}/report").text
    record = models[model].run.record()
    assert record["data"]["folder"] not in text
    assert record["data"]["source"] not in text


@pytest.mark.parametrize("model", MODELS)
def test_the_surest_mistakes_come_first(client: TestClient, model: str) -> None:
    mistakes = client.get(f"/v1/models/{model}/report").json()["mistakes"]
    assert [mistake["index"] for mistake in mistakes] == [2, 0]
    assert mistakes[0]["probability"] > mistakes[1]["probability"]
    for mistake in mistakes:
        assert mistake["label"] != mistake["predicted"]
        whole = client.get(f"/v1/models/{model}/examples/{mistake['index']}").json()
        shown = ("label", "predicted", "probability", "text")
        assert all(whole.get(name) == mistake.get(name) for name in shown)


def test_the_card_comes_without_its_front_matter(client: TestClient) -> None:
    card = client.get("/v1/models/bands/report").json()["card_markdown"]
    assert card.startswith("# ")
    assert "library_name" not in card


def test_a_run_without_card_or_test_is_still_told(run: Run) -> None:
    (run.path / "README.md").unlink()
    record = run.record()
    del record["test"]
    run.write_record(record)
    document = report_document(run)
    assert document["card_markdown"] == ""
    assert document["confusion_matrix"] is None
    assert document["record"]["test"] is None
    assert document["curves"]["epochs"]["train_loss"]


def test_a_card_that_only_looks_as_if_it_had_front_matter_is_kept(run: Run) -> None:
    (run.path / "README.md").write_text("---\nnever ends", "utf-8")
    assert report_document(run)["card_markdown"] == "---\nnever ends"


def test_numbers_that_are_not_finite_become_null(run: Run) -> None:
    epochs = run.record()["epochs"]
    run.update_record(epochs=[{**epochs[0], "train_loss": math.nan}, *epochs[1:]])
    losses = report_document(run)["curves"]["epochs"]["train_loss"]
    assert losses[0] is None
    assert None not in losses[1:]
    json.dumps(report_document(run), allow_nan=False)


def test_long_logs_are_thinned_from_end_to_end(run: Run) -> None:
    run.truncate_log(-1)
    for step in range(1, 1001):
        run.append_log({"event": "step", "step": step, "loss": 1 / step})
    steps = report_document(run)["curves"]["steps"]
    assert len(steps["step"]) == len(steps["loss"]) == MAX_POINTS
    assert steps["step"][0] == 1
    assert steps["step"][-1] == 1000
    assert np.diff(steps["step"]).min() >= 2
    assert np.diff(steps["step"]).max() <= 3
    assert steps["loss"] == [1 / step for step in steps["step"]]


def test_an_unknown_model_is_a_404(client: TestClient) -> None:
    answer = client.get("/v1/models/nobody/report")
    assert answer.status_code == 404
    assert set(answer.json()) == {"error", "remedy"}
