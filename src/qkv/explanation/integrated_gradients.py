"""Integrated gradients, and the score of a class whose gradients are taken."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from qkv.explanation.faithfulness import FloatArray


def integrated_gradients(
    score: Callable[[list[Tensor]], Tensor],
    starts: Sequence[Tensor],
    ends: Sequence[Tensor],
    *,
    steps: int,
    points_at_once: int,
) -> tuple[list[FloatArray], float]:
    """(e − s) · ∫₀¹ ∇F(s + α (e − s)) dα, the share of each entry in F(e) − F(s).

    Sundararajan, Taly and Yan, "Axiomatic attribution for deep networks", ICML 2017, eq. 1. The
    shares come to the difference as steps grow (completeness). The integral is by Gauss and
    Legendre, exact where the gradient is a polynomial of degree below twice the steps.

    Args:
        score: F, from (points, …) of each part of the input to one number a point, (points,).
        starts: s, (1, …) of each part.
        ends: e, likewise.
        steps: points of the integral, at least one.
        points_at_once: how many are computed together.

    Returns:
        Float64 shares of each part, without its first axis; and the convergence delta: their sum
        less F(e) − F(s), the error of the steps.

    Raises:
        ValueError: there is no step.
    """
    nodes, weights = np.polynomial.legendre.leggauss(steps)
    moves = [(end - start).detach() for start, end in zip(starts, ends, strict=True)]
    # From −1 … 1 to 0 … 1.
    alphas = torch.from_numpy((nodes + 1) / 2).to(moves[0])
    shares = torch.from_numpy(weights / 2).to(moves[0])
    totals = [np.zeros(tuple(move.shape[1:])) for move in moves]
    # Of torch's recurrent networks cuDNN knows gradients only while they train.
    with torch.inference_mode(mode=False), torch.backends.cudnn.flags(enabled=False):
        for first in range(0, steps, points_at_once):
            alpha, share = (x[first : first + points_at_once] for x in (alphas, shares))
            points = [
                (start + alpha.view(-1, *[1] * (move.ndim - 1)) * move).detach().requires_grad_()
                for start, move in zip(starts, moves, strict=True)
            ]
            with torch.enable_grad():
                slopes = torch.autograd.grad(score(points).sum(), points)
            for total, slope in zip(totals, slopes, strict=True):
                total += torch.tensordot(share, slope, dims=1).cpu().double().numpy()
        with torch.no_grad():
            difference = (score(list(ends)) - score(list(starts))).item()
    values = [
        total * move[0].cpu().double().numpy() for total, move in zip(totals, moves, strict=True)
    ]
    return values, sum(float(value.sum()) for value in values) - difference


def log_odds(logits: Float[Tensor, "batch classes"], label: int) -> Float[Tensor, " batch"]:
    """The log odds log p/(1 − p) of a class: its logit less the log-sum-exp of the others.

    A probability near 1 has almost no gradient, and a logit alone ignores the other classes.
    """
    others = torch.cat([logits[:, :label], logits[:, label + 1 :]], dim=1)
    return logits[:, label] - others.logsumexp(dim=1)
