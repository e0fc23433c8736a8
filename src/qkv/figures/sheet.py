"""A figure whose parts are placed in inches from its top left corner, as on paper."""

from __future__ import annotations

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text

from qkv.figures.style import new_figure


class Sheet:
    """An empty figure of a size.

    Args:
        width: inches.
        height: inches.
    """

    def __init__(self, width: float, height: float) -> None:
        self.figure: Figure = new_figure(width, height, layout=False)
        self._width, self._height = width, height

    def axes(self, left: float, top: float, width: float, height: float) -> Axes:
        """Axes whose frame lies there, all in inches."""
        return self.figure.add_axes(
            (
                left / self._width,
                1 - (top + height) / self._height,
                width / self._width,
                height / self._height,
            )
        )

    def write(self, left: float, middle: float, text: str, **look: Any) -> Text:
        """A line of text that begins at `left` and whose middle is `middle` inches from the top."""
        spot = left / self._width, 1 - middle / self._height
        return self.figure.text(*spot, text, va="center_baseline", **look)
