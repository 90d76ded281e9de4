"""Takes the lease of a world model, trains it on the camera's views, commits a new version."""
