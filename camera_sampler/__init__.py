"""Owns one camera: move, wait until it stands still, take a snapshot, verify it, publish the view."""
