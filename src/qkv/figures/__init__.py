"""Every plot, drawn from saved results only."""

from __future__ import annotations

from qkv.figures.accuracy import draw_accuracy
from qkv.figures.calibration import draw_accuracy_by_length, draw_reliability
from qkv.figures.confusion import draw_confusion
from qkv.figures.copying import draw_copying
from qkv.figures.curves import draw_curves
from qkv.figures.linear_attention import draw_linear_attention
from qkv.figures.predictions import draw_mistakes, draw_predictions
from qkv.figures.recurrence import draw_recurrence
from qkv.figures.run import draw_run_figures
from qkv.figures.style import save_figure
from qkv.figures.text_mistakes import draw_text_mistakes

__all__ = [
    "draw_accuracy",
    "draw_accuracy_by_length",
    "draw_confusion",
    "draw_copying",
    "draw_curves",
    "draw_linear_attention",
    "draw_mistakes",
    "draw_predictions",
    "draw_recurrence",
    "draw_reliability",
    "draw_run_figures",
    "draw_text_mistakes",
    "save_figure",
]
