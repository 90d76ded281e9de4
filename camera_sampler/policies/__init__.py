"""Where to look without an agent: one file a policy. Baselines, and what ``follow`` falls back to."""

from __future__ import annotations

import random

from camera_sampler.policies.base import Policy
from camera_sampler.policies.least_recently_viewed import LeastRecentlyViewed
from camera_sampler.policies.presets import Presets, load_presets
from camera_sampler.policies.random_walk import RandomWalk
from camera_sampler.policies.raster import Raster
from camera_sampler.settings import SamplerSettings
from shared.viewing import Optics

__all__ = ["Policy", "optics", "own_policy"]


def optics(settings: SamplerSettings) -> Optics:
    """Return what a view of this camera shows."""
    width, height = settings.snapshot_width, settings.snapshot_height
    return Optics.of_picture(settings.field_of_view, width, height, settings.view_overlap)


def own_policy(settings: SamplerSettings) -> Policy:
    """Return the policy that chooses when no agent does. ``UserError`` where its file cannot be read."""
    name = settings.own_policy
    if name == "raster":
        return Raster()
    if name == "presets" and settings.presets is not None:
        return Presets(load_presets(settings.presets))
    if name == "least-recently-viewed":
        return LeastRecentlyViewed(optics(settings))
    return RandomWalk(random.Random(settings.seed))
