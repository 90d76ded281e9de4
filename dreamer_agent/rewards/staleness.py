"""Reward looking where nobody has looked for long: nothing else brings the camera back to what is known already."""

from __future__ import annotations

import torch
from torch import Tensor

from dreamer_agent.dreams import Dreams
from shared.viewing import Optics

CELL = 10.0
"""Degrees of pan and tilt that one cell spans."""


class Seen:
    """When each direction was in a real view last: cells of 10° × 10°. One record serves one camera.

    A view shows what lies within half its angle of the optical axis, which zoom divides; across, the meridians crowd
    towards the poles, so more of them are shown there.
    """

    def __init__(self, optics: Optics | None = None) -> None:
        self._optics = optics or Optics()
        pans = torch.arange(-180.0 + CELL / 2.0, 180.0, CELL)
        tilts = torch.arange(-90.0 + CELL / 2.0, 90.0, CELL)
        grid = torch.cartesian_prod(pans, tilts)
        self._pan, self._tilt = grid[:, 0], grid[:, 1]
        self._squeeze = torch.cos(torch.deg2rad(self._tilt))
        self._last = torch.full((len(grid),), -torch.inf, dtype=torch.float64)
        self._first_time: float | None = None
        self._now = 0.0

    def note(self, poses: Tensor, seconds: Tensor) -> None:
        """Take note of views at ``poses [N, 3]``, taken at ``seconds [N]`` since any fixed time, in any order."""
        if not len(poses):
            return
        times = seconds.double()
        shown = self.shown(poses)
        latest = torch.where(shown, times.unsqueeze(1), -torch.inf).amax(dim=0)
        self._last = torch.maximum(self._last, latest)
        self._now = max(self._now, float(times.max())) if self._first_time is not None else float(times.max())
        first = float(times.min())
        self._first_time = first if self._first_time is None else min(self._first_time, first)

    def shown(self, poses: Tensor) -> Tensor:
        """Return ``[..., C]``: whether a view at ``poses [..., 3]`` shows the middle of each cell."""
        pan, tilt, zoom = (each.unsqueeze(-1) for each in poses.unbind(-1))
        across = ((self._pan - pan + 180.0) % 360.0 - 180.0).abs() * self._squeeze
        upright = (self._tilt - tilt).abs()
        # However narrow, a view shows the cell that its axis is in.
        half_across = (self._optics.across / 2.0 / zoom).clamp_min(CELL / 2.0)
        half_upright = (self._optics.upright / 2.0 / zoom).clamp_min(CELL / 2.0)
        return (across <= half_across) & (upright <= half_upright)

    def ages(self) -> Tensor:
        """Return ``[C]`` in [0, 1]: how long each cell has not been seen, as a share of the record's span.

        A cell never seen is as old as the record; with fewer than two moments on record all that was seen is new.
        """
        span = self._now - self._first_time if self._first_time is not None else 0.0
        ages = (self._now - self._last) / span if span > 0.0 else torch.where(self._last.isinf(), 1.0, 0.0)
        return ages.clamp(0.0, 1.0).float()


class StalenessReward:
    """The mean age of what a view would show. What a dream has looked at already is fresh for the rest of it."""

    name = "staleness"

    def __init__(self, seen: Seen | None = None) -> None:
        self.seen = seen or Seen()

    def saw(self, pose: Tensor, seconds: float) -> None:
        """Take note of a real view at ``pose [3]``, taken at ``seconds``."""
        self.seen.note(pose.unsqueeze(0), torch.tensor([seconds], dtype=torch.float64))

    def signal(self, dreams: Dreams) -> Tensor:
        """Return ``[B, T]`` in [0, 1] of every dreamed move."""
        ages = self.seen.ages().expand(len(dreams), -1)
        rewards = []
        for step in range(dreams.length + 1):
            shown = self.seen.shown(dreams.poses[:, step])
            rewards.append((ages * shown).sum(dim=1) / shown.sum(dim=1).clamp_min(1))
            ages = ages * ~shown
        return torch.stack(rewards[1:], dim=1)
