"""What the servers of a contest serve, what they are sent, and what they must answer."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from benchmarks.serving.answers import Scores, difference
from benchmarks.serving.inputs import Inputs, image_inputs, text_inputs
from benchmarks.serving.made_runs import make_text_run, make_vision_run
from benchmarks.serving.pipelines import TextPipeline, VisionPipeline
from benchmarks.serving.servers import Task
from qkv.errors import QKVError

# Of probabilities. Vision is float32 everywhere; the encoder of texts may be bfloat16.
TOLERANCES: dict[Task, float] = {"vision": 1e-3, "text": 0.03}
# Scores of two inputs must be further apart than they may be off, or a swap would not be seen.
LEAST_SPREAD = 2.0


@dataclass(frozen=True)
class Subject:
    """What is served and sent.

    Attributes:
        task: of the run.
        folder: of the run.
        inputs: what is sent.
        expected: the scores of each input, by the baselines' pipeline in this process.
    """

    task: Task
    folder: Path
    inputs: Inputs
    expected: list[dict[str, float]]


def make_subject(task: Task, scratch: Path, count: int, *, made: bool = False) -> Subject:
    """Make a run folder, the inputs, and what is expected of them.

    Args:
        task: which.
        scratch: where the run folder is made.
        count: different inputs.
        made: whether they are made up even where the data are at hand.

    Raises:
        QKVError: the encoder cannot be had, or the answers are too much alike.
    """
    folder = scratch / task
    if task == "vision":
        inputs = image_inputs(count, made=made)
        make_vision_run(folder, inputs.bodies)
        vision = VisionPipeline(folder)
        shares = [vision.probabilities(vision.decode(body)[None])[0] for body in inputs.bodies]
        answers = [vision.answer(share) for share in shares]
    else:
        inputs = text_inputs(count, made=made)
        texts = [json.loads(body)["inputs"] for body in inputs.bodies]
        make_text_run(folder, texts)
        text = TextPipeline(folder)
        answers = [text.answer(text.probabilities([one])[0]) for one in texts]
    expected = [
        {str(entry["label"]): float(entry["score"]) for entry in answer} for answer in answers
    ]
    apart = statistics.median(difference(one, other) for one, other in pairwise(expected))
    if apart < LEAST_SPREAD * TOLERANCES[task]:
        raise QKVError(
            f"answers to two inputs differ by only {apart:.2g}",
            remedy="serve a model whose answers tell inputs apart",
        )
    return Subject(task, folder, inputs, expected)


def require_same_scores(name: str, subject: Subject, scores: Sequence[Scores]) -> float:
    """See that a server gives the expected scores.

    Returns:
        The greatest difference of any score.

    Raises:
        QKVError: it exceeds the tolerance of the task.
    """
    tolerance = TOLERANCES[subject.task]
    pairs = zip(scores, subject.expected, strict=True)
    worst = max(difference(found, expected) for found, expected in pairs)
    if worst > tolerance:
        raise QKVError(
            f"{name} answers {subject.task} inputs with scores that are off by {worst:.2g}, more "
            f"than {tolerance:g}",
            remedy="mend the one that is wrong before timing any",
        )
    return worst
