"""Copies of finished runs whose saved predictions are wrong here and there, as real ones are."""

from __future__ import annotations

import shutil
from pathlib import Path

from qkv.runs import Run

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
