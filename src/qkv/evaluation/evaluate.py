"""Evaluating a finished run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from qkv.classifiers import load
from qkv.evaluation.metrics import evaluate_predictions
from qkv.runs import Run
from qkv.training.data import load_dataset, test_split
from qkv.training.progress import Reporter, Silent
from qkv.training.recipe import parse_recipe
from qkv.vision.folder import load_labelled_images


def evaluate(
    path: Path | str,
    *,
    data: Path | str | None = None,
    skip_bad: bool = False,
    reporter: Reporter | None = None,
) -> dict[str, Any]:
    """The evaluation document of a run on its own test split, or on the images of a folder.

    Raises:
        QKVError: something the user can mend.
    """
    reporter = reporter or Silent()
    run = Run.open(path)
    classifier = load(run, device="auto")
    record = run.record()
    recipe = parse_recipe(record["recipe"], where=str(run.path / "run.json"))
    if data is not None and recipe.data.dataset == "folder":
        test, _ = load_labelled_images(
            data,
            classifier.class_names,
            image_size=classifier.preprocessing.image_size,
            channels=classifier.preprocessing.channels,
            skip_bad=skip_bad,
            progress=reporter.data,
        )
    else:
        folder = data if data is not None else record["data"]["folder"]
        known_bad = skip_bad or bool(record["data"]["skipped"])
        test = test_split(load_dataset(recipe, folder, skip_bad=known_bad, progress=reporter.data))
    logits = classifier.predict_logits(test).numpy()
    return evaluate_predictions(logits, test.labels, classifier.class_names)
