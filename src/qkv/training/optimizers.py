"""Optimisers and the step-size schedule."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from qkv.training.muon import MuonWithAdamW
from qkv.training.recipe import TrainingSettings

# Parameters that hold an embedding rather than a map; decaying them only blurs where things are.
EMBEDDING_NAMES = ("positions", "class_token")


def build_optimizer(model: nn.Module, settings: TrainingSettings) -> torch.optim.Optimizer:
    """The optimiser of the settings over the trainable parameters of `model`.

    AdamW decays matrices and kernels only: not norms, biases, positions or class token. Muon takes
    the matrices of the blocks, and AdamW the rest.
    """
    named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    if settings.optimizer == "adam":
        return torch.optim.Adam(
            _by_learning_rate(named, settings, weight_decay=0.0),
            lr=settings.learning_rate,
            betas=(settings.beta1, settings.beta2),
            fused=True,
        )
    if settings.optimizer == "adamw":
        return _adamw(named, settings)
    return MuonWithAdamW(
        [p for name, p in named if _is_block_matrix(name, p)],
        _adamw([(name, p) for name, p in named if not _is_block_matrix(name, p)], settings),
        learning_rate=settings.learning_rate,
        momentum=settings.momentum,
        weight_decay=settings.weight_decay,
    )


def _adamw(named: list[tuple[str, nn.Parameter]], settings: TrainingSettings) -> torch.optim.AdamW:
    decayed = [(name, p) for name, p in named if _decays(name, p)]
    spared = [(name, p) for name, p in named if not _decays(name, p)]
    return torch.optim.AdamW(
        [
            *_by_learning_rate(decayed, settings, weight_decay=settings.weight_decay),
            *_by_learning_rate(spared, settings, weight_decay=0.0),
        ],
        lr=settings.learning_rate,
        betas=(settings.beta1, settings.beta2),
        fused=True,
    )


def _by_learning_rate(
    named: list[tuple[str, nn.Parameter]], settings: TrainingSettings, *, weight_decay: float
) -> list[dict[str, Any]]:
    """Groups of parameters that share a step size."""
    groups: dict[float, list[nn.Parameter]] = {}
    for name, parameter in named:
        groups.setdefault(settings.learning_rate_factor(name), []).append(parameter)
    return [
        {"params": members, "weight_decay": weight_decay, "learning_rate_factor": factor}
        for factor, members in groups.items()
    ]


def _is_block_matrix(name: str, parameter: nn.Parameter) -> bool:
    return parameter.ndim == 2 and name.startswith("blocks.")


def _decays(name: str, parameter: nn.Parameter) -> bool:
    return parameter.ndim > 1 and name.rpartition(".")[2] not in EMBEDDING_NAMES


def learning_rate_at(settings: TrainingSettings, total_steps: int) -> Callable[[int], float]:
    """The step size of each step, counted from 0, in a run of `total_steps`.

    Warm-up grows linearly and reaches the peak at step `warmup_steps`; after it the factor is 1,
    1 − p or (1 + cos(πp))/2 with p the share of the remaining steps that are done.
    """
    warmup = settings.warmup_steps
    shape: dict[str, Callable[[float], float]] = {
        "constant": lambda _: 1.0,
        "linear": lambda p: 1.0 - p,
        "cosine": lambda p: 0.5 * (1.0 + math.cos(math.pi * p)),
    }
    after_warmup = shape[settings.schedule]

    def at(step: int) -> float:
        if step < warmup:
            return settings.learning_rate * (step + 1) / (warmup + 1)
        progress = (step - warmup) / max(1, total_steps - warmup)
        return settings.learning_rate * after_warmup(min(1.0, progress))

    return at
