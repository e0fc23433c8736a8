"""A server for finished runs: their predictions, their explanations, and a page."""
