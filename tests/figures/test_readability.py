from __future__ import annotations

import pytest
from matplotlib.figure import Figure
from readability import assert_readable


def test_the_check_of_overlaps_can_fail() -> None:
    figure = Figure()
    figure.text(0.3, 0.5, "Truth: one", rotation=45)
    figure.text(0.32, 0.5, "Truth: two", rotation=45)
    with pytest.raises(AssertionError, match="Truth: two"):
        assert_readable(figure)
