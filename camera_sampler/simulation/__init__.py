"""A camera that needs no hardware: scenes, a faithful renderer, finite motion, and a Gymnasium environment over them.

Importing ``camera_sampler.simulation.environment`` registers ``PanoramaPTZ-v0`` with Gymnasium. The sampler leaves that
module alone, and Gymnasium out of its memory.
"""
