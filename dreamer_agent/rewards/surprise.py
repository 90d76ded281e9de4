"""Reward what the world model expects to predict poorly, whatever surprise is to it."""

from __future__ import annotations

import torch
from torch import Tensor

from dreamer_agent.dreams import Dreams

FLOOR = 0.01
"""Of the mean surprise: else moves that change next to nothing would be the loudest voice on a logarithmic scale."""
_TINY = 1e-12


class SurpriseReward:
    """The logarithm of the expected surprise, or for ``linear`` kinds the surprise itself.

    Surprise spans orders of magnitude and shrinks by orders of magnitude as the world model learns. The logarithm turns
    that shrinking into a constant, which the normaliser takes away, and keeps a few huge values from owning the
    gradient; a square root would only soften both. ``kind`` is what surprise must be to the world model; empty: any.
    """

    def __init__(self, kind: str = "", *, linear: bool = False) -> None:
        self.name = kind or "surprise"
        self._kind, self._linear = kind, linear

    def signal(self, dreams: Dreams) -> Tensor:
        """Return ``[B, T]`` of every dreamed move. ``ValueError`` where the dreams have another kind of surprise."""
        check_kind(self.name, self._kind, dreams)
        surprise = dreams.rewards.clamp_min(0.0)
        if self._linear:
            return surprise
        return torch.log(surprise + FLOOR * surprise.mean() + _TINY)


class PTZJEPAReward:
    """PTZJEPA's reward: the pull on the encoder that is expected of a view, or how that changed, or which way.

    ``raw`` is the value itself; ``delta`` its change from move to move, of the first move the value itself; ``sign`` is
    +1 where that is positive and −1 elsewhere, so every dream begins with +1.
    """

    def __init__(self, variant: str) -> None:
        self.name = "gradient" if variant == "raw" else f"gradient_{variant}"
        self._variant = variant

    def signal(self, dreams: Dreams) -> Tensor:
        """Return ``[B, T]`` of every dreamed move. ``ValueError`` where the dreams have another kind of surprise."""
        check_kind(self.name, "gradient", dreams)
        if self._variant == "raw":
            return dreams.rewards
        change = torch.diff(dreams.rewards, dim=1, prepend=torch.zeros_like(dreams.rewards[:, :1]))
        return change if self._variant == "delta" else torch.where(change > 0.0, 1.0, -1.0)


def check_kind(name: str, kind: str, dreams: Dreams) -> None:
    """Raise ``ValueError`` if the dreams say that surprise is something else than ``kind``."""
    if kind and dreams.surprise and dreams.surprise != kind:
        raise ValueError(
            f"the reward {name!r} needs a world model with the surprise {kind!r}, not {dreams.surprise!r}: "
            f"start a new one with PTZ_SURPRISE={kind}, or choose other PTZ_REWARDS"
        )
