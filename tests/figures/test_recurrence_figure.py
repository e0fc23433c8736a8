from __future__ import annotations

import random

import pytest
from matplotlib.colors import to_hex
from matplotlib.patches import Rectangle
from readability import assert_readable

from qkv.figures.recurrence import draw_recurrence
from qkv.figures.style import BLUE, ORANGE, short_integer
from qkv.studies.recurrence import study_recurrence

RANDOM = random.Random(1)
SEQUENCES = {
    "default": [3, 1, 4, 1, 5, 9],
    "two": [-3, -3],
    "zeros": [0, 0, 0, 0],
    "ten": [RANDOM.randint(-99, 99) for _ in range(10)],
    "forty": [RANDOM.randint(-2000, 2000) for _ in range(40)],
    "long": [RANDOM.randint(-2000, 2000) for _ in range(1002)],
    "huge": [10**30, -(7**50), 3**80, 1, -5, 9],
    "huge and many": [RANDOM.randint(-(10**90), 10**90) for _ in range(40)],
    "beyond floats": [10**3999, -(10**3000), 1, 1],
}


@pytest.mark.parametrize("values", SEQUENCES.values(), ids=SEQUENCES.keys())
def test_every_text_can_be_read(values: list[int]) -> None:
    assert_readable(draw_recurrence(study_recurrence(values)))


def test_signs_are_those_of_the_unrolled_sum() -> None:
    values = SEQUENCES["default"]
    document = study_recurrence(values)
    signs, path = draw_recurrence(document).axes
    drawn: dict[int, int] = {}
    for patch in signs.patches:
        assert isinstance(patch, Rectangle)
        if not patch.get_fill():
            continue
        k, t = round(patch.get_x() + 0.5), round(patch.get_y() + 0.5)
        sign = {BLUE.lower(): 1, ORANGE.lower(): -1}[to_hex(patch.get_facecolor())]
        drawn[t] = drawn.get(t, 0) + sign * values[k - 1]
    assert drawn == dict(enumerate(document["states"], start=1))
    assert [text.get_text() for text in path.texts] == ["3", "−2", "6", "−5", "10", "−1"]


def test_the_values_of_huge_states_are_drawn_in_their_unit() -> None:
    document = study_recurrence(SEQUENCES["beyond floats"])
    path = draw_recurrence(document).axes[1]
    assert "10^3999" in path.get_xlabel()
    assert list(path.lines[1].get_xdata()) == pytest.approx([1, -1, 1, -1])


def test_a_long_sequence_is_drawn_in_part_and_says_so() -> None:
    figure = draw_recurrence(study_recurrence(SEQUENCES["long"]))
    assert figure.get_suptitle().endswith("(the first 40 of T = 1,002 steps are drawn)")
    assert len(figure.axes[1].texts) == 40
    assert "h_T" not in figure.axes[0].get_yticklabels()[-1].get_text()


@pytest.mark.parametrize(
    ("value", "limit", "text"),
    [
        (0, 8, "0"),
        (-1234567, 10, "−1,234,567"),
        (1234567, 8, "1234567"),
        (-123456789, 9, "−1.23e+8"),
        (179861 * 10**37, 9, "1.80e+42"),
        (123456789012345678, 16, "1234567…2345678"),
        (10**4299, 10, "1.00e+4299"),
    ],
)
def test_integers_are_shortened(value: int, limit: int, text: str) -> None:
    assert short_integer(value, limit) == text
    assert len(text) <= limit
