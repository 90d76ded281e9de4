"""Train, evaluate and study a world model on this machine, with no service running."""
