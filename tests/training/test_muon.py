"""Muon beside AdamW: the same steps as torch's two optimisers taken apart, saved and put back."""

from __future__ import annotations

import copy

import torch
from torch import nn

from qkv.training.muon import MuonWithAdamW
from qkv.training.optimizers import build_optimizer
from qkv.training.recipe import TrainingSettings
from qkv.vision.vit import ViT, ViTSettings

SETTINGS = TrainingSettings(
    optimizer="muon", learning_rate=0.02, momentum=0.9, weight_decay=0.1, beta2=0.99
)
RATES = (0.02, 0.01, 0.005)


def vit() -> ViT:
    torch.manual_seed(0)
    return ViT(
        ViTSettings(
            image_size=8,
            channels=1,
            num_classes=3,
            patch_size=4,
            dim=8,
            depth=2,
            num_heads=2,
            head_dim=4,
            mlp_dim=16,
            stem="convolutional",
        )
    )


def give_gradients(model: nn.Module, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=generator)


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = rate


def test_muon_takes_the_matrices_of_the_blocks_and_adamw_the_rest() -> None:
    model = vit()
    optimizer = build_optimizer(model, SETTINGS)
    assert isinstance(optimizer, MuonWithAdamW)
    muon, *others = optimizer.param_groups
    named = {id(p): name for name, p in model.named_parameters()}
    assert {named[id(p)] for p in muon["params"]} == {
        f"blocks.{block}.{name}.weight"
        for block in range(2)
        for name in ("attention.qkv", "attention.output", "mlp.0", "mlp.3")
    }
    held = [id(p) for group in optimizer.param_groups for p in group["params"]]
    assert sorted(held) == sorted(named)
    assert muon["weight_decay"] == 0.1
    assert [group["weight_decay"] for group in others] == [0.1, 0.0]


def test_its_steps_are_those_of_torch_taken_apart() -> None:
    ours, apart = vit(), vit()
    optimizer = build_optimizer(ours, SETTINGS)
    inside = {n: p for n, p in apart.named_parameters() if n.startswith("blocks.") and p.ndim == 2}
    outside = {n: p for n, p in apart.named_parameters() if n not in inside}
    decayed = [
        p for n, p in outside.items() if p.ndim > 1 and n not in ("positions", "class_token")
    ]
    spared = [p for p in outside.values() if all(p is not q for q in decayed)]
    two = (
        torch.optim.Muon(
            list(inside.values()), momentum=0.9, weight_decay=0.1, adjust_lr_fn="match_rms_adamw"
        ),
        torch.optim.AdamW(
            [{"params": decayed}, {"params": spared, "weight_decay": 0.0}],
            weight_decay=0.1,
            betas=(0.9, 0.99),
        ),
    )
    for seed, rate in enumerate(RATES):
        give_gradients(ours, seed)
        give_gradients(apart, seed)
        for one in (optimizer, *two):
            set_rate(one, rate)
            one.step()
    for (name, mine), theirs in zip(ours.named_parameters(), apart.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, msg=lambda text, name=name: f"{name}: {text}")
    optimizer.zero_grad(set_to_none=True)
    assert all(p.grad is None for p in ours.parameters())


def test_a_saved_state_goes_on_the_same() -> None:
    ours = vit()
    optimizer = build_optimizer(ours, SETTINGS)
    give_gradients(ours, 0)
    optimizer.step()
    state = copy.deepcopy(optimizer.state_dict())
    other = copy.deepcopy(ours)
    resumed = build_optimizer(other, SETTINGS)
    resumed.load_state_dict(state)
    for model, one in ((ours, optimizer), (other, resumed)):
        for seed, rate in enumerate(RATES, start=1):
            give_gradients(model, seed)
            set_rate(one, rate)
            one.step()
    for mine, theirs in zip(ours.parameters(), other.parameters(), strict=True):
        assert torch.equal(mine, theirs)
    held = [p for group in resumed.param_groups for p in group["params"]]
    assert set(resumed.state) == set(held)
