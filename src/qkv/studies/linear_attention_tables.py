"""The costs of linear attention as tables and named numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from qkv.studies.attention_kernels import KERNELS, WORK_NAMES, WORKS, Work
from qkv.studies.document import Cell, Table
from qkv.studies.scaling import Fit, fit_power_law

if TYPE_CHECKING:
    from qkv.studies.attention_costs import Measurement
    from qkv.studies.linear_attention import Exponents, FoundCrossing

_MIB = 2**20
_SHORT = {"plain": "plain", "fused": "fused", "linear": "linear", "causal_linear": "causal"}


def cost_table(measurements: Sequence[Measurement], work: Work, head_dim: int) -> Table:
    """Milliseconds and MiB of every kernel, a row for each length."""
    rows: list[list[Cell]] = []
    cells = {(row["tokens"], row["kernel"]): row for row in measurements if row["work"] == work}
    for tokens in sorted({tokens for tokens, _ in cells}):
        kernels = [cells[tokens, name] for name in KERNELS]
        rows.append(
            [
                tokens,
                *("skipped" if row["skipped"] else row["milliseconds"] for row in kernels),
                *(row["skipped"] or _mib(row["extra_bytes"]) for row in kernels),
            ]
        )
    return {
        "title": f"{WORK_NAMES[work].capitalize()}: one head of {head_dim}, float32; "
        "time, and memory beyond inputs and results",
        "columns": [
            "T (tokens)",
            *(f"{_SHORT[name]} (ms)" for name in KERNELS),
            *(f"{_SHORT[name]} (MiB)" for name in KERNELS),
        ],
        "rows": rows,
    }


def exponent_table(exponents: Sequence[Exponents]) -> Table:
    """Fitted growth by kernel and work, with the range of the fit."""
    return {
        "title": "Growth: the exponent p of cost ∝ T^p, by least squares in logarithms",
        "columns": ["kernel", "work", "time", "over T", "memory", "over T (memory)"],
        "rows": [
            [
                KERNELS[row["kernel"]].label,
                WORK_NAMES[row["work"]],
                *_exponent_cells(row["time"]),
                *_exponent_cells(row["memory"]),
            ]
            for row in exponents
        ],
    }


def _exponent_cells(fit: Fit | None) -> tuple[Cell, Cell]:
    if fit is None:
        return None, "fewer than 3 lengths"
    return round(fit["exponent"], 2), f"{fit['from_tokens']:,}–{fit['to_tokens']:,}"


def crossing_table(crossings: Sequence[FoundCrossing]) -> Table:
    """Where linear attention catches up with each rival."""
    return {
        "title": "From which length on linear attention is at least as fast, forward",
        "columns": ["against", "T (tokens)", "slower up to T", "bisected between"],
        "rows": [
            [
                KERNELS[found["against"]].label,
                found["tokens"] if found["tokens"] is not None else "not measured",
                found["slower_at"] if found["slower_at"] is not None else "not measured",
                found["refined"],
            ]
            for found in crossings
        ],
    }


def long_table(long: Sequence[Measurement]) -> Table:
    """Great lengths: totals, and what each token costs."""
    return {
        "title": "Linear attention where a T×T matrix is out of reach, forward",
        "columns": [
            "kernel",
            "T (tokens)",
            "time (ms)",
            "per token (ns)",
            "memory (MiB)",
            "per token (bytes)",
        ],
        "rows": [_long_row(row) for row in long],
    }


def _long_row(row: Measurement) -> list[Cell]:
    label, tokens = KERNELS[row["kernel"]].label, row["tokens"]
    if row["milliseconds"] is None or row["extra_bytes"] is None:
        return [label, tokens, "skipped", None, row["skipped"], None]
    return [
        label,
        tokens,
        row["milliseconds"],
        1e6 * row["milliseconds"] / tokens,
        _mib(row["extra_bytes"]),
        row["extra_bytes"] / tokens,
    ]


def named_figures(
    measurements: Sequence[Measurement],
    long: Sequence[Measurement],
    exponents: Sequence[Exponents],
    crossings: Sequence[FoundCrossing],
) -> dict[str, Any]:
    """Numbers by name; what was not measured is left out."""
    figures: dict[str, Any] = {}
    for work in WORKS:
        for rival in ("plain", "fused", "causal_linear"):
            both = [
                (row["tokens"], row["times_linear"])
                for row in measurements
                if row["kernel"] == rival and row["work"] == work and row["times_linear"]
            ]
            if both:
                tokens, ratio = max(both)
                figures[f"{work}_vs_{rival}"] = ratio
                figures[f"{work}_vs_{rival}_tokens"] = tokens
    for row in exponents:
        for cost in (("time", row["time"]), ("memory", row["memory"])):
            if cost[1] is not None:
                name = f"{row['kernel']}_{row['work']}_{cost[0]}_exponent"
                figures[name] = cost[1]["exponent"]
    for found in crossings:
        if found["tokens"] is not None:
            figures[f"crossing_tokens_{found['against']}"] = found["tokens"]
    for name in ("linear", "causal_linear"):
        figures |= _long_figures(name, [row for row in long if row["kernel"] == name])
    return figures


def _long_figures(name: str, rows: Sequence[Measurement]) -> dict[str, Any]:
    memory = {row["tokens"]: row["extra_bytes"] for row in rows if row["extra_bytes"] is not None}
    if not memory:
        return {}
    longest = max(memory)
    figures: dict[str, Any] = {
        f"long_{name}_tokens": longest,
        f"long_{name}_ms": next(r["milliseconds"] for r in rows if r["tokens"] == longest),
        f"long_{name}_extra_bytes": memory[longest],
    }
    fit = fit_power_law(memory)
    if fit is not None:
        figures[f"long_{name}_memory_exponent"] = fit["exponent"]
    return figures


def _mib(count: int | None) -> float | None:
    return None if count is None else count / _MIB
