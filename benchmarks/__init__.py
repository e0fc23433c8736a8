"""Named measurements, each of which pairs qkv with its baseline in one process."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from qkv.errors import RecipeError
from qkv.progress import Progress

CASES = {
    "attention": "linear attention at 16,384 tokens: plain softmax, torch's fused softmax, qkv",
    "scan": "all states of a recurrence of 2^20 steps: Python loop, cumulative sum, scan",
    "vit-step": "time an image in a training step: plain ViT, qkv at its settings, the fast recipe",
    "vit-time-to-accuracy": (
        "seconds of training until 84.97 % on Fashion-MNIST: plain ViT, the fast recipe"
    ),
    "encode": "tokens a second from texts to states: the pipeline of transformers, qkv",
    "text-epoch": (
        "an epoch of a sentiment head: encoder and head every epoch, qkv from stored states"
    ),
    "serve": "requests a second at equal p99: plain FastAPI, LitServe, qkv serve",
    "serve-overload": "qkv serve at ten times its peak for a minute: goodput, refusals, memory",
}
"""What each compares, in one line."""


def run(name: str, *, quick: bool = False, progress: Progress | None = None) -> dict[str, Any]:
    """Measure a case.

    Args:
        name: a key of `CASES`.
        quick: the smallest version, to see that it runs; its figures mean nothing.
        progress: called with (done, total), in the case's own units.

    Returns:
        `{"case", "ratios": {…}, "figures": {…}, "machine": {…}}`; a ratio above 1 means that qkv is
        faster.

    Raises:
        RecipeError: there is no such case; the nearest name is offered.
        QKVError: the case cannot be measured.
    """
    from qkv.settings import nearest

    if name not in CASES:
        raise RecipeError(f"unknown benchmark {name!r}", remedy=nearest(name, CASES, what="names"))
    # Here, so that listing the cases does not wait for torch.
    from benchmarks import encode, kernels, serve, text_epoch, vit
    from qkv.devices import machine_facts, resolve_device

    measures: dict[str, Callable[..., dict[str, Any]]] = {
        "attention": kernels.measure_attention,
        "scan": kernels.measure_scan,
        "vit-step": vit.measure_step,
        "vit-time-to-accuracy": vit.measure_time_to_accuracy,
        "encode": encode.measure,
        "text-epoch": text_epoch.measure,
        "serve": serve.measure,
        "serve-overload": serve.measure_overload,
    }
    document = measures[name](quick=quick, progress=progress)
    return {"case": name, **document, "machine": machine_facts(resolve_device("auto"))}
