"""Small worlds for tests: a hand-made one whose rewards are known, and dreams without any world."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from dreamer_agent.agents.base import Agent
from dreamer_agent.dreaming import dream
from dreamer_agent.dreams import DreamOrigin, Dreams
from dreamer_agent.reach import action_tensor, limits_tensor, pose_tensor
from shared.actions import DEFAULT_ACTIONS
from shared.pose import Pose, PoseLimits

SIZE = 8


@dataclass
class Foreseen:
    embedding: Tensor
    surprise: Tensor


class ToyWorld:
    """Expects much surprise of one move and little of all others; the embedding drifts with the pose."""

    def __init__(self, exciting: int, much: float = 1.0, little: float = 0.01) -> None:
        self._move = action_tensor(DEFAULT_ACTIONS)[exciting]
        self._much, self._little = much, little

    def predict(self, embedding: Tensor, pose: Tensor, action: Tensor, next_pose: Tensor) -> Foreseen:
        exciting = (action == self._move).all(dim=-1)
        surprise = torch.where(exciting, torch.tensor(self._much), torch.tensor(self._little))
        return Foreseen(embedding * 0.9 + next_pose.mean(dim=-1, keepdim=True) * 0.01, surprise)


def toy_dreams(
    agent: Agent,
    world: ToyWorld | None = None,
    *,
    count: int = 32,
    length: int = 10,
    seed: int = 0,
    random_share: float = 0.1,
    limits: PoseLimits | None = None,
    size: int = SIZE,
    per_start: int = 1,
) -> Dreams:
    generator = torch.Generator().manual_seed(seed)
    bounds = limits or PoseLimits()
    poses = [
        bounds.reach(pan, tilt, zoom)
        for pan, tilt, zoom in (torch.rand(count, 3, generator=generator) * 120 - 60).tolist()
    ]
    return dream(
        world or ToyWorld(exciting=17),
        agent,
        torch.randn(count, size, generator=generator),
        pose_tensor(poses),
        limits_tensor([bounds] * count),
        action_tensor(DEFAULT_ACTIONS),
        length=length,
        random_share=random_share,
        generator=generator,
        per_start=per_start,
    )


def origin(**changes: object) -> DreamOrigin:
    fields = {
        "world_model": "wm_00_00",
        "world_model_version": 1,
        "agent": "ag_00_00",
        "policy_version": 0,
        "camera": "north",
        "action_table": DEFAULT_ACTIONS.digest,
    }
    return DreamOrigin.model_validate(fields | changes)


ORIGIN = Pose(pan=0.0, tilt=0.0)
