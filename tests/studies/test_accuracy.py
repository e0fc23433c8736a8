"""Two kernels trained side by side: what is compared, what is kept, and what is refused."""

from __future__ import annotations

import json
import os
import signal
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pytest

from qkv.data import fashion_mnist
from qkv.errors import DataError, InterruptedRunError, QKVError, RecipeError, RunError, StudyError
from qkv.progress import Reporter, StepReport
from qkv.runs import Run
from qkv.studies.accuracy import (
    conclusion,
    core_share,
    pace,
    parse_patch_sizes,
    sentence,
    study_accuracy,
)
from qkv.studies.accuracy_runs import Arm, plan_arms
from qkv.studies.registry import draw_study
from qkv.training import train as experiment
from small_fashion_mnist import TRAIN_IMAGES, write_small

TINY = (
    "model.dim=8", "model.depth=1", "model.num_heads=2", "model.head_dim=4", "model.mlp_dim=16",
    "model.stem=linear", "training.batch_size=10", "training.warmup_steps=0",
    "training.ema_decay=0.0", "training.precision=float32", "training.device=cpu",
)  # fmt: skip
NAMES = [
    *("patch14-softmax-seed42", "patch14-linear-seed42"),
    *("patch7-softmax-seed42", "patch7-linear-seed42"),
]


