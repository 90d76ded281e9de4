"""The networks: the only part of ``shared`` that imports torch."""
