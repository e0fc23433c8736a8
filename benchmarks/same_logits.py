"""The gate of the text benchmarks' training: both sides are the same function of a text."""

from __future__ import annotations

import torch
from torch import Tensor

from benchmarks.plain_text import PlainTextTraining
from benchmarks.text_recipe_training import TextRecipeTraining
from qkv.data.dataset import IntArray, TextSplit
from qkv.errors import QKVError
from qkv.text.text_encoder import TextEncoder

FLOAT32_TOLERANCE = 1e-5
# Of the spread of the logits: texts mistaken for each other give 1.4, bfloat16 a few hundredths.
TIMED_TOLERANCE = 0.25


def require_same_logits(
    head: str,
    plain: PlainTextTraining,
    qkv: TextRecipeTraining,
    exact: TextEncoder,
    sample: TextSplit,
    indices: IntArray,
) -> dict[str, float]:
    """Give the plain head qkv's weights and compare the logits of some texts, without dropout.

    The plain side reads each text alone, where nothing is padded and its missing mask does no
    harm. qkv reads them all in one batch: in float32 throughout, and as it is timed.

    Args:
        head: what the head is called in an error.
        plain: the baseline's training.
        qkv: qkv's training, as it is timed.
        exact: qkv's encoder in float32.
        sample: the texts of both trainings.
        indices: which of them to compare; their logits must not be all the same.

    Returns:
        `float32_difference`, the greatest of two logits, and `timed_relative_difference`, the root
        of the mean square over the logits' standard deviation between texts.

    Raises:
        QKVError: the first exceeds 1e-5 or the second 0.25.
    """
    # Both name their weights alike.
    plain.head.load_state_dict(qkv.model.head.state_dict())
    plain.head.eval()
    with torch.no_grad():
        theirs = torch.cat([plain.logits(indices[i : i + 1]) for i in range(len(indices))]).cpu()
    states = dict(exact.encode(exact.prepare([sample.texts[index] for index in indices])))
    in_order = [states[place].float() for place in range(len(indices))]
    in_float32 = float(_differences(qkv.logits_of(in_order), theirs).abs().max())
    timed = _differences(qkv.logits(indices), theirs)
    as_timed = float(timed.square().mean().sqrt() / theirs.std(correction=0))
    # Written so that NaN fails too.
    if not (in_float32 <= FLOAT32_TOLERANCE and as_timed <= TIMED_TOLERANCE):
        raise QKVError(
            f"logits of the plain {head} head and of qkv's differ by {in_float32:.2g} in float32 "
            f"and by {as_timed:.1%} of their spread as timed, at equal weights",
            remedy="mend the one that is wrong before timing either",
        )
    return {"float32_difference": in_float32, "timed_relative_difference": as_timed}


def _differences(ours: Tensor, theirs: Tensor) -> Tensor:
    """Of two classes' logits (texts, 2) from one logit (texts,)."""
    return ours[:, 1] - ours[:, 0] - theirs
