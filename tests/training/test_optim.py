"""Optimisers against torch's own, schedules against numbers computed by hand."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
from torch import nn

from qkv.training.optim import MuonWithAdamW, build_optimizer, learning_rate_at, orthogonalise
from qkv.training.training_settings import TrainingSettings
from qkv.vision.vit import ViT, ViTSettings


def settings(**training: Any) -> TrainingSettings:
    return TrainingSettings.parse(training, where="test")


def vit(**changes: Any) -> ViT:
    torch.manual_seed(0)
    values = {
        "image_size": 8, "channels": 1, "num_classes": 3, "patch_size": 4, "dim": 8, "depth": 1,
        "num_heads": 2, "head_dim": 4, "mlp_dim": 16, "qkv_bias": True,
    }  # fmt: skip
    return ViT(ViTSettings.parse({**values, **changes}, where="test"))


def test_only_matrices_and_kernels_decay() -> None:
    for stem in ("linear", "convolutional"):
        model = vit(stem=stem)
        optimizer = build_optimizer(model, settings(optimizer="adamw", weight_decay=0.3))
        assert isinstance(optimizer, torch.optim.AdamW)
        decay = {
            id(p): group["weight_decay"]
            for group in optimizer.param_groups
            for p in group["params"]
        }
        named = dict(model.named_parameters())
        assert len(decay) == len(named)
        spared = {name for name, p in named.items() if decay[id(p)] == 0.0}
        assert spared == {
            name
            for name in named
            if name.endswith("bias") or "norm" in name or name in {"positions", "class_token"}
        }
        assert {decay[id(p)] for name, p in named.items() if name not in spared} == {0.3}


def test_frozen_parameters_are_left_out() -> None:
    model = vit()
    model.stem.requires_grad_(False)
    for name in ("adam", "adamw"):
        optimizer = build_optimizer(model, settings(optimizer=name))
        held = [p for group in optimizer.param_groups for p in group["params"]]
        assert len(held) == len(list(model.parameters())) - 2
    model.requires_grad_(False)
    model.norm.requires_grad_(True)  # nothing left that decays
    assert len(build_optimizer(model, settings(optimizer="adamw")).param_groups) == 1


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (
            {"optimizer": "adam", "learning_rate": 0.002},
            lambda p: torch.optim.Adam(p, lr=0.002),
        ),
        (
            {"optimizer": "adam", "beta1": 0.8, "beta2": 0.95, "weight_decay": 0.5},
            lambda p: torch.optim.Adam(p, lr=1e-3, betas=(0.8, 0.95)),
        ),
        (
            {"optimizer": "adamw", "learning_rate": 0.01, "weight_decay": 0.1, "beta2": 0.99},
            lambda p: torch.optim.AdamW(p, lr=0.01, weight_decay=0.1, betas=(0.9, 0.99)),
        ),
    ],
    ids=["adam", "adam with other betas", "adamw"],
)
def test_steps_are_those_of_plain_torch(ours: dict[str, Any], theirs: Any) -> None:
    one, other = nn.Linear(5, 3, bias=False), nn.Linear(5, 3, bias=False)
    other.load_state_dict(one.state_dict())
    steps = [build_optimizer(one, settings(**ours)), theirs(other.parameters())]
    for seed in range(5):
        x = torch.randn(4, 5, generator=torch.Generator().manual_seed(seed))
        for model, optimizer in zip((one, other), steps, strict=True):
            optimizer.zero_grad()
            model(x).square().sum().backward()
            optimizer.step()
    torch.testing.assert_close(one.weight, other.weight, rtol=1e-6, atol=1e-7)


def test_the_first_adam_step_by_hand() -> None:
    model = nn.Linear(1, 1, bias=False)
    model.weight.data.fill_(2.0)
    optimizer = build_optimizer(model, settings(optimizer="adam", learning_rate=0.1))
    (3.0 * model.weight).sum().backward()
    optimizer.step()  # the moments' corrections cancel: a step of the learning rate
    assert model.weight.item() == pytest.approx(1.9, abs=1e-6)


# --- Muon beside AdamW

MUON = settings(optimizer="muon", learning_rate=0.02, momentum=0.9, weight_decay=0.1, beta2=0.99)
RATES = (0.02, 0.01, 0.005)


def give_gradients(model: nn.Module, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=generator)


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = rate


def test_muon_takes_the_matrices_of_the_blocks_and_adamw_the_rest() -> None:
    model = vit(depth=2, stem="convolutional")
    optimizer = build_optimizer(model, MUON)
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


def test_its_steps_are_those_of_torch_taken_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.Tensor, "bfloat16", torch.Tensor.float)  # of torch's Muon
    ours, apart = vit(depth=2, stem="convolutional"), vit(depth=2, stem="convolutional")
    optimizer = build_optimizer(ours, MUON)
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
        torch.testing.assert_close(
            mine, theirs, rtol=0, atol=1e-5, msg=lambda text, name=name: f"{name}: {text}"
        )
    optimizer.zero_grad(set_to_none=True)
    assert all(p.grad is None for p in ours.parameters())


@pytest.mark.parametrize("shape", [(7, 7), (5, 12), (12, 5), (384, 112), (1, 3)])
def test_singular_values_come_near_one_and_vectors_stay(shape: tuple[int, int]) -> None:
    matrices = torch.randn(3, *shape, generator=torch.Generator().manual_seed(1))
    matrices[1] *= 1e4
    left, values, right = torch.linalg.svd(matrices.double(), full_matrices=False)
    expected = values / values.norm(dim=1, keepdim=True)
    for _ in range(5):
        expected = 3.4445 * expected - 4.7750 * expected**3 + 2.0315 * expected**5
    given = orthogonalise(matrices)
    assert given.dtype == torch.float32
    torch.testing.assert_close(
        given.double(), left @ (expected[:, :, None] * right), rtol=0, atol=1e-4
    )
    if shape == (384, 112):
        assert 0.6 < expected.min() < expected.max() < 1.3


def test_a_matrix_without_gradient_stays_and_a_zero_gradient_gives_numbers() -> None:
    model = vit(depth=2)
    optimizer = build_optimizer(model, MUON)
    give_gradients(model, 0)
    first, second, *_ = optimizer.param_groups[0]["params"]
    before = first.detach().clone()
    first.grad = None
    second.grad = torch.zeros_like(second)
    optimizer.step()
    assert torch.equal(first, before)
    assert second.isfinite().all()


def test_a_saved_state_goes_on_the_same() -> None:
    ours = vit(depth=2, stem="convolutional")
    optimizer = build_optimizer(ours, MUON)
    give_gradients(ours, 0)
    optimizer.step()
    state = copy.deepcopy(optimizer.state_dict())
    other = copy.deepcopy(ours)
    resumed = build_optimizer(other, MUON)
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


# --- the schedule

HALF = 0.5 * (1 + math.cos(math.pi / 4))


@pytest.mark.parametrize(
    ("schedule", "warmup", "total", "expected"),
    [
        ("constant", 0, 4, [1, 1, 1, 1]),
        ("constant", 3, 5, [0.25, 0.5, 0.75, 1, 1]),
        ("linear", 0, 4, [1, 0.75, 0.5, 0.25]),
        ("linear", 1, 5, [0.5, 1, 0.75, 0.5, 0.25]),
        ("cosine", 0, 4, [1, HALF, 0.5, 1 - HALF]),
        ("cosine", 2, 6, [1 / 3, 2 / 3, 1, HALF, 0.5, 1 - HALF]),
        ("linear", 10, 3, [1 / 11, 2 / 11, 3 / 11]),  # a run shorter than its warm-up
        ("cosine", 3, 3, [0.25, 0.5, 0.75]),
    ],
)
def test_schedules_by_hand(schedule: str, warmup: int, total: int, expected: list[float]) -> None:
    at = learning_rate_at(
        settings(schedule=schedule, warmup_steps=warmup, learning_rate=0.2), total
    )
    assert [at(step) for step in range(total)] == pytest.approx([0.2 * value for value in expected])


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_a_schedule_ends_at_zero_and_stays_there(schedule: str) -> None:
    at = learning_rate_at(settings(schedule=schedule, warmup_steps=5), 100)
    assert at(100) == pytest.approx(0.0, abs=1e-12)
    assert at(150) == pytest.approx(0.0, abs=1e-12)
    assert all(at(step) > at(step + 1) > 0 for step in range(5, 98))
