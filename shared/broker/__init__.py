"""The lock broker from the side of whoever asks it: leases, heads, lineage."""
