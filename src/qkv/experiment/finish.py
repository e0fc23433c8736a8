"""The end of a run: calibrate, test the kept weights, draw, and write the card."""

from __future__ import annotations

from pathlib import Path

from qkv import figures
from qkv.classifiers import load
from qkv.data.dataset import ImageDataset, TextDataset
from qkv.errors import RunError
from qkv.experiment.image_results import finish_vision
from qkv.experiment.text_results import finish_text
from qkv.model_card import model_card
from qkv.runs import Run
from qkv.text.classifier import TextClassifier
from qkv.training.data import Dataset
from qkv.training.progress import Reporter
from qkv.training.recipe import Recipe
from qkv.training.text_recipe import TextRecipe
from qkv.vision.classifier import VisionClassifier


def finish(run: Run, recipe: Recipe, dataset: Dataset, kept_epoch: int, reporter: Reporter) -> None:
    """Make a trained run a finished one."""
    run.update_record(kept_epoch=kept_epoch)
    classifier = load(run, device=recipe.training.device)
    if isinstance(classifier, VisionClassifier) and isinstance(dataset, ImageDataset):
        finish_vision(run, recipe, dataset, classifier)
    elif (
        isinstance(classifier, TextClassifier)
        and isinstance(dataset, TextDataset)
        and isinstance(recipe, TextRecipe)
    ):
        finish_text(run, recipe, dataset, classifier, reporter)
    else:
        raise RunError(f"{run.path}: config and recipe disagree", remedy="restore the folder")
    if "test" in run.record():
        draw_figures(run)
    run.write_card(model_card(run))
    # Last, so that a run stopped before its figures are drawn is not taken for a finished one.
    run.update_record(status="finished")


def draw_figures(run: Run) -> list[Path]:
    """Draw every figure of a run anew from what it has saved."""
    results = {name: tensor.numpy() for name, tensor in run.results().items()}
    return figures.draw_run_figures(run.record(), run.log(), results, run.figures_folder)
