"""No gradient of ours pretends that its own gradient is zero."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from qkv.attention.linear import linear_attention
from qkv.attention.multihead_cpu import Dropout, short_multihead_attention
from qkv.errors import QKVError
from qkv.recurrence.scan import recurrence_scan
from qkv.text.gru import Packing, last_gru_states
from qkv.vision.vit import MLP

SOURCE = Path(__file__).parents[1] / "src" / "qkv"


def gru(x: Tensor) -> Tensor:
    packing = Packing.of(torch.ones(x.shape[:2], dtype=torch.bool))
    module = nn.GRU(4, 3, batch_first=True, bidirectional=True)
    return last_gru_states(module, packing.pack(x), packing)


# Each of a tensor of (2, 6, 4).
FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "linear attention": lambda x: linear_attention(x, x, x),
    "causal linear attention": lambda x: linear_attention(x, x, x, is_causal=True),
    "short attention": lambda x: short_multihead_attention(
        x, torch.ones(12, 4), None, torch.ones(4, 4), torch.ones(4), 2
    ),
    "MLP": MLP(4, 8, 0.0),
    "dropout": lambda x: Dropout(0.5)(x) ** 2,
    "scan": lambda x: recurrence_scan(x, x.sigmoid(), dim=1),
    "GRU": gru,
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_penalty_on_the_gradient_raises(name: str) -> None:
    x = torch.randn(2, 6, 4, generator=torch.Generator().manual_seed(0)).requires_grad_()
    total = FUNCTIONS[name](x).sum()  # the gradient that comes in is a constant
    (once,) = torch.autograd.grad(total, x, retain_graph=True)
    assert once.any()
    with pytest.raises(QKVError, match="no second derivative; differentiate it without create"):
        torch.autograd.grad(total, x, create_graph=True)


def test_no_other_guard_is_used() -> None:
    sources = [path.read_text("utf-8") for path in SOURCE.rglob("*.py")]
    functions = sum(text.count("(torch.autograd.Function)") for text in sources)
    guards = sum(text.count("    @without_second_derivative(") for text in sources)
    assert functions == guards == len(FUNCTIONS) - 1  # linear attention has one for both forms
    assert not any("import once_differentiable" in text for text in sources)


def test_autocast_leaves_float64_alone() -> None:
    x = torch.randn(2, 6, 4, dtype=torch.float64)
    mlp = MLP(4, 8, 0.0).double()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(mlp(x), mlp[3](mlp[1](mlp[0](x))))
        assert mlp.float()(x.float()).dtype == torch.bfloat16
