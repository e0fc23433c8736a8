"""Quantities as people read them."""

from __future__ import annotations


def duration(seconds: float) -> str:
    """Seconds as `0.4 s`, `12 s`, `3 min 20 s` or `1 h 05 min`."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02d} min"


def mebibytes(count: int) -> str:
    """Bytes as `812 MiB`, with a digit after the point below ten."""
    size = count / 2**20
    return f"{size:.1f} MiB" if size < 10 else f"{size:,.0f} MiB"


def percent(share: float) -> str:
    """A share as `84.97 %`."""
    return f"{100 * share:.2f} %"


def accuracy_with_interval(accuracy: float, interval: list[float]) -> str:
    """An accuracy as `84.97 % (95 % interval 84.26 % to 85.66 %)`."""
    low, high = interval
    return f"{percent(accuracy)} (95 % interval {percent(low)} to {percent(high)})"


def counted(count: int, noun: str) -> str:
    """`1 image`, `2,000 images`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
