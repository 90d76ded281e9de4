"""Side-by-side measurements; each runs alone as ``python -m benchmarks.NAME --json FILE``."""
