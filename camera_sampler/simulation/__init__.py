"""A camera that needs no hardware: scenes, a faithful renderer, finite motion, and a Gymnasium environment over them.

Importing this package registers ``PanoramaPTZ-v0`` with Gymnasium.
"""

from camera_sampler.simulation.environment import register_environment

register_environment()
