"""Every benchmark by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from qkv.errors import RecipeError

Progress = Callable[[int, int], None]


class Measure(Protocol):
    """Measures one case: a document with `ratios` and `figures`."""

    def __call__(self, *, quick: bool, progress: Progress | None) -> dict[str, Any]:
        """Measure it, or with `quick` only see that it runs."""
        ...


@dataclass(frozen=True)
class Case:
    """A named benchmark.

    Attributes:
        name: what the command line calls it.
        summary: what is compared, in one line.
        run: measures it.
    """

    name: str
    summary: str
    run: Measure


# Imported when run, so that listing the cases does not wait for torch.
def _vit_step(*, quick: bool, progress: Progress | None) -> dict[str, Any]:
    from benchmarks import vit_step

    return vit_step.measure(quick=quick, progress=progress)


def _vit_time_to_accuracy(*, quick: bool, progress: Progress | None) -> dict[str, Any]:
    from benchmarks import vit_time_to_accuracy

    return vit_time_to_accuracy.measure(quick=quick, progress=progress)


def _scan(*, quick: bool, progress: Progress | None) -> dict[str, Any]:
    from benchmarks import scan

    return scan.measure(quick=quick, progress=progress)


def _attention(*, quick: bool, progress: Progress | None) -> dict[str, Any]:
    from benchmarks import attention

    return attention.measure(quick=quick, progress=progress)


def _encode(*, quick: bool, progress: Progress | None) -> dict[str, Any]:
    from benchmarks import encode

    return encode.measure(quick=quick, progress=progress)


def _text_epoch(*, quick: bool, progress: Progress | None) -> dict[str, Any]:
    from benchmarks import text_epoch

    return text_epoch.measure(quick=quick, progress=progress)


def _serve(*, quick: bool, progress: Progress | None) -> dict[str, Any]:
    from benchmarks import serve

    return serve.measure(quick=quick, progress=progress)


def _serve_overload(*, quick: bool, progress: Progress | None) -> dict[str, Any]:
    from benchmarks import serve_overload

    return serve_overload.measure(quick=quick, progress=progress)


CASES: dict[str, Case] = {
    case.name: case
    for case in (
        Case(
            "attention",
            "linear attention at 16,384 tokens: plain softmax, torch's fused softmax, qkv",
            _attention,
        ),
        Case(
            "scan",
            "all states of a recurrence of 2^20 steps: Python loop, cumulative sum, scan",
            _scan,
        ),
        Case(
            "vit-step",
            "time an image in a training step: plain ViT, qkv at its settings, the fast recipe",
            _vit_step,
        ),
        Case(
            "vit-time-to-accuracy",
            "seconds of training until 84.97 % on Fashion-MNIST: plain ViT, the fast recipe",
            _vit_time_to_accuracy,
        ),
        Case(
            "encode",
            "tokens a second from texts to states: the pipeline of transformers, qkv",
            _encode,
        ),
        Case(
            "text-epoch",
            "an epoch of a sentiment head: encoder and head every epoch, qkv from stored states",
            _text_epoch,
        ),
        Case(
            "serve",
            "requests a second at equal p99: plain FastAPI, LitServe, qkv serve",
            _serve,
        ),
        Case(
            "serve-overload",
            "qkv serve at ten times its peak for a minute: goodput, refusals, memory",
            _serve_overload,
        ),
    )
}


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
    from qkv.devices import machine_facts, resolve_device
    from qkv.settings import nearest

    if name not in CASES:
        raise RecipeError(f"unknown benchmark {name!r}", remedy=nearest(name, CASES, what="names"))
    document = CASES[name].run(quick=quick, progress=progress)
    return {"case": name, **document, "machine": machine_facts(resolve_device("auto"))}