class Listener(Reporter):
    """Hears notes, and interrupts at a step of one of the trainings."""

    def __init__(self, arm: int = 0, step: int = 0) -> None:
        self.notes: list[str] = []
        self._stop = (arm, step)

    def note(self, message: str) -> None:
        self.notes.append(message)

    def step(self, report: StepReport, *, logged: bool) -> None:
        if (len(self.notes), report.step) == self._stop:
            os.kill(os.getpid(), signal.SIGINT)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A folder of small data that qkv takes for Fashion-MNIST; nothing is drawn meanwhile."""
    folder = tmp_path_factory.mktemp("data") / "small"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fashion_mnist, "load", write_small(folder))
        patch.setattr(experiment, "draw_figures", lambda _: [])
        yield folder


def study(folder: Path, data: Path, **changes: Any) -> Any:
    settings: dict[str, Any] = {"patch_sizes": (14, 7), "overrides": TINY, "data": data, **changes}
    return study_accuracy(folder, **settings)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("studies") / "quality"


@pytest.fixture(scope="module")
def document(folder: Path, data: Path) -> Any:
    return study(folder, data, epochs=3)


@pytest.fixture
def untrained(monkeypatch: pytest.MonkeyPatch) -> None:
    """A training that starts fails the test."""

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("a training was started")

    monkeypatch.setattr(experiment, "train", refuse)


# --- what is compared


def test_arms_differ_in_kernel_and_patch_alone(document: Any, folder: Path) -> None:
    assert sorted(path.name for path in (folder / "runs").iterdir()) == sorted(NAMES)
    recipes = []
    for name, arm in zip(NAMES, document["arms"], strict=True):
        assert arm["runs"] == [f"runs/{name}"]
        recipe = Run.open(folder / arm["runs"][0]).record()["recipe"]
        model = recipe["model"]
        assert (model.pop("attention"), model.pop("patch_size")) == (
            arm["kernel"],
            arm["patch_size"],
        )
        assert model["dim"] == 8
        recipes.append(recipe)
    assert all(recipe == recipes[0] for recipe in recipes)
    assert (recipes[0]["seed"], recipes[0]["training"]["epochs"]) == (42, 3)
    assert [arm["tokens"] for arm in document["arms"]] == [5, 5, 17, 17]


def test_arms_carry_what_their_runs_recorded(document: Any, folder: Path) -> None:
    for arm in document["arms"]:
        record = Run.open(folder / arm["runs"][0]).record()
        assert arm["test_accuracy"] == pytest.approx(record["test"]["accuracy"])
        assert arm["interval_95"] == pytest.approx(record["test"]["accuracy_interval_95"])
        assert arm["epoch_seconds"] == [entry["seconds"] for entry in record["epochs"]]
        assert len(arm["epoch_seconds"]) == 3
        assert arm["seconds_per_epoch"] == median(arm["epoch_seconds"])
        images = record["data"]["examples"]["train"]
        assert arm["images_per_second"] == pytest.approx(images / arm["seconds_per_epoch"])
        assert arm["parameters"] == record["parameters"]
    assert document["settings"]["train_images"] == images == 90


def test_pairs_compare_linear_with_softmax(document: Any, folder: Path) -> None:
    for pair, softmax, linear in zip(
        document["pairs"], document["arms"][::2], document["arms"][1::2], strict=True
    ):
        assert (softmax["kernel"], linear["kernel"]) == ("softmax", "linear")
        gap = linear["test_accuracy"] - softmax["test_accuracy"]
        assert pair["accuracy_difference"] == pytest.approx(gap)
        assert pair["epoch_time_ratio"] == pytest.approx(
            linear["seconds_per_epoch"] / softmax["seconds_per_epoch"]
        )
        right = []
        for arm in (softmax, linear):
            results = Run.open(folder / arm["runs"][0]).results()
            right.append((results["test_logits"].argmax(1) == results["test_labels"]).numpy())
        assert pair["only_linear_right"] == np.sum(right[1] & ~right[0])
        assert pair["only_softmax_right"] == np.sum(right[0] & ~right[1])
        name = f"patch_{pair['patch_size']}"
        assert document["figures"][f"accuracy_difference_{name}"] == pair["accuracy_difference"]
        assert document["figures"][f"epoch_time_ratio_{name}"] == pair["epoch_time_ratio"]


def test_both_kernels_learn(data: Path, tmp_path: Path) -> None:
    found = study(tmp_path, data, patch_sizes=(7,), epochs=15, overrides=(*TINY, "model.dim=32"))
    for arm in found["arms"]:
        assert arm["test_accuracy"] > 0.5, arm["kernel"]  # guessing gives 0.1


def test_the_document_is_whole(document: Any) -> None:
    assert document["study"] == "quality"
    json.dumps(document, allow_nan=False)
    for table in (document["table"], *document["tables"]):
        assert all(len(row) == len(table["columns"]) for row in table["rows"])
    assert len(document["table"]["rows"]) == 4
    assert len(document["tables"][0]["rows"]) == 2
    assert "sd of seeds (points)" not in document["table"]["columns"]
    assert document["machine"]["device"] == "cpu"
    assert not any("CAUTION" in note for note in document["notes"])
    assert any("float32" in note for note in document["notes"])
    draw_study(document)


def test_several_seeds_show_their_spread(data: Path, tmp_path: Path) -> None:
    found = study(tmp_path, data, seeds=2, epochs=1, patch_sizes=(14,))
    assert found["settings"]["seeds"] == [42, 43]
    for arm in found["arms"]:
        assert len(arm["test_accuracies"]) == len(arm["runs"]) == 2
        assert arm["test_accuracy"] == pytest.approx(np.mean(arm["test_accuracies"]))
        assert arm["seeds_sd"] == pytest.approx(np.std(arm["test_accuracies"], ddof=1))
    assert "sd of seeds (points)" in found["table"]["columns"]
    assert len(found["pairs"][0]["difference_by_seed"]) == 2


def test_few_training_images_are_the_same_share_of_every_class(data: Path, tmp_path: Path) -> None:
    found = study(tmp_path, data, train_images=40, epochs=1, patch_sizes=(14,))
    assert found["settings"]["train_images"] == 40
    records = [Run.open(tmp_path / arm["runs"][0]).record() for arm in found["arms"]]
    assert records[0]["data"]["examples"] == {"train": 40, "validation": 60, "test": 50}
    assert records[0]["data"]["sha256"] == records[1]["data"]["sha256"]


def test_arms_from_different_machines_are_marked(data: Path, tmp_path: Path) -> None:
    study(tmp_path, data, epochs=1, patch_sizes=(14,))
    run = Run.open(tmp_path / "runs" / NAMES[0])
    run.update_record(machine={**run.record()["machine"], "threads": 77})
    found = study(tmp_path, data, epochs=1, patch_sizes=(14,))
    assert "CAUTION" in found["notes"][-1]


# --- going on


@pytest.mark.usefixtures("untrained")
def test_a_finished_study_is_read_back(document: Any, folder: Path, data: Path) -> None:
    assert study(folder, data, epochs=3) == document


def test_a_stopped_study_goes_on(document: Any, folder: Path, data: Path, tmp_path: Path) -> None:
    with pytest.raises(InterruptedRunError, match=r"patch14-linear-seed42: stopped at") as stopped:
        study(tmp_path, data, epochs=3, reporter=Listener(arm=2, step=4))
    assert "same command" in stopped.value.remedy
    kept = (tmp_path / "runs" / NAMES[0] / "run.json").read_bytes()
    assert not (tmp_path / "runs" / NAMES[2]).exists()
    listener = Listener()
    found = study(tmp_path, data, epochs=3, reporter=listener)
    assert (tmp_path / "runs" / NAMES[0] / "run.json").read_bytes() == kept
    accuracies = [arm["test_accuracies"] for arm in found["arms"]]
    assert accuracies == [arm["test_accuracies"] for arm in document["arms"]]
    for name in NAMES:
        one, other = (Run.open(root / "runs" / name).results() for root in (tmp_path, folder))
        assert bool((one["test_logits"] == other["test_logits"]).all())
    assert listener.notes[0] == "arm 1 of 4: softmax, patch 14 (5 tokens), seed 42"


# --- what is refused, before anything is trained


@pytest.mark.usefixtures("untrained", "document")
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epochs": 2}, r"training\.epochs = 3, and now it is to be 2"),
        ({"overrides": (*TINY, "model.dropout=0.1")}, r"model\.dropout = 0.0"),
        ({"train_images": 30}, r"data\.validation_fraction"),
    ],
)
def test_other_settings_in_the_same_folder(
    folder: Path, data: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(StudyError, match=message) as caught:
        study(folder, data, **{"epochs": 3, **changes})
    assert "--out" in caught.value.remedy


@pytest.mark.usefixtures("untrained", "document")
def test_other_data_in_the_same_folder(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fashion_mnist, "load", write_small(tmp_path / "others", seed=1))
    with pytest.raises(StudyError, match="trained on other data"):
        study(folder, tmp_path / "others", epochs=3)


@pytest.mark.usefixtures("untrained")
@pytest.mark.parametrize("place", [NAMES[0], NAMES[3]])
def test_something_in_the_way(data: Path, tmp_path: Path, place: str) -> None:
    (tmp_path / "runs" / place).mkdir(parents=True)
    (tmp_path / "runs" / place / "letter.txt").write_text("mine")
    with pytest.raises(StudyError, match=f"{place} is no run"):
        study(tmp_path, data)


def test_a_damaged_record(data: Path, tmp_path: Path) -> None:
    study(tmp_path, data, epochs=1, patch_sizes=(14,))
    run = Run.open(tmp_path / "runs" / NAMES[0])
    record = run.record()
    del record["precision"]
    run.write_record(record)
    with pytest.raises(RunError, match="lacks 'precision'"):
        study(tmp_path, data, epochs=1, patch_sizes=(14,))
    del record["recipe"]
    run.write_record(record)
    with pytest.raises(RunError, match="lacks 'recipe'"):
        study(tmp_path, data, epochs=1, patch_sizes=(14,))


@pytest.mark.usefixtures("untrained")
@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"epochs": 0}, StudyError, "--epochs is 0; give at least 1"),
        ({"seeds": 101}, StudyError, "--seeds is 101; give at most 100"),
        ({"train_images": 9}, StudyError, "--train-images is 9; give at least 10"),
        (
            {"train_images": TRAIN_IMAGES - 9},
            StudyError,
            "--train-images 91 of 100 leaves too few to validate on; give at most 90",
        ),
        ({"overrides": ["seed=3"]}, StudyError, "--set seed is set by the study itself"),
        ({"overrides": [" model.patch_size = 4"]}, StudyError, "use --patch-sizes"),
        ({"overrides": ["training.epochs=3"]}, StudyError, "use --epochs"),
        ({"overrides": ["model.attention=linear"]}, StudyError, "trains both kernels"),
        ({"overrides": ["data.dataset=folder"]}, StudyError, "Fashion-MNIST only"),
        ({"overrides": ["model.depht=8"]}, RecipeError, "did you mean 'depth'"),
        ({"patch_sizes": (7,), "overrides": []}, RecipeError, "power of two"),
        ({"data": Path("nowhere")}, DataError, "nowhere"),
    ],
)
def test_wrong_settings(
    data: Path,
    tmp_path: Path,
    changes: dict[str, Any],
    error: type[QKVError],
    message: str,
) -> None:
    with pytest.raises(error) as caught:
        study(tmp_path, **{"data": data, **changes})
    assert message in str(caught.value)
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("text", "sizes"), [("4,2", [4, 2]), (" 2 ", [2]), ("28, 14,7,1", [28, 14, 7, 1])]
)
def test_patch_sizes(text: str, sizes: list[int]) -> None:
    assert parse_patch_sizes(text) == sizes


@pytest.mark.parametrize("text", ["", "4,", "3", "0", "-4", "4.0", "four", "4,4", "²", "56"])
def test_wrong_patch_sizes(text: str) -> None:
    with pytest.raises(StudyError, match="--patch-sizes"):
        parse_patch_sizes(text)


# --- what is said


def pair(difference: float, ratio: float, *, beyond: bool = True) -> dict[str, Any]:
    return {
        "patch_size": 4, "tokens": 50, "accuracy_difference": difference,
        "interval_95": [difference - 0.005, difference + 0.005], "difference_by_seed": [difference],
        "beyond_noise": beyond, "epoch_time_ratio": ratio,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("difference", "beyond", "ratio", "words"),
    [
        (-0.01, True, 0.5, "it buys speed with accuracy"),
        (-0.01, False, 0.5, "it pays"),
        (0.01, True, 0.5, "it pays"),
        (-0.01, True, 1.0, "it does not pay at this length"),
        (0.01, False, 1.3, "it does not pay at this length"),
        (0.01, True, 1.0, "it pays in accuracy"),
        (0.01, True, 1.3, "it buys accuracy with time"),
    ],
)
def test_whether_it_pays(difference: float, beyond: bool, ratio: float, words: str) -> None:
    assert conclusion(pair(difference, ratio, beyond=beyond)) == words


def test_the_verdict_names_both_sides() -> None:
    text = " ".join(map(sentence, [pair(-0.0123, 1.18), pair(0.001, 0.46, beyond=False)]))
    assert "−1.23 points" in text
    assert "95 % −1.73 to −0.73, beyond the noise of test draw" in text
    assert "1.18 times as long: it does not pay at this length." in text
    assert "+0.10 points" in text
    assert "within the noise" in text
    assert text.endswith("0.46 times as long: it pays.")


def test_pace_has_a_band_of_equals() -> None:
    assert [pace(ratio) for ratio in (0.94, 0.96, 1.04, 1.06)] == [
        "faster", "as fast", "as fast", "slower"
    ]  # fmt: skip


def test_the_share_of_the_kernel_by_hand(data: Path) -> None:
    softmax, linear = plan_arms((4,), 1, 1, (), None, data, Reporter())
    # Four heads of 32 at width 112: 4·112·128 for projections, 2·112·128 for the MLP.
    rest = 57_344 + 28_672
    assert core_share(softmax) == pytest.approx(12_800 / (rest + 12_800))  # 2·50·128
    assert core_share(linear) == pytest.approx(8_320 / (rest + 8_320))  # 65·128
    mean = softmax.recipe.model.model_copy(update={"pooling": "mean"})
    without = Arm("softmax", 4, softmax.recipe.model_copy(update={"model": mean}))
    assert without.tokens == 49
    longer = replace(softmax, patch_size=2)
    assert longer.tokens == 197
    assert core_share(longer) == pytest.approx(50_432 / (rest + 50_432))  # 2·197·128
