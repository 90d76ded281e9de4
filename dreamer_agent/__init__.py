"""Dreams from a world model, learns a policy in the dreams, pilots the camera with it."""
