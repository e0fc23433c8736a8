"""What predictions are worth: metrics, calibration, and evaluating a finished run."""
