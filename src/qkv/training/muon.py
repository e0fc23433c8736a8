"""Muon for the matrices inside the blocks, AdamW for everything else, as one optimiser."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.optim.optimizer import StateDict


class MuonWithAdamW(torch.optim.Optimizer):
    """Two optimisers behind one face: one list of groups, one state, one step.

    Muon replaces a matrix's momentum by the nearest orthogonal matrix, so that every direction
    learns at the same pace (Jordan et al. 2024, "Muon: an optimizer for hidden layers"). Its step
    is scaled to the size of an AdamW step (Liu et al. 2025, "Muon is scalable for LLM training"),
    so one learning rate serves both.

    Args:
        matrices: parameters of two dimensions, for Muon.
        adamw: the optimiser of all other parameters; its groups and state are taken over.
        learning_rate: step size.
        momentum: decay of Muon's momentum, a step.
        weight_decay: decoupled decay of the matrices.
    """

    def __init__(
        self,
        matrices: list[torch.nn.Parameter],
        adamw: torch.optim.AdamW,
        *,
        learning_rate: float,
        momentum: float,
        weight_decay: float,
    ) -> None:
        self._muon = torch.optim.Muon(
            matrices,
            lr=learning_rate,
            momentum=momentum,
            weight_decay=weight_decay,
            adjust_lr_fn="match_rms_adamw",
        )
        self._adamw = adamw
        super().__init__([*self._muon.param_groups, *adamw.param_groups], {})
        self._share()

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """One step of both; a closure is not supported."""
        assert closure is None
        self._muon.step()  # type: ignore[no-untyped-call]
        self._adamw.step()

    def load_state_dict(self, state_dict: StateDict) -> None:
        """Take over a state saved by `state_dict`."""
        super().load_state_dict(state_dict)
        self._share()

    def _share(self) -> None:
        """Let both work on the groups and the state that this optimiser shows and saves."""
        muon_groups = len(self._muon.param_groups)
        parts: list[tuple[Any, slice]] = [
            (self._muon, slice(muon_groups)),
            (self._adamw, slice(muon_groups, None)),
        ]
        for optimizer, part in parts:
            optimizer.param_groups = self.param_groups[part]
            optimizer.state = self.state
