"""What predictions are worth: metrics and calibration, as pure functions of arrays."""

from __future__ import annotations

from qkv.evaluation.calibration import (
    brier_score,
    calibration_document,
    expected_calibration_error,
    reliability_bins,
)
from qkv.evaluation.metrics import accuracy_by_length, evaluate_predictions, wilson_interval

__all__ = [
    "accuracy_by_length",
    "brier_score",
    "calibration_document",
    "evaluate_predictions",
    "expected_calibration_error",
    "reliability_bins",
    "wilson_interval",
]
