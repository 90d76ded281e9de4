"""Dreaming: the world model rolled forward in embedding space, many dreams at a time, under moves nobody made."""

from __future__ import annotations

import torch
from torch import Tensor

from dreamer_agent.agents.base import Agent, Mode
from dreamer_agent.dreams import Dreams
from dreamer_agent.imagination import Imagination
from dreamer_agent.reach import reach


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
    per_start: int = 1,
    surprise: str = "",
) -> Dreams:
    """Dream ``length`` moves from each of ``B`` starts: ``embedding [B, D]``, ``pose [B, 3]``, ``limits [B, 5]``.

    ``actions [A, 3]`` is the action table. The agent chooses, except for ``random_share`` of the moves, or all of them
    where the agent wants it so; the recorded probabilities are those of this mixture. ``per_start`` dreams begin at
    each start, so ``B·per_start`` come back.
    ``surprise`` says what the world model's surprise is. ``ValueError`` if it says something that is not finite.
    """
    starts = torch.arange(len(embedding), dtype=torch.int32).repeat_interleave(per_start)
    if per_start > 1:
        embedding, pose, limits = (each.repeat_interleave(per_start, dim=0) for each in (embedding, pose, limits))
    embeddings, poses = [embedding.half()], [pose]
    chosen, log_probs, rewards = [], [], []
    if agent.dreams_at_random:
        random_share = 1.0
    for _ in range(length):
        # Agent and world model see what will be stored, so that a learner finds the very same probabilities.
        seen = embeddings[-1].float()
        index, log_prob = agent.act(seen, pose, Mode.SAMPLE, random_share=random_share, generator=generator)
        action = actions[index]
        next_pose = reach(pose + action, limits)
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
        starts,
        surprise,
    )
    dreams.check()
    return dreams
