"""Every plot, drawn from saved results only."""

from __future__ import annotations

from qkv.figures.confusion import draw_confusion
from qkv.figures.curves import draw_curves
from qkv.figures.predictions import draw_mistakes, draw_predictions
from qkv.figures.reliability import draw_reliability
from qkv.figures.run import draw_run_figures
from qkv.figures.style import save_figure

__all__ = [
    "draw_confusion",
    "draw_curves",
    "draw_mistakes",
    "draw_predictions",
    "draw_reliability",
    "draw_run_figures",
    "save_figure",
]
