"""All figures of a run, from what the run saved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from qkv.evaluation.metrics import log_softmax
from qkv.figures.calibration import draw_accuracy_by_length, draw_reliability
from qkv.figures.confusion import draw_confusion
from qkv.figures.curves import draw_curves
from qkv.figures.predictions import draw_mistakes, draw_predictions
from qkv.figures.style import save_figure

# numpy arrays of any type, by tensor name
Tensors = Mapping[str, npt.NDArray[Any]]

_SOME_HAVE = {"predictions", "mistakes", "lengths"}


def draw_run_figures(
    record: Mapping[str, Any], log: Sequence[Mapping[str, Any]], results: Tensors, folder: Path
) -> list[Path]:
    """Draw a run into `folder`: curves, confusion, reliability, and what images or texts call for.

    What a run does not have is left out, and such a figure of an earlier drawing is removed.

    Args:
        record: run.json.
        log: the lines of log.jsonl.
        results: the tensors of results.safetensors.
        folder: where the figures go; made if it is not there.

    Returns:
        The files written, PNG and SVG of each figure in turn.

    Raises:
        ShapeError: the results disagree with the record.
    """
    steps = [line for line in log if line.get("event") == "step"]
    figures = {"curves": draw_curves(steps, record.get("epochs") or [])}
    test = record.get("test")
    class_names = record["data"]["class_names"]
    if test:
        figures["confusion"] = draw_confusion(test["confusion_matrix"], class_names)
        figures["reliability"] = draw_reliability(test["calibration"])
    figures |= _image_figures(results, class_names)
    if test and "by_length" in test:
        figures["lengths"] = draw_accuracy_by_length(test["by_length"])
    if record.get("mistakes"):
        # Here: a run on images does not need the layout of texts.
        from qkv.figures.text_mistakes import draw_text_mistakes

        figures["mistakes"] = draw_text_mistakes(record["mistakes"], class_names)
    for name in _SOME_HAVE.difference(figures):
        for suffix in ("png", "svg"):
            (folder / f"{name}.{suffix}").unlink(missing_ok=True)
    return [path for name, drawn in figures.items() for path in save_figure(drawn, folder, name)]


def _image_figures(results: Tensors, class_names: Sequence[str]) -> dict[str, Figure]:
    figures = {}
    for name, draw, kind in (
        ("predictions", draw_predictions, "sample"),
        ("mistakes", draw_mistakes, "mistake"),
    ):
        chosen = results.get(f"{kind}_indices")
        images = results.get(f"{kind}_images")
        if chosen is None or images is None or len(chosen) == 0:
            continue
        labels = results["test_labels"][chosen]
        probabilities = np.exp(log_softmax(results["test_logits"][chosen]))
        figures[name] = draw(images, labels, probabilities, class_names)
    return figures
