"""Time and memory of several calls under the same conditions."""
