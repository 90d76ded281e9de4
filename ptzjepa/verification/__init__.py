"""Proof by trial: real processes, real faults, and a checker that reads what the clients saw."""
