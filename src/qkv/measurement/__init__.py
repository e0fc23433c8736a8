"""Honest measurement: time and memory of several things under the same conditions."""
