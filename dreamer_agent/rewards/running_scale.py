"""A stream of numbers brought to mean zero and standard deviation one by its own running moments."""

from __future__ import annotations

import math

import torch
from torch import Tensor

LEAST_DEVIATION = 1e-6


class RunningScale:
    """Exponentially forgetting mean and variance.

    Forgetting, because the world model learns: what counted as a large surprise a day ago must not set today's scale.
    Slowly, because other rewards are to gain on one that fades: a scale that shrank as fast as the reward would keep a
    camera where there is next to nothing left to learn.
    Both moments are divided by the weight seen so far, so that the very first batch already counts in full.
    """

    def __init__(self, rate: float = 0.002) -> None:
        if not 0.0 < rate <= 1.0:
            raise ValueError("rate must lie in (0, 1]")
        self._rate = rate
        self._moments = torch.zeros(3, dtype=torch.float64)
        """Running mean and mean square, and the weight that both rest on."""

    def update(self, values: Tensor) -> None:
        """Take in a batch of any shape; one with a number that is not finite is ignored."""
        wide = values.detach().double()
        if wide.numel() == 0 or not bool(torch.isfinite(wide).all()):
            return
        seen = torch.stack([wide.mean(), wide.square().mean(), wide.new_tensor(1.0)])
        self._moments += self._rate * (seen.cpu() - self._moments)

    @property
    def mean(self) -> float:
        """The running mean; 0 before the first batch."""
        return float(self._moments[0] / self._moments[2]) if self._moments[2] > 0.0 else 0.0

    @property
    def deviation(self) -> float:
        """The running standard deviation; 1 before the first batch, never below a millionth."""
        if self._moments[2] <= 0.0:
            return 1.0
        variance = float(self._moments[1] / self._moments[2]) - self.mean**2
        return math.sqrt(max(variance, LEAST_DEVIATION**2))

    def normalise(self, values: Tensor) -> Tensor:
        """Return ``(values − mean) / deviation``."""
        return (values - self.mean) / self.deviation

    def state(self) -> Tensor:
        """Return ``[3]`` float64 to keep in a checkpoint."""
        return self._moments.clone()

    def load_state(self, state: Tensor) -> None:
        """Go on from what ``state`` returned. ``ValueError`` if it is not that."""
        if state.shape != (3,) or not bool(torch.isfinite(state).all()):
            raise ValueError("a running scale's state is three finite numbers")
        self._moments = state.double().clone()
