"""How faithful the explanations of a run are, by method, over a sample of its test split.

The document:

| key | value |
|---|---|
| `task`, `example` | `vision` or `text`, `image` or `text` |
| `data` | where the examples are from, in words |
| `examples`, `seed` | how many were explained, and what chose them |
| `default_method` | the one that is used where none is named |
| `methods` | by name: `score` and `random_score` (means of those of `Faithfulness`), |
|  | `deletion_area` and `random_deletion_area` (likewise), `beats_random` (share of examples |
|  | whose deletion beats that of random orders), `beats_random_interval_95` (Wilson), |
|  | `median_seconds` (of an explanation, its faithfulness not counted) |
"""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from qkv.errors import DataError, RecipeError
from qkv.evaluation.evaluate import labelled_examples
from qkv.evaluation.metrics import wilson_interval
from qkv.explanation.explain import default_method, explain, methods_of
from qkv.explanation.explanation import Explanation, chosen_method
from qkv.loading import load
from qkv.progress import Reporter
from qkv.runs import Run

SAMPLE = 100


def evaluate_explanations(
    run: Path,
    *,
    data: Path | None = None,
    methods: Sequence[str] | None = None,
    sample: int = SAMPLE,
    seed: int = 0,
    skip_bad: bool = False,
    columns: Mapping[str, str] | None = None,
    reporter: Reporter | None = None,
) -> dict[str, Any]:
    """The document that this module describes.

    Every example is explained for the class that the model predicts.

    Args:
        run: the run folder.
        data: labelled images or texts, or where the run's own data set is now; None: the run's
            own test split.
        methods: which; all if None.
        sample: how many examples, or as many as there are.
        seed: chooses the examples, and the random orders that methods are compared with.
        skip_bad: leave out files or rows that cannot be used.
        columns: `text_column` and `label_column` of a table, where they are not the recipe's.
        reporter: receives progress.

    Raises:
        RecipeError: a method is unknown to this task.
        QKVError: something else that the user can mend.
    """
    if sample < 1:
        raise RecipeError(f"a sample of {sample}", remedy="ask for at least one example")
    reporter = reporter or Reporter()
    opened = Run.open(run)
    classifier = load(opened, device="auto")
    known, default = methods_of(classifier), default_method(classifier)
    asked = known if methods is None else methods
    names = list(dict.fromkeys(chosen_method(name, known, default) for name in asked))
    if not names:
        raise RecipeError("no method is named", remedy=f"name some of {', '.join(known)}")
    examples = labelled_examples(
        opened, classifier, data, skip_bad=skip_bad, columns=columns or {}, reporter=reporter
    )
    split = examples.split
    if not len(split):
        raise DataError(f"{examples.source} holds no example", remedy="name others with --data")
    random = np.random.default_rng(seed)
    chosen = np.sort(random.choice(len(split), min(sample, len(split)), replace=False))
    progress = reporter.progress("explain", "explanations")
    total = len(chosen) * len(names)
    progress(0, total)
    explained: dict[str, list[Explanation]] = {name: [] for name in names}
    # One example after the other, so that what the classifier remembers of it serves all methods.
    for done, (number, name) in enumerate(itertools.product(chosen.tolist(), names), start=1):
        given = split.input(number)
        # A seed an example: random orders must not be the same for all images of a size.
        own_seed = int(np.random.SeedSequence([seed, number]).generate_state(1)[0])
        explained[name].append(explain(classifier, given, method=name, seed=own_seed))
        progress(done, total)
    return {
        "task": classifier.task,
        "example": split.example,
        "data": examples.source,
        "examples": len(chosen),
        "seed": seed,
        "default_method": default,
        "methods": {name: summary(explanations) for name, explanations in explained.items()},
    }


def summary(explanations: Sequence[Explanation]) -> dict[str, Any]:
    """The entry of one method, of at least one explanation."""
    measured = [explanation.faithfulness for explanation in explanations]
    beating = sum(one.beats_random for one in measured)
    return {
        "score": statistics.fmean(one.score for one in measured),
        "random_score": statistics.fmean(one.random_score for one in measured),
        "deletion_area": statistics.fmean(one.deletion_area for one in measured),
        "random_deletion_area": statistics.fmean(one.random_deletion_area for one in measured),
        "beats_random": beating / len(measured),
        "beats_random_interval_95": list(wilson_interval(beating, len(measured))),
        "median_seconds": statistics.median(one.seconds for one in explanations),
    }
