"""What torchrun tells the processes that it starts: ``torchrun --nproc-per-node=N -m world_model_trainer``.

Rank 0 is the service and leads the team; the other ranks follow. Without torchrun the service starts its followers
itself (``PTZ_PROCESSES``).
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Launched:
    """A process's place among those that torchrun started."""

    rank: int
    size: int

    @property
    def settings(self) -> dict[str, Any]:
        """The settings that follow from it, whatever the environment says."""
        return {"processes": self.size}


def launched() -> Launched | None:
    """Return this process's place; None where torchrun did not start it."""
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return None
    return Launched(int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]))
