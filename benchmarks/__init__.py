"""Named measurements, each of which pairs qkv with its baseline in one process."""
