"""Dreams from a world model, an agent that learns in them, and the pilot that steers the camera with what it learnt.

Importing the package or ``dreamer_agent.container`` does not import torch; its services do.
"""
