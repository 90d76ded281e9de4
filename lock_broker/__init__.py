"""Leases with fencing tokens, and the registry of world models and agents, over REST."""
