"""The costs of linear attention as tables and named numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

from qkv.files import format_bytes
from qkv.studies.attention_costs import (
    KERNELS,
    QUADRATIC_SHARE,
    WORK_NAMES,
    WORKS,
    Fit,
    Measurement,
    Work,
    as_seconds,
    fit_power_law,
)
from qkv.studies.study import Cell, Table

_MIB = 2**20
_SHORT = {name: name.removesuffix("_linear") for name in KERNELS}


class Exponents(TypedDict):
    """How the cost of a kernel grows with length; None where too few lengths were measured."""

    kernel: str
    work: Work
    time: Fit | None
    memory: Fit | None


class FoundCrossing(TypedDict):
    """Where the forward pass of linear attention catches up; see `qkv.measurement.timing`."""

    against: str  # the rival
    tokens: int | None  # the length, or None if linear attention is slower at the longest
    slower_at: int | None  # the longest length measured at which it is slower, or None
    refined: bool  # lengths between the listed ones were tried
    # pairs of length and the rival's time over that of linear attention
    ratios: list[tuple[int, float]]


def _cost_table(measurements: Sequence[Measurement], work: Work, head_dim: int) -> Table:
    rows: list[list[Cell]] = []
    cells = {(row["tokens"], row["kernel"]): row for row in measurements if row["work"] == work}
    for tokens in sorted({tokens for tokens, _ in cells}):
        kernels = [cells[tokens, name] for name in KERNELS]
        rows.append(
            [
                tokens,
                *("skipped" if row["skipped"] else row["milliseconds"] for row in kernels),
                *(
                    row["extra_bytes"] / _MIB if row["extra_bytes"] is not None else row["skipped"]
                    for row in kernels
                ),
            ]
        )
    return {
        "title": f"{WORK_NAMES[work].capitalize()}: one head of {head_dim}, float32; "
        "time, and memory beyond inputs and results",
        "columns": [
            "T (tokens)",
            *(f"{_SHORT[name]} ({unit})" for unit in ("ms", "MiB") for name in KERNELS),
        ],
        "rows": rows,
    }


def _exponent_table(exponents: Sequence[Exponents]) -> Table:
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


def _crossing_table(crossings: Sequence[FoundCrossing]) -> Table:
    return {
        "title": "From which length on linear attention is at least as fast, forward",
        "columns": ["against", "T (tokens)", "slower up to T", "bisected between"],
        "rows": [
            [
                KERNELS[found["against"]].label,
                # A length is never 0.
                found["tokens"] or "not measured",
                found["slower_at"] or "not measured",
                found["refined"],
            ]
            for found in crossings
        ],
    }


def _long_table(long: Sequence[Measurement]) -> Table:
    return {
        "title": "Linear attention where a T×T matrix is out of reach, forward",
        "columns": [
            *("kernel", "T (tokens)", "time (ms)"),
            *("per token (ns)", "memory (MiB)", "per token (bytes)"),
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
        row["extra_bytes"] / _MIB,
        row["extra_bytes"] / tokens,
    ]


def _named_figures(
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
        for cost, fit in (("time", row["time"]), ("memory", row["memory"])):
            if fit is not None:
                figures[f"{row['kernel']}_{row['work']}_{cost}_exponent"] = fit["exponent"]
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


class Report(TypedDict):
    """The parts of the document that are read."""

    table: Table
    tables: list[Table]
    figures: dict[str, Any]
    verdict: str
    notes: list[str]


def report(
    measurements: Sequence[Measurement],
    long: Sequence[Measurement],
    exponents: Sequence[Exponents],
    crossings: Sequence[FoundCrossing],
    settings: Mapping[str, Any],
) -> Report:
    """Put measurements into words; see `LinearAttentionDocument` for the arguments."""
    figures = _named_figures(measurements, long, exponents, crossings)
    costs = [_cost_table(measurements, work, settings["head_dim"]) for work in WORKS]
    tables = [costs[1], _exponent_table(exponents), _crossing_table(crossings)]
    if long:
        tables.append(_long_table(long))
    return {
        "table": costs[0],
        "tables": tables,
        "figures": figures,
        "verdict": _verdict(figures, crossings),
        "notes": _notes(measurements, long, crossings, figures, settings),
    }


def _verdict(figures: Mapping[str, Any], crossings: Sequence[FoundCrossing]) -> str:
    sentences = [
        _speed(rival, figures) for rival in ("plain", "fused") if f"forward_vs_{rival}" in figures
    ]
    sentences += [_pays(found) for found in crossings if found["against"] == "fused"]
    growth = [
        f"{KERNELS[name].label} as T^{figures[f'{name}_forward_time_exponent']:.2f}"
        for name in KERNELS
        if f"{name}_forward_time_exponent" in figures
    ]
    if growth:
        sentences.append(f"Forward time grows by kernel: {', '.join(growth)}.")
    return " ".join(sentences) or "Only linear attention fits the budget, so nothing is compared."


def _speed(rival: str, figures: Mapping[str, Any]) -> str:
    """How the two compare at the longest length at which both were measured."""
    tokens = figures[f"forward_vs_{rival}_tokens"]
    sentence = (
        f"At {tokens:,} tokens linear attention is {_times(figures[f'forward_vs_{rival}'])} as "
        f"fast as {KERNELS[rival].label} attention"
    )
    if f"train_vs_{rival}" not in figures:
        return f"{sentence}."
    trained = figures[f"train_vs_{rival}_tokens"]
    where = "" if trained == tokens else f", at {trained:,} tokens"
    return f"{sentence} ({_times(figures[f'train_vs_{rival}'])} with the backward pass{where})."


def _pays(found: FoundCrossing) -> str:
    """Where linear attention pays, and where it does not."""
    tokens, slower_at = found["tokens"], found["slower_at"]
    if tokens is None:
        return (
            f"It does not pay at {slower_at:,} tokens, the most compared: the fused softmax is "
            "faster there."
        )
    if slower_at is None:
        return f"It pays from {tokens:,} tokens on, the fewest compared, or from fewer."
    return (
        f"It pays from {tokens:,} tokens on; below that it does not, for the fused softmax is "
        f"faster (still at {slower_at:,})."
    )


def _notes(
    measurements: Sequence[Measurement],
    long: Sequence[Measurement],
    crossings: Sequence[FoundCrossing],
    figures: Mapping[str, Any],
    settings: Mapping[str, Any],
) -> list[str]:
    notes = [
        "Time: median over rounds in which the kernels run in turn; a sample lasts 20 ms or more, "
        "so it is a mean of many calls where a call is short. Before any timing, outputs and "
        "gradients of every kernel agreed with its plain form.",
        "Memory: what torch's allocator hands out, to the byte, at the worst moment of one call, "
        "beyond the inputs and what the call returns (the output; with the backward pass also "
        "three gradients). Scratch that a mathematical library takes for itself is not seen.",
    ]
    notes += _memory_note(measurements)
    if "long_linear_tokens" in figures:
        tokens = figures["long_linear_tokens"]
        weights = format_bytes(KERNELS["plain"].matrices["forward"] * 4 * tokens**2)
        notes.append(
            f"{tokens:,} tokens, forward, bidirectional: "
            f"{as_seconds(figures['long_linear_ms'] / 1e3)} and "
            f"{format_bytes(figures['long_linear_extra_bytes'])} beyond inputs and output. Plain "
            f"softmax would hold {weights}."
        )
    notes += [
        f"The crossing against {KERNELS[found['against']].label} was not bisected: too little time "
        "was left."
        for found in crossings
        if not found["refined"] and found["tokens"] is not None and found["slower_at"] is not None
    ]
    skipped = [
        f"{KERNELS[row['kernel']].label}, {WORK_NAMES[row['work']]}, {row['tokens']:,} tokens "
        f"({row['skipped']})"
        for row in (*measurements, *long)
        if row["skipped"]
    ]
    allowed = (
        f"Budget: {as_seconds(settings['max_seconds'])} and "
        f"{format_bytes(settings['max_memory_mib'] * _MIB)}; the softmax kernels may use "
        f"{100 * QUADRATIC_SHARE:.0f} % of the time."
    )
    what = f"Skipped, by prediction: {'; '.join(skipped)}" if skipped else "Nothing was skipped"
    notes.append(f"{allowed} {what}.")
    notes.append(
        "Linear attention is another function than softmax attention, not a faster way to compute "
        "it. What that does to accuracy is for `qkv study quality`."
    )
    return notes


def _memory_note(measurements: Sequence[Measurement]) -> list[str]:
    """How linear attention stands beside the kernel that also keeps no T×T matrix."""
    extra = {
        (row["kernel"], row["tokens"]): row["extra_bytes"]
        for row in measurements
        if row["work"] == "forward" and row["extra_bytes"] is not None
    }
    both = [tokens for name, tokens in extra if name == "fused" and ("linear", tokens) in extra]
    if not both:
        return []
    tokens = max(both)
    fused, linear = extra["fused", tokens], extra["linear", tokens]
    note = (
        f"The fused softmax keeps no T×T matrix either: forward at {tokens:,} tokens it takes "
        f"{format_bytes(fused)}, linear attention {format_bytes(linear)}."
    )
    return [note if linear < fused else f"{note} Beside it linear attention saves no memory."]


def _times(ratio: float) -> str:
    return f"{ratio:,.0f}×" if ratio >= 10 else f"{ratio:.2g}×"
