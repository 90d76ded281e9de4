"""The generative baseline: a recurrent state-space model that has to paint what it sees.

Hafner et al., "Learning Latent Dynamics for Planning from Pixels" (PlaNet), ICML 2019, with balanced divergence from
"Mastering Atari with Discrete World Models", ICLR 2021. A belief h_t = GRU(h_{t−1}, s_{t−1}, move), a Gaussian state:
prior p(s_t | h_t), posterior q(s_t | h_t, z_t), decoder p(image | h_t, s_t);

    L = mean_t [ ‖image − decoded‖² + β max(free nats, KL(q ‖ p)) ].

The embedding z_t is shaped by painting alone. The world model's own predictor learns on it without bending it, so that
dreams and evaluation work as with every other objective.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from shared.world_model import Encoding, WorldModel, WorldModelConfig, action_features, pose_features
from shared.world_model.encoder import as_floats, normalise_light
from world_model_trainer.objectives.base import (
    Objective,
    ObjectiveConfig,
    Rollout,
    Trajectories,
    encode_views,
    predict_views,
)
from world_model_trainer.objectives.prediction import prediction_term

_LEAST_DEVIATION = 0.1
_TO_PRIOR = 0.8
"""Share of the divergence that teaches the prior; the rest holds the posterior back."""
_PAINTED = 64
"""Pixels: larger views are painted at this size."""


class Rssm(Objective):
    """``L = reconstruction + divergence``, and prediction for the world model's predictor alone."""

    WEIGHTS: ClassVar = {"prediction": 1.0, "reconstruction": 1.0, "divergence": 0.01}

    def __init__(self, world_model: WorldModelConfig, config: ObjectiveConfig) -> None:
        super().__init__(world_model, config)
        belief, state = config.belief_size, config.stochastic_size
        moves = 2 * sum(world_model.harmonics) + 6
        self.recurrence = nn.GRUCell(state + moves, belief)
        self.prior = nn.Linear(belief, 2 * state)
        self.posterior = nn.Linear(belief + world_model.embedding_size, 2 * state)
        self.decoder = Decoder(belief + state, min(world_model.image_size, _PAINTED))

    def roll_out(self, model: WorldModel, batch: Trajectories) -> Rollout:
        """Add the paintings, what was to be painted, and prior and posterior at every step."""
        encoding = encode_views(model, batch)
        fixed = Encoding(encoding.tokens.detach(), encoding.embedding.detach())
        rollout = predict_views(model, batch, fixed)
        extra = self._believe(encoding.embedding, batch)
        images = as_floats(batch.images.flatten(0, 1))
        shrunk = normalise_light(F.adaptive_avg_pool2d(images, self.decoder.size))
        extra["image"] = shrunk.reshape(*batch.images.shape[:2], *shrunk.shape[1:])
        return dataclasses.replace(rollout, extra=extra)

    def forward(self, rollout: Rollout) -> dict[str, Tensor]:
        """Return the weighted terms by name."""
        extra = rollout.extra
        return self.weigh(
            prediction=prediction_term(rollout),
            reconstruction=F.mse_loss(extra["painting"], extra["image"]),
            divergence=balanced_divergence(extra["posterior"], extra["prior"], self.config.free_nats),
        )

    def _believe(self, embeddings: Tensor, batch: Trajectories) -> dict[str, Tensor]:
        """Follow the views of ``embeddings [B, T+1, D]``; Gaussians as mean and raw deviation side by side."""
        trajectories, views = embeddings.shape[:2]
        belief = embeddings.new_zeros(trajectories, self.config.belief_size).float()
        state = embeddings.new_zeros(trajectories, self.config.stochastic_size).float()
        priors, posteriors, known = [], [], []
        for view in range(views):
            belief = self.recurrence(torch.cat([state, self._move(batch, view)], dim=-1), belief)
            posterior = self.posterior(torch.cat([belief, embeddings[:, view]], dim=-1)).float()
            mean, deviation = gaussian(posterior)
            state = mean + deviation * torch.randn_like(mean)
            priors.append(self.prior(belief).float())
            posteriors.append(posterior)
            known.append(torch.cat([belief.float(), state], dim=-1))
        painted = self.decoder(torch.stack(known, dim=1).flatten(0, 1)).float()
        painting = painted.reshape(trajectories, views, *painted.shape[1:])
        return {"painting": painting, "prior": torch.stack(priors, dim=1), "posterior": torch.stack(posteriors, dim=1)}

    def _move(self, batch: Trajectories, view: int) -> Tensor:
        pose = pose_features(batch.poses[:, view], *self.world_model.harmonics)
        action = batch.actions[:, view - 1] if view else torch.zeros_like(batch.actions[:, 0])
        return torch.cat([pose, action_features(action)], dim=-1)


class Decoder(nn.Module):
    """From a state to a picture ``[B, 3, S, S]`` of normalised light: a small map, doubled until it is large enough."""

    def __init__(self, state: int, size: int) -> None:
        super().__init__()
        self.size, doublings = size, max(0, math.ceil(math.log2(size / 4)))
        widths = [128 // 2 ** min(step, 3) for step in range(doublings + 1)]
        self.entry = nn.Linear(state, widths[0] * 16)
        stages: list[nn.Module] = []
        for wide, narrow in itertools.pairwise(widths):
            stages += [nn.ConvTranspose2d(wide, narrow, 4, stride=2, padding=1), nn.GroupNorm(8, narrow), nn.SiLU()]
        self.stages = nn.Sequential(*stages)
        self.paint = nn.Conv2d(widths[-1], 3, 3, padding=1)

    def forward(self, state: Tensor) -> Tensor:
        """Paint ``state [B, N]``."""
        canvas = self.stages(self.entry(state).unflatten(1, (-1, 4, 4)))
        painting: Tensor = self.paint(canvas)[..., : self.size, : self.size]
        return painting


def gaussian(parameters: Tensor) -> tuple[Tensor, Tensor]:
    """Split ``parameters [..., 2N]`` into means and deviations ``[..., N]``."""
    mean, raw = parameters.chunk(2, dim=-1)
    return mean, F.softplus(raw) + _LEAST_DEVIATION


def divergence(posterior: Tensor, prior: Tensor) -> Tensor:
    """KL(posterior ‖ prior) of diagonal Gaussians ``[..., 2N]``, in nats: ``[...]``.

    log(σ_p / σ_q) + (σ_q² + (μ_q − μ_p)²) / (2 σ_p²) − 1/2, summed over dimensions.
    """
    (mean, deviation), (prior_mean, prior_deviation) = gaussian(posterior), gaussian(prior)
    ratio = (deviation.square() + (mean - prior_mean).square()) / (2.0 * prior_deviation.square())
    return (torch.log(prior_deviation / deviation) + ratio - 0.5).sum(dim=-1)


def balanced_divergence(posterior: Tensor, prior: Tensor, free_nats: float) -> Tensor:
    """Mean divergence whose gradient goes mostly to the prior; below ``free_nats`` it is constant."""
    to_prior = divergence(posterior.detach(), prior).mean().clamp_min(free_nats)
    to_posterior = divergence(posterior, prior.detach()).mean().clamp_min(free_nats)
    return _TO_PRIOR * to_prior + (1.0 - _TO_PRIOR) * to_posterior
