"""The score whose gradients explain a class."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def log_odds(logits: Float[Tensor, "batch classes"], label: int) -> Float[Tensor, " batch"]:
    """The log odds log p/(1 − p) of a class: its logit less the log-sum-exp of the others.

    A probability near 1 hardly moves, and so has hardly a gradient, however much speaks for it; and
    a logit alone says nothing of the classes it stands against. The log odds have neither fault.

    Args:
        logits: at least two classes.
        label: the class.
    """
    others = torch.cat([logits[:, :label], logits[:, label + 1 :]], dim=1)
    return logits[:, label] - others.logsumexp(dim=1)
