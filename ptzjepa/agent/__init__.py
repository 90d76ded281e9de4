"""``ptzjepa agent …``: the examination of agents, where the simulated camera and all services' parts come together."""
