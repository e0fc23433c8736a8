"""Fitting a model: recipes, the one loop, and everything it needs."""
