"""What a trained Vision Transformer is worth: temperature, test, and what its figures show."""

from __future__ import annotations

import torch
from torch import Tensor

from qkv.data.dataset import ImageDataset, ImageSplit
from qkv.evaluation.metrics import evaluate_predictions
from qkv.runs import Run
from qkv.temperature import fit_temperature
from qkv.training.recipe import Recipe
from qkv.vision.classifier import VisionClassifier

SAMPLES, MISTAKES = 3, 16


def finish_vision(
    run: Run, recipe: Recipe, dataset: ImageDataset, classifier: VisionClassifier
) -> None:
    """Fit the temperature, test, and save both."""
    classifier.temperature = 1.0
    if recipe.training.calibrate and dataset.validation is not None:
        raw = classifier.predict_logits(dataset.validation)
        classifier.temperature = fit_temperature(raw.numpy(), dataset.validation.labels)
    run.update_config(temperature=classifier.temperature)
    if dataset.test is None:
        return
    logits = classifier.predict_logits(dataset.test)
    run.save_results(_image_results(logits, dataset.test))
    document = evaluate_predictions(logits.numpy(), dataset.test.labels, classifier.class_names)
    record = run.record()
    same = {key: record[key] for key in ("parameters", "train_seconds", "seed")}
    run.update_record(test={**document, **same})


def _image_results(logits: Tensor, test: ImageSplit) -> dict[str, Tensor]:
    labels = torch.from_numpy(test.labels)
    confidence, predicted = logits.softmax(dim=1).max(dim=1)
    wrong = torch.nonzero(predicted != labels)[:, 0]
    mistakes = wrong[confidence[wrong].argsort(descending=True, stable=True)][:MISTAKES]
    samples = torch.arange(min(SAMPLES, len(labels)))
    return {
        "test_logits": logits,
        "test_labels": labels,
        "sample_indices": samples,
        "sample_images": torch.from_numpy(test.take(samples.numpy())),
        "mistake_indices": mistakes,
        "mistake_images": torch.from_numpy(test.take(mistakes.numpy())),
    }
