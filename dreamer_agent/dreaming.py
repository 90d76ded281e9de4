"""Dreaming: the world model rolled forward in embedding space, many dreams at a time, under moves nobody made."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from dreamer_agent.agents.base import Agent, Mode
from dreamer_agent.dreams import Dreams
from dreamer_agent.reach import reach


class Foresight(Protocol):
    """What a world model says of one move."""

    @property
    def embedding(self) -> Tensor:
        """The next embedding, ``[B, D]``."""

    @property
    def surprise(self) -> Tensor:
        """How wrong the model expects to be, ``[B]``, never negative."""


class Imagination(Protocol):
    """The one thing that dreaming needs of a world model."""

    def predict(self, embedding: Tensor, pose: Tensor, action: Tensor, next_pose: Tensor) -> Foresight:
        """Predict one move of every dream: ``[B, D]`` and three times ``[B, 3]``."""


@torch.no_grad()
def dream(
    world_model: Imagination,
    agent: Agent,
    embedding: Tensor,
    pose: Tensor,
    limits: Tensor,
    actions: Tensor,
    *,
    length: int,
    random_share: float,
    generator: torch.Generator,
) -> Dreams:
    """Dream ``length`` moves from each of ``B`` starts: ``embedding [B, D]``, ``pose [B, 3]``, ``limits [B, 5]``.

    ``actions [A, 3]`` is the action table. The agent chooses, except for ``random_share`` of the moves; the recorded
    probabilities are those of this mixture. ``ValueError`` if the world model says something that is not finite.
    """
    embeddings, poses = [embedding.half()], [pose]
    chosen, log_probs, rewards = [], [], []
    for _ in range(length):
        # Agent and world model see what will be stored, so that a learner finds the very same probabilities.
        seen = embeddings[-1].float()
        index, log_prob = agent.act(seen, pose, Mode.SAMPLE, random_share=random_share, generator=generator)
        action = actions[index]
        next_pose = reach(pose, action, limits)
        foresight = world_model.predict(seen, pose, action, next_pose)
        embeddings.append(foresight.embedding.half())
        poses.append(next_pose)
        chosen.append(index)
        log_probs.append(log_prob)
        rewards.append(foresight.surprise.float())
        pose = next_pose
    dreams = Dreams(
        torch.stack(embeddings, dim=1),
        torch.stack(poses, dim=1),
        torch.stack(chosen, dim=1),
        torch.stack(log_probs, dim=1),
        torch.stack(rewards, dim=1),
    )
    dreams.check()
    return dreams
