"""The price of moving: motors wear."""

from __future__ import annotations

from torch import Tensor

from dreamer_agent.dreams import Dreams
from shared.world_model.features import move_size


class SlewReward:
    """Less the way that a move goes, in large moves (10 degrees, or 0.2 of log zoom): a weight above zero is a cost."""

    name = "slew"

    def signal(self, dreams: Dreams) -> Tensor:
        """Return ``[B, T]``, never above zero, of every dreamed move."""
        return -move_size(dreams.poses[:, :-1], dreams.poses[:, 1:])
