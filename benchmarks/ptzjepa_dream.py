"""PTZJEPA's dream and its agent's update, written from a description of them: what ours are measured against.

A dream is a batch of four views, 256 tokens each, rolled forward by the predictor of 21 million weights under random
moves, with the reward of every move averaged over its tokens. An update is vanilla Q-learning on batches of single
transitions with a target network of the same 21 million weights.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.ptzjepa_step import BATCH, TOKENS, WIDTH, Predictor, Values
from shared.actions import DEFAULT_ACTIONS

DISCOUNT, FOLLOWING, GRADIENT_NORM = 0.99, 5e-4, 1.0


class Dreamer:
    """Rolls dreams of random moves forward."""

    def __init__(self) -> None:
        self._predictor = Predictor().eval().requires_grad_(False)
        self._moves = torch.tensor(DEFAULT_ACTIONS.deltas())

    @torch.no_grad()
    def dream(self, steps: int) -> tuple[Tensor, Tensor]:
        """Return states ``[4, T+1, 256, 192]`` and rewards ``[4, T]``."""
        tokens, here = torch.randn(BATCH, TOKENS, WIDTH), torch.zeros(BATCH, 3)
        states, rewards = [tokens], []
        for _ in range(steps):
            there = here + self._moves[torch.randint(len(self._moves), (BATCH,))]
            tokens, reward = self._predictor(tokens, here, there, one_query=False)
            states.append(tokens)
            rewards.append(reward.mean(dim=(1, 2)))
            here = there
        return torch.stack(states, dim=1), torch.stack(rewards, dim=1)


class Learner:
    """Improves the values of moves, a batch of transitions at a time."""

    def __init__(self) -> None:
        self._values = Values()
        self._target = copy.deepcopy(self._values).requires_grad_(False)
        self._optimizer = torch.optim.AdamW(self._values.parameters(), lr=1e-4, weight_decay=0.04)

    def update(self, transitions: int) -> float:
        """Learn from so many transitions; returns the loss. PTZJEPA's batches are of 64, which need 8 GB."""
        before, after = torch.randn(2, transitions, TOKENS, WIDTH)
        here, actions = torch.zeros(transitions, 3), torch.randint(len(DEFAULT_ACTIONS), (transitions, 1))
        with torch.no_grad():
            following = self._target(after, here).amax(dim=1)
        wanted = torch.sign(torch.randn(transitions)) + DISCOUNT * following
        loss = F.smooth_l1_loss(self._values(before, here).gather(1, actions).squeeze(1), wanted)
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self._values.parameters(), GRADIENT_NORM)
        self._optimizer.step()
        with torch.no_grad():
            for slow, fast in zip(self._target.parameters(), self._values.parameters(), strict=True):
                slow.lerp_(fast, FOLLOWING)
        return float(loss.detach())
