"""`qkv evaluate` for a model of texts: its own test split, other tables, and its refusals."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import qkv as library
from qkv.data.dataset import TextSplit
from qkv.text.classifier import TextClassifier
from small_reviews import write_reviews

Call = Callable[..., Any]


def test_json_repeats_what_the_run_recorded(qkv: Call, text_run: Path) -> None:
    outcome = qkv("evaluate", text_run, "--json")
    assert outcome.code == 0, outcome.err
    record = json.loads((text_run / "run.json").read_text())
    recorded = record["test"]
    assert set(outcome.json) == {*recorded, "models", "verdict"} - {
        "parameters", "train_seconds", "seed",
    }  # fmt: skip
    assert outcome.json["confusion_matrix"] == recorded["confusion_matrix"]
    assert outcome.json["by_length"] == recorded["by_length"]
    assert outcome.json["loss"] == pytest.approx(recorded["loss"], abs=1e-5)
    assert outcome.json["models"] == {
        name: splits["test"] for name, splits in record["models"].items()
    }
    assert outcome.json["verdict"] == record["verdict"]


def test_tables_show_the_models_classes_and_lengths(qkv: Call, text_run: Path) -> None:
    outcome = qkv("evaluate", text_run)
    assert outcome.code == 0
    for words in ("accuracy", "95 % interval", "loss", "precision", "Confusion", "Reliability",
                  "Each model by itself", "neural model", "n-grams", "both stacked",
                  "Accuracy by length"):  # fmt: skip
        assert words in outcome.out
    assert "texts" in outcome.out
    assert "image" not in outcome.out


def test_another_table_is_evaluated_by_every_model(
    qkv: Call, text_run: Path, tmp_path: Path
) -> None:
    table = write_reviews(tmp_path / "others.csv", count=7, labels=("bad", "good"))
    outcome = qkv("evaluate", text_run, "--data", table, "--json")
    assert outcome.code == 0, outcome.err
    document = outcome.json
    assert document["examples"] == 14
    assert document["per_class"]["fine"]["support"] == 0
    assert set(document["models"]) == {"neural", "ngrams", "stacked"}
    assert document["models"]["stacked"]["loss"] == document["loss"]

    # The answering model is the one that `predict_logits` speaks for.
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    classifier = library.load(text_run)
    assert isinstance(classifier, TextClassifier)
    labels = np.array([classifier.class_names.index(row["verdict"]) for row in rows])
    split = TextSplit(tuple(row["review"] for row in rows), labels)
    logits = classifier.predict_logits(split).double().log_softmax(dim=1).numpy()
    assert document["loss"] == pytest.approx(-logits[range(14), labels].mean(), abs=1e-5)


def test_a_run_on_a_known_data_set_takes_labelled_texts_too(
    qkv: Call, text_run_copy: Path, tmp_path: Path
) -> None:
    record = json.loads((text_run_copy / "run.json").read_text())
    record["recipe"]["data"]["dataset"] = "imdb"
    (text_run_copy / "run.json").write_text(json.dumps(record))
    table = write_reviews(tmp_path / "others.csv", count=7, labels=("bad", "good"))
    folder = tmp_path / "texts"
    for label in ("bad", "good"):
        (folder / label).mkdir(parents=True)
        (folder / label / "1.txt").write_text(f"a {label} film")
    for data, examples in ((table, 14), (folder, 2)):
        outcome = qkv("evaluate", text_run_copy, "--data", data, "--json")
        assert outcome.code == 0, outcome.err
        assert outcome.json["examples"] == examples
    # Any other folder is where the data set itself should be.
    outcome = qkv("evaluate", text_run_copy, "--data", tmp_path)
    assert outcome.code == 2
    assert f"{tmp_path} does not hold IMDB" in outcome.err


def test_an_unseen_label_is_named_with_its_line(qkv: Call, text_run: Path, tmp_path: Path) -> None:
    table = tmp_path / "others.csv"
    table.write_text("review,verdict\na film,good\na book,dreadful\na story,odd\n")
    outcome = qkv("evaluate", text_run, "--data", table)
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err.count("\n") == 1
    assert "others.csv:3 has the label 'dreadful', which is not one of the model's" in outcome.err
    assert "the model knows 'bad', 'fine', 'good'" in outcome.err


def test_columns_and_bad_rows_of_another_table(qkv: Call, text_run: Path, tmp_path: Path) -> None:
    table = tmp_path / "others.csv"
    table.write_text("body,grade,mark\na film,good,1\na book,bad,2\n,bad,3\n")
    wrong = qkv("evaluate", text_run, "--data", table)
    assert wrong.code == 2
    assert "--label-column" in wrong.err
    named = ("evaluate", text_run, "--data", table, "--label-column", "grade")
    refused = qkv(*named)
    assert refused.code == 2
    assert refused.err.splitlines()[1] == "  others.csv:4: has no text"
    taken = qkv(*named, "--text-column", "body", "--skip-bad", "--json")
    assert taken.code == 0, taken.err
    assert taken.json["examples"] == 2
    assert "left out, as they cannot be used: 1 of the rows" in taken.err
    same = qkv(*named, "--text-column", "grade")
    assert same.code == 2
    assert "text_column and label_column name the same column" in same.err


def test_the_training_table_as_other_data_is_remarked(
    qkv: Call, text_run: Path, reviews: Path
) -> None:
    outcome = qkv("evaluate", text_run, "--data", reviews, "--json")
    assert outcome.json["examples"] == 60
    assert f"{reviews} is what the run was trained on" in outcome.err


def test_changed_data_show_no_recorded_models(
    qkv: Call, tiny_text: tuple[str, ...], tmp_path: Path
) -> None:
    table = write_reviews(tmp_path / "table.csv", labels=("bad", "good"))
    run = tmp_path / "run"
    assert qkv("train", "text", "--data", table, "--out", run, *tiny_text).code == 0
    table.write_text(table.read_text().replace("film", "movie"))
    outcome = qkv("evaluate", run, "--json")
    assert outcome.code == 0, outcome.err
    assert "the data have changed since the run was trained on them" in outcome.err
    recorded = json.loads((run / "run.json").read_text())["models"]["stacked"]["test"]
    assert outcome.json["models"]["stacked"]["examples"] == recorded["examples"]
    assert outcome.json["models"]["stacked"]["loss"] == outcome.json["loss"] != recorded["loss"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data", "none.csv"], "there is no file or folder none.csv"),
        (["--text-column", "a"], "say how a table of texts is read"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(
    qkv: Call, text_run: Path, arguments: list[str], message: str
) -> None:
    outcome = qkv("evaluate", text_run, *arguments)
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err.count("\n") == 1
    assert message in outcome.err


def test_columns_are_refused_for_images(qkv: Call, run: Path, photos: Path) -> None:
    outcome = qkv("evaluate", run, "--data", photos, "--label-column", "a")
    assert (outcome.code, outcome.out) == (2, "")
    assert "say how a table of texts is read" in outcome.err


@pytest.mark.parametrize("name", ["model.safetensors", "ngrams.safetensors", "config.json"])
def test_damage_is_noticed(qkv: Call, text_run_copy: Path, name: str) -> None:
    path = text_run_copy / name
    path.write_bytes(path.read_bytes()[:-30])
    for command in (("evaluate", text_run_copy), ("predict", text_run_copy, "a film")):
        outcome = qkv(*command)
        assert (outcome.code, outcome.out) == (2, "")
        assert str(path) in outcome.err
        assert outcome.err.count("\n") == 1
