"""From a table of texts to a finished run, through a tiny random BERT."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import qkv
from qkv.errors import DataError, RecipeError, RunError
from qkv.runs import Run
from qkv.text.classifier import TextClassifier
from qkv.text.model import predict_inputs
from qkv.text.text_encoder import TextEncoder
from qkv.training.recipe import load_recipe
from qkv.training.training_settings import Recipe
from tiny_bert import tiny_bert

WORDS = {"good": ("good", "great", "fine", "best"), "bad": ("bad", "awful", "poor", "worst")}
FILLERS = ("the film", "this movie", "a story", "that book", "it", "the book and the film")


def sentences(counts: dict[str, int], seed: int) -> list[tuple[str, str]]:
    """Texts of 3 to 60 words in which a word of its class stands somewhere; "plain" has none."""
    generator = np.random.default_rng(seed)
    rows = []
    for label, count in counts.items():
        for number in range(count):
            words = [str(generator.choice(FILLERS)) for _ in range(generator.integers(2, 20))]
            place = int(generator.integers(len(words) + 1))
            if label in WORDS:
                words.insert(place, str(generator.choice(WORDS[label])))
            rows.append((" ".join(words) + f" {seed} {number}", label))
    return rows


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("texts")
    tiny_bert(folder / "bert")
    for name, counts in {
        "three": {"good": 40, "bad": 40, "plain": 30},
        "two": {"good": 40, "bad": 40},
    }.items():
        with (folder / f"{name}.csv").open("w", encoding="utf-8", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(["text", "label"])
            rows.writerows(sentences(counts, 1))
    return folder


def tiny(place: Path, *changes: str) -> Recipe:
    return load_recipe(
        "text",
        None,
        [
            f"encoder.name={place / 'bert'}",
            "encoder.layers=2",
            "training.epochs=3",
            "training.batch_tokens=300",
            "training.learning_rate=0.01",
            "training.warmup_steps=2",
            *changes,
        ],
    )


@pytest.fixture(scope="module")
def finished(place: Path) -> Run:
    return qkv.train(tiny(place), out=place / "run", data=place / "three.csv")


def test_a_run_holds_everything(finished: Run) -> None:
    record, config = finished.record(), finished.config()
    assert record["status"] == "finished"
    assert sorted(config["id2label"].values()) == ["bad", "good", "plain"]
    assert sum(record["data"]["examples"].values()) == 110
    assert set(record["models"]) == {"neural", "ngrams", "stacked"}
    for scores in record["models"].values():
        for split in ("validation", "test"):
            assert scores[split]["examples"] == record["data"]["examples"][split]
            assert 0 <= scores[split]["accuracy"] <= 1
    stacked = record["models"]["stacked"]["test"]
    assert record["test"]["accuracy"] == stacked["accuracy"]
    assert record["test"]["loss"] == pytest.approx(stacked["loss"], rel=1e-4)
    assert record["ngram_seconds"] > 0
    assert config["temperature"] > 0
    assert config["encoder"]["identity"]["weights_sha256"]
    assert (
        sum(entry["count"] for entry in record["test"]["by_length"]["bins"]) == stacked["examples"]
    )
    names = {path.name for path in finished.figures_folder.iterdir()}
    assert {"curves.png", "confusion.png", "reliability.png"} <= names
    assert not (finished.path / "resume").exists()
    card = (finished.path / "README.md").read_text(encoding="utf-8")
    assert "pipeline_tag: text-classification" in card


def test_the_loaded_classifier_repeats_the_test_accuracy(finished: Run) -> None:
    document = qkv.evaluate(finished.path)
    assert document["accuracy"] == finished.record()["test"]["accuracy"]
    assert document["loss"] == pytest.approx(finished.record()["test"]["loss"], rel=1e-5)


def with_head(kind: str) -> list[str]:
    return [f'head={{kind = "{kind}"}}']


@pytest.mark.parametrize("kind", ["gru", "attention", "mean"])
@pytest.mark.parametrize("truncation", ["head", "windows"])
def test_an_answer_does_not_depend_on_its_batch(
    place: Path, tmp_path: Path, kind: str, truncation: str
) -> None:
    recipe = tiny(
        place,
        *with_head(kind),
        f"encoder.truncation.kind={truncation}",
        *(["encoder.truncation.overlap_tokens=8"] if truncation == "windows" else []),
        "training.epochs=1",
    )
    run = qkv.train(recipe, out=tmp_path / "run", data=place / "two.csv")
    model = qkv.load(run)
    assert isinstance(model, TextClassifier)
    texts = [text for text, _ in sentences({"good": 6, "bad": 6}, 9)]
    texts += ["good", "bad " * 30, "?"]
    together = model.predict_proba(texts)
    for index in range(len(texts)):
        assert model.predict_proba([texts[index]])[0] == pytest.approx(together[index], abs=1e-4)
    generator = np.random.default_rng(0)
    for _ in range(5):
        order = generator.permutation(len(texts))
        size = int(generator.integers(1, 6))
        some = model.predict_proba([texts[i] for i in order], batch_size=size)
        assert some == pytest.approx(together[order], abs=1e-4)


def test_training_from_states_equals_training_through_the_encoder(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = tiny(place, *with_head("mean"), "training.epochs=2")
    stored = qkv.train(recipe, out=tmp_path / "stored", data=place / "two.csv")

    from qkv.text.model import HeldInputs, Reading, held_states

    def live(self: Reading, splits: Any, **_: Any) -> list[HeldInputs]:
        return [held_states(self.encoder, self.encoder.prepare(texts)) for texts in splits]

    monkeypatch.setattr(Reading, "stored", live)
    direct = qkv.train(recipe, out=tmp_path / "live", data=place / "two.csv")
    for name, tensor in stored.weights().items():
        assert torch.allclose(tensor, direct.weights()[name], atol=1e-5), name


def test_another_head_reuses_the_states(
    place: Path, tmp_path: Path, finished: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> Any:
        raise AssertionError("states were computed again")

    monkeypatch.setattr(TextEncoder, "encode", refuse)
    recipe = tiny(place, *with_head("mean"), "training.epochs=1")
    run = qkv.train(recipe, out=tmp_path / "run", data=place / "three.csv")
    assert run.record()["status"] == "finished"


@pytest.mark.parametrize("layers", ["1", "3", "all"])
def test_the_top_of_the_encoder_can_be_trained(place: Path, tmp_path: Path, layers: str) -> None:
    changes = ['encoder.layers="last"', f"unfreeze_layers={layers}", "training.epochs=1"]
    recipe = tiny(place, *changes)
    run = qkv.train(recipe, out=tmp_path / "run", data=place / "two.csv")
    model = qkv.load(run)
    assert isinstance(model, TextClassifier)
    fresh = model.reading.top()
    assert fresh is not None
    trained = model.model.top
    assert trained is not None
    moved = [
        name
        for (name, before), after in zip(
            fresh.named_parameters(), trained.parameters(), strict=True
        )
        if not torch.equal(before, after)
    ]
    assert moved
    assert run.record()["parameters"] > sum(p.numel() for p in model.model.head.parameters())
    document = qkv.evaluate(run.path)
    assert document["accuracy"] == run.record()["test"]["accuracy"]


def test_unfrozen_layers_begin_where_the_encoder_stands(place: Path) -> None:
    """Before the first step, top layers on lower states give what the whole encoder gives."""
    from qkv.text.encoder import EncoderSettings
    from qkv.text.heads import MeanHeadSettings, build_head
    from qkv.text.model import Reading, TextModel

    settings = EncoderSettings.parse(
        {"name": str(place / "bert"), "precision": "float32"}, where="test"
    )
    texts = [text for text, _ in sentences({"good": 3, "bad": 3}, 4)]
    cpu = torch.device("cpu")
    torch.manual_seed(0)
    head = build_head(MeanHeadSettings(kind="mean"), 16, 2)
    answers = []
    for unfrozen in (0, 1, 2, 3, "all"):
        reading = Reading(settings, unfrozen, "float16", cpu)
        model = TextModel(head, reading.top()).eval()
        parts = [predict_inputs(model, inputs, 500, cpu) for inputs in reading.inputs(texts)]
        answers.append(torch.cat(parts))
    for answer in answers[1:]:
        assert torch.allclose(answer, answers[0], atol=5e-3)


def test_windows_and_unfrozen_layers_do_not_go_together(place: Path) -> None:
    with pytest.raises(RecipeError, match="does not go with truncation 'windows'"):
        tiny(
            place,
            'encoder.layers="last"',
            "unfreeze_layers=1",
            'encoder.truncation.kind="windows"',
        )


def test_another_encoder_is_noticed(place: Path, tmp_path: Path, finished: Run) -> None:
    import shutil

    copy = tmp_path / "run"
    shutil.copytree(finished.path, copy)
    config = json.loads((copy / "config.json").read_text())
    tiny_bert(tmp_path / "other", seed=5)
    config["encoder"]["settings"]["name"] = str(tmp_path / "other")
    (copy / "config.json").write_text(json.dumps(config))
    with pytest.raises(RunError, match="another encoder"):
        qkv.load(copy).predict(["good"])


def test_empty_texts_are_refused_and_do_not_stop_the_others(finished: Run) -> None:
    model = qkv.load(finished)
    assert isinstance(model, TextClassifier)
    answers = list(model.predict_each(["good film", "  ", "bad film"]))
    assert [type(a).__name__ for a in answers] == ["Prediction", "FailedInput", "Prediction"]
    with pytest.raises(DataError, match="text 2 is empty"):
        model.predict(["good film", ""])


def test_a_stopped_run_goes_on_to_the_same_weights(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from qkv.training.loop import Fit

    recipe = tiny(place, "training.checkpoint_every_seconds=0")
    whole = qkv.train(recipe, out=tmp_path / "whole", data=place / "two.csv")
    original = Fit._report_step

    def stop_at_seven(self: Fit) -> None:
        original(self)
        if self.position.step == 7:
            raise KeyboardInterrupt

    monkeypatch.setattr(Fit, "_report_step", stop_at_seven)
    with pytest.raises(KeyboardInterrupt):
        qkv.train(recipe, out=tmp_path / "parts", data=place / "two.csv")
    monkeypatch.setattr(Fit, "_report_step", original)
    parts = qkv.resume(tmp_path / "parts")
    for name, tensor in whole.weights().items():
        assert torch.equal(tensor, parts.weights()[name]), name
    assert parts.record()["test"]["accuracy"] == whole.record()["test"]["accuracy"]


def test_states_of_eight_bits_serve_as_well(place: Path, tmp_path: Path) -> None:
    wide = qkv.train(tiny(place, "training.epochs=2"), out=tmp_path / "w", data=place / "two.csv")
    recipe = tiny(place, "training.epochs=2", "states=int8")
    narrow = qkv.train(recipe, out=tmp_path / "n", data=place / "two.csv")
    texts = [text for text, _ in sentences({"good": 5, "bad": 5}, 8)]
    answers = [qkv.load(run).predict_proba(texts) for run in (wide, narrow)]
    assert answers[0] == pytest.approx(answers[1], abs=0.1)
    # Live states are rounded as stored ones are, so both ways to the test split agree.
    assert qkv.evaluate(narrow.path)["loss"] == pytest.approx(
        narrow.record()["test"]["loss"], rel=1e-5
    )
