"""Integers of any size in a space of any size."""

from __future__ import annotations

from decimal import Decimal


def short_integer(value: int, limit: int = 24) -> str:
    """`value` in at most `limit` characters: whole, by its ends, or by its power of ten.

    `1,234,567`, `123456…345678`, `−1.23e+40`; the minus is the typographer's, as wide as a plus.
    """
    sign = "−" if value < 0 else ""
    digits = str(abs(value))
    for text in (f"{abs(value):,}", digits):
        if len(sign + text) <= limit:
            return sign + text
    ends = (limit - len(sign) - 1) // 2
    if ends >= 6:
        return f"{sign}{digits[:ends]}…{digits[-ends:]}"
    return f"{sign}{abs(Decimal(value)):.2e}"
