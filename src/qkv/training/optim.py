"""Adam, AdamW, Muon beside AdamW, and the step-size schedule."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.optim.optimizer import StateDict

from qkv.training.training_settings import TrainingSettings

# Parameters that hold an embedding rather than a map; decaying them only blurs where things are.
EMBEDDING_NAMES = ("positions", "class_token")

# Of ax + bx³ + cx⁵, which lifts small singular values fast and keeps large ones near 1 (Jordan).
_QUINTIC = (3.4445, -4.7750, 2.0315)
_QUINTIC_STEPS = 5


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


class MuonWithAdamW(torch.optim.Optimizer):
    """Muon for some matrices and AdamW for all other parameters, behind one `Optimizer` interface.

    Muon replaces a matrix's momentum by a nearly orthogonal matrix, so that every direction learns
    at the same pace (Jordan et al. 2024, "Muon: an optimizer for hidden layers"). Its step is
    scaled to the size of an AdamW step (Liu et al. 2025, "Muon is scalable for LLM training"), so
    one learning rate serves both.

    Args:
        matrices: parameters of two dimensions, for Muon.
        adamw: the optimiser of all other parameters; its groups and state are taken over.
        learning_rate: step size.
        momentum: decay of Muon's momentum, a step.
        weight_decay: decoupled decay of the matrices.
    """

    def __init__(
        self,
        matrices: list[nn.Parameter],
        adamw: torch.optim.AdamW,
        *,
        learning_rate: float,
        momentum: float,
        weight_decay: float,
    ) -> None:
        muon = {
            "params": matrices,
            "lr": learning_rate,
            "momentum": momentum,
            "weight_decay": weight_decay,
        }
        self._adamw = adamw
        super().__init__([muon, *adamw.param_groups], {})
        self._share()

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """One step of both; a closure is not supported."""
        assert closure is None
        self._step_matrices(self.param_groups[0])
        self._adamw.step()

    def load_state_dict(self, state_dict: StateDict) -> None:
        """Take over a state saved by `state_dict`."""
        super().load_state_dict(state_dict)
        self._share()

    def _share(self) -> None:
        """Let AdamW work on the groups and the state that this optimiser shows and saves."""
        self._adamw.param_groups = self.param_groups[1:]
        self._adamw.state = self.state

    def _step_matrices(self, group: dict[str, Any]) -> None:
        by_shape: dict[torch.Size, list[Tensor]] = {}
        for matrix in group["params"]:
            if matrix.grad is not None:
                by_shape.setdefault(matrix.shape, []).append(matrix)
                if not self.state[matrix]:
                    self.state[matrix]["momentum_buffer"] = torch.zeros_like(matrix)
        rate, momentum = group["lr"], group["momentum"]
        for shape, matrices in by_shape.items():
            gradients = [matrix.grad for matrix in matrices if matrix.grad is not None]
            averages = [self.state[matrix]["momentum_buffer"] for matrix in matrices]
            torch._foreach_lerp_(averages, gradients, 1 - momentum)
            nesterov = torch._foreach_lerp(gradients, averages, momentum)
            updates = orthogonalise(torch.stack(nesterov)).unbind()
            torch._foreach_mul_(matrices, 1 - rate * group["weight_decay"])
            torch._foreach_add_(matrices, updates, alpha=-0.2 * math.sqrt(max(shape)) * rate)


def orthogonalise(matrices: Float[Tensor, "n rows columns"]) -> Float[Tensor, "n rows columns"]:
    """Matrices with the same singular vectors and singular values of about 1 (0.7 to 1.2).

    By five Newton–Schulz iterations on all matrices at once, in bfloat16 on CUDA and in float32
    elsewhere: processors that emulate bfloat16 need twenty times as long for it.
    """
    a, b, c = _QUINTIC
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.mT.contiguous() if tall else matrices  # the smaller Gram matrix
    if matrices.is_cuda:
        x = x.bfloat16()
    # The spectral norm is at most the Frobenius norm.
    x = x / x.flatten(1).norm(dim=1).clamp(min=1e-7)[:, None, None]
    for _ in range(_QUINTIC_STEPS):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return (x.mT if tall else x).to(matrices.dtype)


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
