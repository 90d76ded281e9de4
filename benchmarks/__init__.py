"""Side-by-side measurements; each runs alone as ``python -m benchmarks.NAME --json FILE``."""

from shared.threads import limit_threads

# Here, and not in the harness: a package is imported before any of its modules, so before any of them imports numpy.
limit_threads(1)
