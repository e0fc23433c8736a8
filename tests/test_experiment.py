"""A folder of images goes in, a finished run comes out; stopped and resumed it is the same."""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import qkv
from qkv.errors import DataError, DivergenceError, InterruptedRunError, RecipeError, RunError
from qkv.progress import Estimate, Reporter, StepReport
from qkv.runs import Run
from qkv.training import vision_task
from qkv.training.recipe import load_recipe
from qkv.training.training_settings import Recipe

TINY = [
    "model.dim=8", "model.depth=1", "model.num_heads=2", "model.head_dim=4", "model.mlp_dim=16",
    "data.image_size=8", "data.validation_fraction=0.2", "data.test_fraction=0.2",
    "training.epochs=2", "training.batch_size=8", "training.log_every_steps=1",
    "training.device=cpu", "training.precision=float32",
]  # fmt: skip


def tiny(*changes: str) -> Recipe:
    return load_recipe("vision", None, [*TINY, *changes])


def write_images(root: Path, per_class: int = 10) -> Path:
    """Three classes of small pictures in three formats, told apart by colour."""
    generator = np.random.default_rng(0)
    for colour, (name, suffix) in enumerate([("blue", "png"), ("green", "bmp"), ("red", "webp")]):
        (root / name).mkdir(parents=True)
        for number in range(per_class):
            pixels = generator.integers(0, 100, (12, 9 + number % 4, 3), dtype=np.uint8)
            pixels[:, :, colour] += 120
            Image.fromarray(pixels).save(root / name / f"{number}.{suffix}")
    return root


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_images(tmp_path_factory.mktemp("data") / "colours")


