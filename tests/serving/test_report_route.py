"""What a run says of itself to a reader."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from erring_runs import copy_with_mistakes

from qkv.data.dataset import TextSplit
from qkv.runs import Run
from qkv.serving.models import Models, open_models
from qkv.serving.run_examples import load_local_test
from qkv.serving.run_report import MAX_POINTS, report_document

if TYPE_CHECKING:
    from starlette.testclient import TestClient

MODELS = ("bands", "reviews")


@pytest.fixture(scope="module")
def models(vision_run: Path, text_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Models:
    split = load_local_test(Run(text_run))
    assert isinstance(split, TextSplit)
    folder = tmp_path_factory.mktemp("erring")
    runs = [
        copy_with_mistakes(vision_run, folder),
        copy_with_mistakes(text_run, folder, split.texts),
    ]
    return open_models(runs, device="cpu")


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
