"""Small worked experiments, each with a table, a figure and a verdict."""
