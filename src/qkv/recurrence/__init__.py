"""First-order linear recurrences h_t = a_t·h_{t−1} + b_t·x_t: three ways to the same states.

`recurrence_loop` is the definition, `recurrence_closed_form` the sum it unrolls to, and
`recurrence_scan` the fast one. The alternating recurrence h_t = x_t − h_{t−1}, in exact integers,
stands on top.
"""

from qkv.recurrence.alternating import alternating_states, alternating_sum, compare_even_odd
from qkv.recurrence.reference import recurrence_closed_form, recurrence_loop
from qkv.recurrence.scan import recurrence_scan

__all__ = [
    "alternating_states",
    "alternating_sum",
    "compare_even_odd",
    "recurrence_closed_form",
    "recurrence_loop",
    "recurrence_scan",
]
