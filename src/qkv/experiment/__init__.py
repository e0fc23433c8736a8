"""One experiment: a recipe goes in, a finished run folder comes out."""

from __future__ import annotations

from qkv.experiment.finish import draw_figures
from qkv.experiment.start import resume, train

__all__ = ["draw_figures", "resume", "train"]
