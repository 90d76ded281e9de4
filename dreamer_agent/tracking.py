"""The pilot's tracks: what it made of every view it answered, embeddings and action values, as safetensors.

A file holds ``embeddings`` ``[N, D]`` in half precision, as the policy sees them, and ``log_probabilities`` ``[N, A]``,
the policy's value of every action. Its header's ``rows`` is a JSON list of N objects that say which view each is of,
what was chosen and by which versions.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

from dreamer_agent.settings import AgentSettings
from shared.telemetry import Metrics
from shared.tracking import Table, Tracker

ROWS = 512
EMBEDDINGS = "embeddings"
FORMAT = "ptzjepa-embeddings-1"


@dataclass(frozen=True)
class Thought:
    """What the pilot made of one view."""

    view: str
    command: str
    time: datetime
    action: str
    mode: str
    agent: str
    policy_version: int
    world_model: str
    world_model_version: int
    embedding: NDArray[np.float16]
    log_probabilities: NDArray[np.float32]

    @property
    def shape(self) -> tuple[int, int]:
        """Sizes of embedding and action table; thoughts of one file share them."""
        return self.embedding.size, self.log_probabilities.size

    def described(self) -> dict[str, str | int]:
        """Return everything but the numbers."""
        return {
            "view": self.view,
            "command": self.command,
            "time": self.time.isoformat(),
            "action": self.action,
            "mode": self.mode,
            "agent": self.agent,
            "policy_version": self.policy_version,
            "world_model": self.world_model,
            "world_model_version": self.world_model_version,
        }


def tracker(settings: AgentSettings, metrics: Metrics) -> Tracker:
    """Return the pilot's tracker; its one table is ``embeddings``."""
    return Tracker(settings, metrics, [Table(EMBEDDINGS, ".safetensors", ROWS, _encode)])


def _encode(rows: Sequence[Thought]) -> list[bytes]:
    # A new world model may have embeddings of another size: then another file begins.
    return [_file(list(group)) for _, group in itertools.groupby(rows, lambda thought: thought.shape)]


def _file(thoughts: list[Thought]) -> bytes:
    tensors: dict[str, NDArray[Any]] = {
        "embeddings": np.stack([thought.embedding for thought in thoughts]),
        "log_probabilities": np.stack([thought.log_probabilities for thought in thoughts]),
    }
    rows = json.dumps([thought.described() for thought in thoughts], separators=(",", ":"))
    return save(tensors, {"format": FORMAT, "rows": rows})
