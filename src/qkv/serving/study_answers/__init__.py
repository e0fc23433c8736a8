"""The studies at one setting, fast enough to follow a hand that drags."""
