"""From which length on one thing is as fast as another."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from qkv.measurement.samples import speed_ratio

MULTIPLE = 16
ROUNDS = 9

# Prepares everything for a length and returns the call to time.
Prepare = Callable[[int], Callable[[], object]]


class Crossing(NamedTuple):
    """Where ours catches up with theirs.

    Attributes:
        tokens: the least measured length at which ours is at least as fast, and at every longer
            measured length too; None if ours is slower at the longest.
        slower_at: the longest measured length at which ours is slower. None if there is none: then
            `tokens` is only the shortest length measured, and the crossing lies at or below it.
        ratios: time of theirs over time of ours, by length in ascending order.
    """

    tokens: int | None
    slower_at: int | None
    ratios: dict[int, float]


def bracket(ratios: Mapping[int, float]) -> Crossing:
    """The crossing as far as given ratios (time of theirs over ours) tell, by length.

    Raises:
        ValueError: there are none.
    """
    if not ratios:
        raise ValueError("no length was measured")
    in_order = dict(sorted(ratios.items()))
    slower_at = max((tokens for tokens, ratio in in_order.items() if ratio < 1), default=None)
    later = [tokens for tokens in in_order if slower_at is None or tokens > slower_at]
    return Crossing(later[0] if later else None, slower_at, in_order)


def refine(
    ratio_at: Callable[[int], float], ratios: Mapping[int, float], *, multiple: int = MULTIPLE
) -> Crossing:
    """Narrow a crossing by bisection between the two measured lengths around it.

    Args:
        ratio_at: measures time of theirs over time of ours at a length.
        ratios: what is already measured; never measured again.
        multiple: only multiples of this many tokens are tried.
    """
    crossing = bracket(ratios)
    while crossing.tokens is not None and crossing.slower_at is not None:
        first = crossing.slower_at // multiple + 1
        last = -(-crossing.tokens // multiple) - 1
        if first > last:
            break
        middle = (first + last) // 2 * multiple
        crossing = bracket({**crossing.ratios, middle: ratio_at(middle)})
    return crossing


def crossing_tokens(
    ours: Prepare,
    theirs: Prepare,
    lengths: Sequence[int],
    *,
    multiple: int = MULTIPLE,
    rounds: int = ROUNDS,
    progress: Callable[[int, int], None] | None = None,
) -> Crossing:
    """Time both at every length, interleaved, then bisect where the faster one changes.

    At each length both are sampled in turn (see `qkv.measurement.samples`), and the median of the
    rounds' ratios decides.

    Args:
        ours: prepares a length and returns the call to time.
        theirs: the same for what it is compared with.
        lengths: ascending, to be measured first.
        multiple: the bisection tries multiples of this many tokens.
        rounds: samples of each at each length.
        progress: called with (done, total) measured lengths; bisection is not counted beforehand.

    Raises:
        ValueError: `lengths` is empty.
    """

    def ratio_at(tokens: int) -> float:
        return speed_ratio(ours(tokens), theirs(tokens), rounds)

    ratios: dict[int, float] = {}
    for number, tokens in enumerate(lengths, start=1):
        ratios[tokens] = ratio_at(tokens)
        if progress is not None:
            progress(number, len(lengths))
    return refine(ratio_at, ratios, multiple=multiple)
