"""What the costs of linear attention mean: a verdict and notes, with their tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypedDict

from qkv.studies.attention_costs import QUADRATIC_SHARE, Measurement
from qkv.studies.attention_kernels import KERNELS, WORK_NAMES, WORKS
from qkv.studies.budget import as_bytes, as_seconds
from qkv.studies.document import Table
from qkv.studies.linear_attention_tables import (
    cost_table,
    crossing_table,
    exponent_table,
    long_table,
    named_figures,
)

if TYPE_CHECKING:
    from qkv.studies.linear_attention import Exponents, FoundCrossing

_MIB = 2**20


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
    figures = named_figures(measurements, long, exponents, crossings)
    costs = [cost_table(measurements, work, settings["head_dim"]) for work in WORKS]
    tables = [costs[1], exponent_table(exponents), crossing_table(crossings)]
    if long:
        tables.append(long_table(long))
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
    note = _memory_note(measurements)
    if note:
        notes.append(note)
    if "long_linear_tokens" in figures:
        tokens = figures["long_linear_tokens"]
        weights = as_bytes(KERNELS["plain"].matrices["forward"] * 4 * tokens**2)
        notes.append(
            f"{tokens:,} tokens, forward, bidirectional: "
            f"{as_seconds(figures['long_linear_ms'] / 1e3)} and "
            f"{as_bytes(figures['long_linear_extra_bytes'])} beyond inputs and output. Plain "
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
        f"{as_bytes(settings['max_memory_mib'] * _MIB)}; the softmax kernels may use "
        f"{100 * QUADRATIC_SHARE:.0f} % of the time."
    )
    what = f"Skipped, by prediction: {'; '.join(skipped)}" if skipped else "Nothing was skipped"
    notes.append(f"{allowed} {what}.")
    notes.append(
        "Linear attention is another function than softmax attention, not a faster way to compute "
        "it. What that does to accuracy is for `qkv study quality`."
    )
    return notes


def _memory_note(measurements: Sequence[Measurement]) -> str | None:
    """How linear attention stands beside the kernel that also keeps no T×T matrix."""
    extra = {
        (row["kernel"], row["tokens"]): row["extra_bytes"]
        for row in measurements
        if row["work"] == "forward" and row["extra_bytes"] is not None
    }
    both = [tokens for name, tokens in extra if name == "fused" and ("linear", tokens) in extra]
    if not both:
        return None
    tokens = max(both)
    fused, linear = extra["fused", tokens], extra["linear", tokens]
    note = (
        f"The fused softmax keeps no T×T matrix either: forward at {tokens:,} tokens it takes "
        f"{as_bytes(fused)}, linear attention {as_bytes(linear)}."
    )
    if linear < fused:
        return note
    return f"{note} Beside it linear attention saves no memory."


def _times(ratio: float) -> str:
    return f"{ratio:,.0f}×" if ratio >= 10 else f"{ratio:.2g}×"
