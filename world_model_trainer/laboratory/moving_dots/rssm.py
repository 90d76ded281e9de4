"""Reconstruction: a recurrent state-space model of the dots.

Hafner et al., "Learning Latent Dynamics for Planning from Pixels" (PlaNet), ICML 2019. The belief begins as the first
frame's embedding, h_1 = z_1, and goes on as h_{t+1} = GRU(net(s_t, a_t), h_t); prior p(s_t | h_t), posterior
q(s_t | h_t, z_t), decoder from (h_t, s_t):

    L = mean_t ‖frame − decoded‖² + β max(free nats, KL(q ‖ p)).

The study's code has the divergence the other way round and paints from the prior's sample; here it is as published.
Probing rolls the belief out from the first frame on the prior's means.
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from shared.world_model import WorldModel, WorldModelConfig
from world_model_trainer.laboratory.moving_dots.networks import ACTION, DotsModel, NetworkConfig
from world_model_trainer.objectives import Objective, ObjectiveConfig, Rollout, Trajectories
from world_model_trainer.objectives.base import encode_views
from world_model_trainer.objectives.rssm import balanced_divergence, gaussian

_PAINTED_FRAMES = 4
"""Of each trajectory and step: painting all of them would cost as much as everything else together."""


class RssmModel(DotsModel):
    """MeNet5, and a belief with a Gaussian state."""

    def __init__(self, config: NetworkConfig, state: int) -> None:
        super().__init__(config)
        size = config.embedding_size
        del self.recurrence
        self.entry = nn.Sequential(nn.Linear(state + ACTION, size), nn.ReLU())
        self.cell = nn.GRUCell(size, size)
        self.prior = nn.Linear(size, 2 * state)

    def next_belief(self, belief: Tensor, state: Tensor, action: Tensor) -> Tensor:
        """Return the belief after one action."""
        found: Tensor = self.cell(self.entry(torch.cat([state, action], dim=-1)), belief)
        return found

    def dream(self, embedding: Tensor, actions: Tensor) -> Tensor:
        """Predict beliefs open loop from ``embedding [B, D]`` under ``actions [B, T, 2]``: ``[B, T, D]``."""
        belief, beliefs = embedding.float(), []
        for action in actions.unbind(1):
            belief = self.next_belief(belief, gaussian(self.prior(belief))[0], action)
            beliefs.append(belief)
        return torch.stack(beliefs, dim=1)


class DotsRssm(Objective):
    """``L = reconstruction + divergence``."""

    WEIGHTS: ClassVar = {"reconstruction": 1.0, "divergence": 0.01}

    def __init__(self, world_model: WorldModelConfig, config: ObjectiveConfig, channels: int = 1) -> None:
        super().__init__(world_model, config)
        size, state = world_model.embedding_size, config.stochastic_size
        self.posterior = nn.Sequential(nn.Linear(2 * size, size), nn.ReLU(), nn.Linear(size, 2 * state))
        self.decoder = Decoder(size + state, channels)

    def roll_out(self, model: WorldModel, batch: Trajectories) -> Rollout:
        """Follow the frames with the posterior; add paintings of some, and prior and posterior of all."""
        rssm = cast("RssmModel", model)
        encoded = encode_views(model, batch).embedding.float()
        belief = encoded[:, 0]
        beliefs: list[Tensor] = []
        states: list[Tensor] = []
        posteriors: list[Tensor] = []
        for step in range(encoded.shape[1]):
            if step:
                belief = rssm.next_belief(belief, states[-1], batch.actions[:, step - 1])
            posterior = self.posterior(torch.cat([belief, encoded[:, step]], dim=-1)).float()
            mean, deviation = gaussian(posterior)
            beliefs.append(belief.float())
            states.append(mean + deviation * torch.randn_like(mean))
            posteriors.append(posterior)
        followed = torch.stack(beliefs, dim=1)
        known = torch.cat([followed, torch.stack(states, dim=1)], dim=-1)
        frames = torch.randperm(encoded.shape[1], device=encoded.device)[:_PAINTED_FRAMES]
        extra = {
            "painting": self.decoder(known[:, frames].flatten(0, 1)).float(),
            "image": batch.images[:, frames].flatten(0, 1),
            "prior": rssm.prior(followed).float(),
            "posterior": torch.stack(posteriors, dim=1),
        }
        unconcerned = encoded.new_zeros(encoded.shape[0], encoded.shape[1] - 1)
        rollout = Rollout(encoded, followed[:, 1:], unconcerned, batch.actions, poses=batch.poses)
        return dataclasses.replace(rollout, extra=extra)

    def forward(self, rollout: Rollout) -> dict[str, Tensor]:
        """Return the weighted terms by name."""
        extra = rollout.extra
        return self.weigh(
            reconstruction=F.mse_loss(extra["painting"], extra["image"]),
            divergence=balanced_divergence(extra["posterior"], extra["prior"], self.config.free_nats),
        )


class Decoder(nn.Module):
    """From a state to a frame: 64 maps of 7 × 7, doubled twice."""

    def __init__(self, state: int, channels: int) -> None:
        super().__init__()
        self.entry = nn.Sequential(nn.Linear(state, 64 * 49), nn.ReLU(), nn.Unflatten(1, (64, 7, 7)))
        self.paint = nn.Sequential(
            nn.ConvTranspose2d(64, 32, 4, stride=2, padding=1),
            nn.BatchNorm2d(32),
            nn.ReLU(),
            nn.ConvTranspose2d(32, channels, 4, stride=2, padding=1),
        )

    def forward(self, known: Tensor) -> Tensor:
        """Paint ``known [B, N]``: ``[B, C, 28, 28]``."""
        painting: Tensor = self.paint(self.entry(known))
        return painting
