"""The integral that integrated gradients are made of."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor


def path_integral(
    score: Callable[[list[Tensor]], Tensor],
    starts: Sequence[Tensor],
    ends: Sequence[Tensor],
    *,
    steps: int,
    points_at_once: int,
) -> list[Tensor]:
    """(e − s) · ∫₀¹ ∇F(s + α (e − s)) dα, the share of each row in F(e) − F(s).

    Sundararajan, Taly and Yan, "Axiomatic attribution for deep networks", ICML 2017. The shares
    come to the difference as steps grow. The integral is by Gauss and Legendre, exact where the
    gradient is a polynomial of degree below twice the steps.

    Args:
        score: F, from (points, rows, width) of each part to one number a point, (points,).
        starts: s, (1, rows, width) of each part.
        ends: e, likewise.
        steps: points of the integral.
        points_at_once: how many are computed together.

    Returns:
        Float64 (rows,) of each part.

    Raises:
        ValueError: there is no step.
    """
    nodes, weights = np.polynomial.legendre.leggauss(steps)
    moves = [(end - start).detach() for start, end in zip(starts, ends, strict=True)]
    # From −1 … 1 to 0 … 1.
    alphas = torch.from_numpy((nodes + 1) / 2).to(moves[0])
    shares = torch.from_numpy(weights / 2).to(moves[0])
    sums = [torch.zeros_like(move[0]) for move in moves]
    for first in range(0, steps, points_at_once):
        alpha = alphas[first : first + points_at_once, None, None]
        share = shares[first : first + points_at_once]
        points = [
            (start + alpha * move).detach().requires_grad_(True)
            for start, move in zip(starts, moves, strict=True)
        ]
        # Of torch's recurrent networks cuDNN knows gradients only while they train.
        with torch.enable_grad(), torch.backends.cudnn.flags(enabled=False):
            slopes = torch.autograd.grad(score(points).sum(), points)
        for total, slope in zip(sums, slopes, strict=True):
            total += torch.einsum("p,prw->rw", share, slope)
    return [
        (total.double() * move[0].double()).sum(dim=1)
        for total, move in zip(sums, moves, strict=True)
    ]


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
