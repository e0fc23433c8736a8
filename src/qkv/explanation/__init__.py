"""Explanations of predictions, and measures of how faithful they are."""
