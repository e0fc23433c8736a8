"""The recurrence `h_t = x_t − h_(t−1)` and a sigmoid after it, on a sequence of integers."""

from __future__ import annotations

import re
from collections.abc import Sequence

from qkv.errors import StudyError
from qkv.studies.study import StudyDocument, Table

# Python refuses to print integers of more than 4,300 digits; sums stay well below that.
_MAX_DIGITS = 4000
_RELATION = {1.0: "larger than", 0.0: "smaller than", 0.5: "equal to"}


class RecurrenceDocument(StudyDocument):
    """The study of one sequence."""

    sequence: list[int]  # x_1 to x_T
    states: list[int]  # h_1 to h_T


def parse_sequence(text: str) -> list[int]:
    """Integers of any sign and size from text with commas or spaces between them.

    Raises:
        StudyError: there is none, or one is not an integer or has more than 4,000 digits.
    """
    # The typographer's minus comes along when a sequence is copied from a page.
    parts = re.split(r"\s*,\s*|\s+", text.replace("−", "-").strip())
    if parts == [""]:
        raise StudyError("--sequence is empty", remedy="give integers, such as 3,1,4,1,5,9")
    for number, part in enumerate(parts, start=1):
        if not re.fullmatch(r"[+-]?[0-9]+", part):
            given = repr(part if len(part) <= 40 else f"{part[:40]}…") if part else "empty"
            raise StudyError(
                f"--sequence: entry {number} is {given}, not an integer",
                remedy="give integers with commas between, such as 3,1,4,1,5,9",
            )
        if len(part) > _MAX_DIGITS:
            raise StudyError(
                f"--sequence: entry {number} has {len(part):,} digits",
                remedy=f"give at most {_MAX_DIGITS:,}",
            )
    return [int(part) for part in parts]


def study_recurrence(sequence: Sequence[int]) -> RecurrenceDocument:
    """Follow the recurrence through an even number of integers.

    Unrolled, h_T = x_T − h_(T−1) = x_T − x_(T−1) + h_(T−2) = … = Σ_(k=1..T) (−1)^(T−k) x_k. With
    T = 2n that is Σ_(i=1..n) x_(2i) − Σ_(i=1..n) x_(2i−1), so that sigmoid(1000·h_T) compares
    the two halves of the sequence.

    Raises:
        QKVError: the sequence is empty or of odd length.
    """
    from qkv.figures.style import short_integer
    from qkv.recurrence import alternating_states, alternating_sum, compare_even_odd

    values = list(sequence)
    output = compare_even_odd(values)
    states, total = alternating_states(values), alternating_sum(values)
    odd, even = sum(values[0::2]), sum(values[1::2])
    limits, printed = _limits(values, total)
    verdict = (
        f"The output is {output:g}: the even positions sum to {short_integer(even)}, which is "
        f"{_RELATION[output]} the {short_integer(odd)} of the odd positions "
        f"(h_T = {short_integer(total)})."
    )
    return {
        "study": "recurrence",
        "settings": {"sequence": values},
        "table": _steps(values, states),
        "tables": [limits],
        "figures": {
            "length": len(values),
            "odd_sum": odd,
            "even_sum": even,
            "h_T": total,
            "output": output,
            **printed,
        },
        "verdict": verdict,
        "notes": _notes(output, total, printed),
        "sequence": values,
        "states": states,
    }


def _steps(values: list[int], states: list[int]) -> Table:
    length = len(values)
    steps = zip(values, [0, *states[:-1]], states, strict=True)
    return {
        "title": "Step by step: h_t = x_t − h_(t−1), from h_0 = 0 (x and h are pure numbers)",
        "columns": ["t", "position", "x_t", "h_(t−1)", "h_t", "sign of x_t in h_T", "its term"],
        "rows": [
            [
                *(t, "odd" if t % 2 else "even", value, before, state),
                *(("−", -value) if (length - t) % 2 else ("+", value)),
            ]
            for t, (value, before, state) in enumerate(steps, start=1)
        ],
    }


def _limits(values: list[int], total: int) -> tuple[Table, dict[str, int]]:
    """The closed form beside what the limits printed in the exercise make of this sequence."""
    half = len(values) // 2
    odd, even = values[0::2], values[1::2]
    short_odd = sum(even) - sum(odd[: half - 1])
    short_alternating = sum((-1) ** k * x for k, x in enumerate(values[:half], start=1))
    rows: list[tuple[str, str, int]] = [
        ("Σ x_(2i) − Σ x_(2i−1)", f"i = 1..n and 1..n, n = {half}", sum(even) - sum(odd)),
        ("Σ (−1)^k x_k", f"k = 1..2n = {2 * half}", total),
        ("first sum as printed", f"odd sum to n − 1 = {half - 1}", short_odd),
        ("second sum as printed", f"to n = {half}", short_alternating),
    ]
    table: Table = {
        "title": "The closed form of h_T, and what the printed limits would give",
        "columns": ["form", "limits", "value", "output", "is h_T"],
        "rows": [
            [form, limits, value, _output(value), value == total] for form, limits, value in rows
        ],
    }
    return table, {
        "printed_odd_limit_gives": short_odd,
        "printed_alternating_limit_gives": short_alternating,
    }


def _output(value: int) -> float:
    """sigmoid(1000·value) of an integer: anything but a tie saturates."""
    return 0.5 if value == 0 else float(value > 0)


def _notes(output: float, total: int, printed: dict[str, int]) -> list[str]:
    wrong = [value for value in printed.values() if value != total]
    luck = (
        "Both differ from h_T here."
        if len(wrong) == 2
        else "One of them meets h_T here, by accident of this sequence."
        if wrong
        else "Both meet h_T here, by accident of this sequence."
    )
    flipped = any(_output(value) != output for value in wrong)
    return [
        "Why signs alternate: h_T = x_T − h_(T−1) = x_T − x_(T−1) + h_(T−2) = …; each step back in "
        "time passes through one more minus. With T even the last sign, +, falls on the even "
        "positions and − on the odd ones.",
        "What the output means: sigmoid(1000·h_T) is 1 where the even positions sum to more, 0 "
        "where they sum to less and exactly 0.5 on a tie. An integer that is not 0 is at least 1 "
        "in size, and sigmoid(±1000) lies within e^(−1000) ≈ 10^(−434) of 1 or 0.",
        "Where the exercise errs: it lets the odd sum end at n − 1, which loses x_(T−1), and the "
        f"alternating sum at n, which loses its second half. {luck}"
        + (" Such a slip turns the answer over." if flipped else ""),
    ]
