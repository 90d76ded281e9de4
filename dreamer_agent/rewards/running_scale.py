"""A stream of numbers brought to mean zero and standard deviation one by its own running moments."""

from __future__ import annotations

import math

import torch
from torch import Tensor

LEAST_DEVIATION = 1e-6


class RunningScale:
    """Exponentially forgetting offset and standard deviation.

    Forgetting, because the world model learns: what counted as a large surprise a day ago must not set today's scale.
    The deviation forgets slowly, because other rewards are to gain on one that fades: a scale that shrank as fast as
    the reward would keep a camera where there is next to nothing left to learn. The offset follows quickly, because a
    reward that fades fades everywhere: a critic sums it over a whole horizon, and would have to follow that sum before
    it could tell places apart. All moments are divided by the weight seen so far, so that the very first batch already
    counts in full.
    """

    def __init__(self, rate: float = 0.002, offset_rate: float = 0.05) -> None:
        if not (0.0 < rate <= 1.0 and 0.0 < offset_rate <= 1.0):
            raise ValueError("rates must lie in (0, 1]")
        self._rates = torch.tensor([rate, rate, rate, offset_rate, offset_rate], dtype=torch.float64)
        self._moments = torch.zeros(5, dtype=torch.float64)
        """Running mean and mean square and the weight that both rest on; the offset and its weight."""

    def update(self, values: Tensor) -> None:
        """Take in a batch of any shape; one with a number that is not finite is ignored."""
        wide = values.detach().double()
        if wide.numel() == 0 or not bool(torch.isfinite(wide).all()):
            return
        mean, one = wide.mean(), wide.new_tensor(1.0)
        seen = torch.stack([mean, wide.square().mean(), one, mean, one])
        self._moments += self._rates * (seen.cpu() - self._moments)

    @property
    def offset(self) -> float:
        """The mean of the last batches, some twenty of them; 0 before the first one."""
        return float(self._moments[3] / self._moments[4]) if self._moments[4] > 0.0 else 0.0

    @property
    def deviation(self) -> float:
        """The running standard deviation; 1 before the first batch, never below a millionth."""
        if self._moments[2] <= 0.0:
            return 1.0
        mean, square = (self._moments[:2] / self._moments[2]).tolist()
        return math.sqrt(max(square - mean**2, LEAST_DEVIATION**2))

    def normalise(self, values: Tensor) -> Tensor:
        """Return ``(values − offset) / deviation``."""
        return (values - self.offset) / self.deviation

    def state(self) -> Tensor:
        """Return ``[5]`` float64 to keep in a checkpoint."""
        return self._moments.clone()

    def load_state(self, state: Tensor) -> None:
        """Go on from what ``state`` returned. ``ValueError`` if it is not that."""
        if state.shape != (5,) or not bool(torch.isfinite(state).all()):
            raise ValueError("a running scale's state is five finite numbers")
        self._moments = state.double().clone()
