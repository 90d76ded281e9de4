"""What all services agree on: poses, actions, messages, streams, model files, settings, telemetry.

Only ``shared.world_model`` imports torch; everything else runs on a node that has none.
"""