@pytest.fixture(scope="module")
def finished(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("QKV_CACHE", str(tmp_path_factory.mktemp("cache")))
        return qkv.train(tiny(), out=tmp_path_factory.mktemp("runs") / "run", data=images)


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures are drawn in one test; the others need not wait for them."""
    monkeypatch.setattr("qkv.training.train.draw_figures", lambda _: [])


class StopAt(Reporter):
    def __init__(self, step: int) -> None:
        self._step = step
        self.heard: list[str] = []
        self.notes: list[str] = []

    def note(self, message: str) -> None:
        self.notes.append(message)

    def estimate(self, estimate: Estimate) -> None:
        self.heard.append("estimate")
        assert estimate.total_steps > 0

    def step(self, report: StepReport, *, logged: bool) -> None:
        if report.step == self._step:
            os.kill(os.getpid(), signal.SIGINT)


def same_weights(one: Run, other: Run) -> bool:
    first, second = one.weights(), other.weights()
    return list(first) == list(second) and all(
        torch.equal(first[name], second[name]) for name in first
    )


# --- a finished run


def test_a_finished_run_has_all_its_parts(finished: Run) -> None:
    found = {str(path.relative_to(finished.path)) for path in finished.path.rglob("*.*")}
    assert {
        "config.json", "model.safetensors", "run.json", "log.jsonl", "results.safetensors",
        "README.md",
    } <= found  # fmt: skip
    for kind in ("png", "svg"):
        assert len(list((finished.path / "figures").glob(f"*.{kind}"))) >= 4
    assert not (finished.path / "resume" / "position.safetensors").exists()


def test_the_record_is_whole(finished: Run, images: Path) -> None:
    record = finished.record()
    assert record["status"] == "finished"
    assert record["format"] == 1
    assert record["seed"] == 42
    assert record["recipe"] == tiny().model_dump(mode="json")
    assert set(record["versions"]) == {"python", "qkv", "torch", "numpy"}
    assert record["machine"]["device"] == "cpu"
    data = record["data"]
    assert data["name"] == "colours"
    assert data["folder"] == str(images.resolve())
    assert data["examples"] == {"train": 18, "validation": 6, "test": 6}
    assert data["class_names"] == ["blue", "green", "red"]
    assert all(len(value) == 64 for value in data["sha256"].values())
    assert data["skipped"] == []
    assert [entry["epoch"] for entry in record["epochs"]] == [1, 2]
    assert record["kept_epoch"] in (1, 2)
    assert record["train_seconds"] > 0
    assert record["estimate"]["total_steps"] == 6
    test = record["test"]
    assert test["examples"] == 6
    assert (test["parameters"], test["seed"]) == (record["parameters"], 42)
    assert test["train_seconds"] == record["train_seconds"]
    assert 0.0 <= test["accuracy"] <= 1.0
    assert "NaN" not in json.dumps(record)
    events = [entry["event"] for entry in finished.log()]
    assert events == ["step", "step", "step", "epoch"] * 2


def test_the_parameters_are_those_of_the_weights(finished: Run) -> None:
    assert finished.record()["parameters"] == sum(t.numel() for t in finished.weights().values())


def test_the_saved_predictions_are_those_of_the_model(finished: Run) -> None:
    results = finished.results()
    logits, labels = results["test_logits"], results["test_labels"]
    assert (logits.shape, logits.dtype) == ((6, 3), torch.float32)
    assert (labels.shape, labels.dtype) == ((6,), torch.int64)
    assert finished.record()["test"]["accuracy"] == pytest.approx(
        (logits.argmax(1) == labels).float().mean().item()
    )
    samples = results["sample_images"]
    assert (samples.shape, samples.dtype) == ((3, 3, 8, 8), torch.uint8)
    pictures = [image.permute(1, 2, 0).numpy() for image in samples]
    probabilities = qkv.load(finished).predict_proba(pictures)
    saved = logits[results["sample_indices"]].softmax(1).numpy()
    np.testing.assert_allclose(probabilities, saved, atol=1e-5)


def test_mistakes_are_mistakes_the_surest_first() -> None:
    from qkv.data.dataset import ImageSplit
    from qkv.training.vision_task import _image_results

    store = np.arange(20, dtype=np.uint8).repeat(4).reshape(20, 1, 2, 2)
    test = ImageSplit(store, np.arange(20)[::-1].copy(), np.zeros(20, np.int64))
    logits = torch.zeros(20, 2)
    logits[:, 1] = torch.linspace(-1, 5, 20)  # right for the first four
    results = _image_results(logits, test)
    assert results["mistake_indices"].tolist() == list(range(19, 3, -1))
    assert results["mistake_images"][:, 0, 0, 0].tolist() == list(range(16))
    assert results["sample_indices"].tolist() == [0, 1, 2]
    assert results["sample_images"][:, 0, 0, 0].tolist() == [19, 18, 17]


def test_the_folder_loads_as_a_classifier(finished: Run, images: Path) -> None:
    files = sorted(images.rglob("*.png"))[:3]
    answers = qkv.load(finished.path).predict([str(file) for file in files])
    assert [answer.input for answer in answers] == [str(file) for file in files]
    assert set(answers[0].probabilities) == {"blue", "green", "red"}


def test_evaluating_again_gives_the_recorded_figures(finished: Run) -> None:
    document = qkv.evaluate(finished.path)
    recorded = finished.record()["test"]
    assert {key: recorded[key] for key in document} == document


# --- the same again


@pytest.mark.usefixtures("undrawn")
def test_the_same_seed_gives_the_same_weights(finished: Run, images: Path, tmp_path: Path) -> None:
    again = qkv.train(tiny(), out=tmp_path / "again", data=images)
    assert same_weights(again, finished)
    assert again.record()["data"] == finished.record()["data"]
    assert torch.equal(again.results()["test_logits"], finished.results()["test_logits"])
    other = qkv.train(tiny("seed=43"), out=tmp_path / "other", data=images)
    assert not same_weights(other, finished)


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("stop", [1, 3, 4])
def test_stopped_and_resumed_it_is_the_same(
    finished: Run, images: Path, tmp_path: Path, stop: int
) -> None:
    with pytest.raises(InterruptedRunError, match=f"step {stop} of 6"):
        qkv.train(tiny(), out=tmp_path / "run", data=images, reporter=StopAt(stop))
    run = Run.open(tmp_path / "run")
    assert run.record()["status"] == "interrupted"
    listener = StopAt(-1)
    assert qkv.resume(run.path, reporter=listener).path == run.path
    assert listener.heard == []  # the estimate was made at the start
    assert same_weights(run, finished)
    assert torch.equal(run.results()["test_logits"], finished.results()["test_logits"])
    record, expected = run.record(), finished.record()
    assert record["status"] == "finished"
    for key in ("recipe", "data", "parameters", "kept_epoch"):
        assert record[key] == expected[key]
    assert [entry["step"] for entry in run.log()] == [entry["step"] for entry in finished.log()]


@pytest.mark.usefixtures("undrawn")
def test_a_resumed_run_says_that_it_is_running(images: Path, tmp_path: Path) -> None:
    with pytest.raises(InterruptedRunError):
        qkv.train(tiny(), out=tmp_path / "run", data=images, reporter=StopAt(1))

    class Look(Reporter):
        def step(self, report: StepReport, *, logged: bool) -> None:
            assert Run.open(tmp_path / "run").record()["status"] == "running"

    qkv.resume(tmp_path / "run", reporter=Look())


def test_a_run_stopped_while_it_draws_is_not_finished(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(_: Run) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("qkv.training.train.draw_figures", stopped)
        with pytest.raises(KeyboardInterrupt):
            qkv.train(tiny(), out=tmp_path / "run", data=images)
    run = Run.open(tmp_path / "run")
    assert run.record()["status"] != "finished"
    drawn: list[Path] = []
    monkeypatch.setattr("qkv.training.train.draw_figures", lambda run: drawn.append(run.path))
    qkv.resume(run.path)
    assert drawn == [run.path]
    assert run.record()["status"] == "finished"
    assert (run.path / "README.md").is_file()


def test_a_finished_run_stays_as_it_is(finished: Run) -> None:
    before = (finished.path / "run.json").read_bytes()
    listener = StopAt(-1)
    qkv.resume(finished.path, reporter=listener)
    assert listener.notes == [f"{finished.path} is finished already"]
    assert (finished.path / "run.json").read_bytes() == before


# --- what cannot go on


@pytest.fixture
def stopped(images: Path, tmp_path: Path) -> tuple[Run, Path]:
    """A run stopped at its first step, and its own copy of the data."""
    data = tmp_path / "colours"
    shutil.copytree(images, data)
    with pytest.raises(InterruptedRunError):
        qkv.train(tiny(), out=tmp_path / "run", data=data, reporter=StopAt(1))
    return Run.open(tmp_path / "run"), data


def change_pixels(data: Path) -> None:
    Image.new("RGB", (12, 12), (9, 9, 200)).save(data / "blue" / "3.png")


def add_a_file(data: Path) -> None:
    Image.new("RGB", (12, 12), (9, 9, 200)).save(data / "blue" / "new.png")


def remove_a_file(data: Path) -> None:
    (data / "red" / "0.webp").unlink()


def move_to_another_class(data: Path) -> None:
    # The last of one class becomes the first of the next: the same pixels in the same order.
    (data / "blue" / "9.png").rename(data / "green" / "-.png")


def rename_a_class(data: Path) -> None:
    (data / "green").rename(data / "grass")


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize(
    "change",
    [change_pixels, add_a_file, remove_a_file, move_to_another_class, rename_a_class],
    ids=lambda change: change.__name__,
)
def test_data_that_have_changed_are_refused(stopped: tuple[Run, Path], change: Any) -> None:
    run, data = stopped
    before = (run.path / "run.json").read_bytes()
    change(data)
    with pytest.raises(RunError, match="have changed since it was started") as caught:
        qkv.resume(run.path)
    assert "--data" in caught.value.remedy
    assert (run.path / "run.json").read_bytes() == before


@pytest.mark.usefixtures("undrawn")
def test_data_may_move(stopped: tuple[Run, Path], finished: Run, tmp_path: Path) -> None:
    run, data = stopped
    data.rename(tmp_path / "elsewhere")
    with pytest.raises(DataError):
        qkv.resume(run.path)
    qkv.resume(run.path, data=tmp_path / "elsewhere")
    assert same_weights(run, finished)


def test_a_folder_in_use_is_left_alone(stopped: tuple[Run, Path]) -> None:
    run, _ = stopped
    with run.locked(), pytest.raises(RunError, match="another process is training"):
        qkv.resume(run.path)


@pytest.mark.parametrize("key", ["recipe", "data"])
def test_a_record_that_lacks_something(stopped: tuple[Run, Path], key: str) -> None:
    run, _ = stopped
    record = {name: value for name, value in run.record().items() if name != key}
    run.write_record(record)
    with pytest.raises(RunError, match=rf"run\.json lacks '{key}'"):
        qkv.resume(run.path)


def test_a_taken_folder_is_refused_and_kept(finished: Run, images: Path) -> None:
    before = (finished.path / "run.json").read_bytes()
    with pytest.raises(RunError, match="exists already"):
        qkv.train(tiny(), out=finished.path, data=images)
    assert (finished.path / "run.json").read_bytes() == before


def test_divergence_is_recorded(images: Path, tmp_path: Path) -> None:
    recipe = tiny(
        "training.learning_rate=10",
        "training.max_gradient_norm=none",
        "model.positions=learned",
        "model.embedding_std=10",
    )

    class Poison(Reporter):
        """Makes the model's weights infinite from outside after a step."""

        def step(self, report: StepReport, *, logged: bool) -> None:
            if report.step == 2:
                for parameter in models[0].parameters():
                    parameter.data.mul_(float("inf"))

    models: list[torch.nn.Module] = []
    original = vision_task.ViT

    def remembered(settings: Any) -> torch.nn.Module:
        models.append(original(settings))
        return models[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vision_task, "ViT", remembered)
        with pytest.raises(DivergenceError, match="step 3"):
            qkv.train(recipe, out=tmp_path / "run", data=images, reporter=Poison())
    assert Run.open(tmp_path / "run").record()["status"] == "diverged"


def test_no_data_named() -> None:
    with pytest.raises(DataError, match="no images were named") as caught:
        qkv.train(tiny(), out=Path("nowhere"))
    assert "--data" in caught.value.remedy


def test_a_patch_that_does_not_fit_the_images(images: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="patch_size 16 does not divide image_size 8"):
        qkv.train(tiny("model.patch_size=16"), out=tmp_path / "run", data=images)
    assert not (tmp_path / "run").exists()


def test_a_full_disk_is_told_before_training(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=2**20))
    with pytest.raises(RunError, match=r"the run needs .* but .* has 1 MiB free"):
        qkv.train(tiny(), out=tmp_path / "run", data=images, reporter=StopAt(1))


def test_bad_files_are_left_out_on_request_only(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qkv.training.train.draw_figures", lambda _: [])
    data = tmp_path / "data"
    shutil.copytree(images, data)
    (data / "blue" / "broken.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"broken\.png"):
        qkv.train(tiny(), out=tmp_path / "run", data=data)
    with pytest.raises(InterruptedRunError):
        qkv.train(tiny(), out=tmp_path / "run", data=data, skip_bad=True, reporter=StopAt(2))
    run = qkv.resume(tmp_path / "run")  # what was left out once is left out again
    (skipped,) = run.record()["data"]["skipped"]
    assert skipped["path"] == "blue/broken.png"
    assert "broken.png" in (run.path / "README.md").read_text()


def test_runs_are_named_after_their_data(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("colours", "colours-2"):
        with pytest.raises(InterruptedRunError):
            qkv.train(tiny(), data=images, reporter=StopAt(1))
        assert (tmp_path / "runs" / name / "run.json").is_file()


def test_the_record_names_the_precision_that_was_used(finished: Run) -> None:
    assert finished.record()["recipe"]["training"]["precision"] in ("auto", "float32")
    assert finished.record()["precision"] in ("float32", "bfloat16")
