"""What the benchmarks of serving are made of: load, baselines, processes, and the search."""
