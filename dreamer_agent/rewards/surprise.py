"""Reward what the world model expects to predict poorly."""

from __future__ import annotations

import torch
from torch import Tensor

from dreamer_agent.dreams import Dreams

FLOOR = 1e-4


class SurpriseReward:
    """The logarithm of the expected surprise.

    Surprise spans orders of magnitude and shrinks by orders of magnitude as the world model learns. The logarithm turns
    that shrinking into a constant, which the normaliser takes away, and keeps a few huge values from owning the
    gradient; a square root would only soften both. It is also the scale on which the surprise head is trained. The
    floor keeps moves that change next to nothing (surprise near zero) from becoming the loudest voice on that scale.
    """

    name = "surprise"

    def signal(self, dreams: Dreams) -> Tensor:
        """Return ``[B, T]``: ``log(surprise + floor)`` of every dreamed move."""
        return torch.log(dreams.rewards.clamp_min(0.0) + FLOOR)
