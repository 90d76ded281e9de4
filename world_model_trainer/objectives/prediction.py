"""The terms that all objectives share: prediction, and what surprise is taught by."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from world_model_trainer.objectives.base import Maps, Rollout

_ERROR_FLOOR = 1e-6
_GRADIENT_FLOOR = 1e-12


def squared_errors(rollout: Rollout, target: Tensor | None = None) -> Tensor:
    """Return the multi-step open-loop errors ``[B, T]``: squared, mean over dimensions.

    Gradients flow to both sides, unless another ``target [B, T+1, D]`` than the embeddings themselves is given.
    """
    views = rollout.encoded if target is None else target
    return (rollout.predicted - views[:, 1:]).square().mean(dim=-1)


def prediction_term(rollout: Rollout, target: Tensor | None = None) -> Tensor:
    """Mean squared error of predictions: over open-loop steps, and over ordered pairs where they were predicted.

    Where there are both, each counts half. A view paired with itself is left out: no move, no error.
    """
    open_loop = squared_errors(rollout, target).mean()
    if rollout.pairs is None:
        return open_loop
    views = rollout.encoded if target is None else target
    return 0.5 * (open_loop + off_diagonal((rollout.pairs - views.unsqueeze(1)).square().mean(dim=-1)).mean())


def tokens_term(maps: Maps) -> Tensor:
    """SmoothL1 of foreseen spatial maps, over pairs of different views, as in PTZJEPA; the maps seen are fixed."""
    targets = maps.seen.unsqueeze(1).expand_as(maps.predicted)
    errors = F.smooth_l1_loss(maps.predicted, targets, reduction="none")
    return off_diagonal(errors.mean(dim=(-2, -1))).mean()


def off_diagonal(pairs: Tensor) -> Tensor:
    """Return the entries of ``pairs [B, V, V]`` whose two views differ, ``[B, V·(V−1)]``."""
    different = ~torch.eye(pairs.shape[-1], dtype=torch.bool, device=pairs.device)
    return pairs[:, different]


def surprise_term(rollout: Rollout) -> Tensor:
    """Teach the world model's judge what is to be expected; nothing else gets a gradient.

    A head learns the logarithm of the measured gradient, where gradients were measured, else that of the squared error,
    sample by sample. An ensemble's members learn to predict, each from its own random half of the samples; beside
    them a head learns, where the action was none, the logarithm of what changed all the same.
    """
    if rollout.guesses is not None:
        members = _ensemble_term(rollout.guesses, rollout.encoded[:, 1:].detach())
        return members if rollout.unrest is None else members + _unrest_term(rollout.unrest, rollout)
    if rollout.magnitudes is not None:
        measured = torch.isfinite(rollout.magnitudes)
        target = torch.log(rollout.magnitudes[measured] + _GRADIENT_FLOOR)
        return F.mse_loss(rollout.log_surprise[measured], target)
    return log_error_term(rollout.log_surprise, squared_errors(rollout))


def log_error_term(log_surprise: Tensor, error: Tensor) -> Tensor:
    """Squared difference of expected and real log error, sample by sample; the error itself gets no gradient."""
    return F.mse_loss(log_surprise, torch.log(error.detach() + _ERROR_FLOOR))


def _ensemble_term(guesses: Tensor, target: Tensor) -> Tensor:
    errors = (guesses - target.unsqueeze(2)).square().mean(dim=-1)
    shown = (torch.rand_like(errors) < 0.5).float()
    return (errors * shown).sum() / shown.sum().clamp_min(1.0)


def _unrest_term(unrest: Tensor, rollout: Rollout) -> Tensor:
    still = (rollout.actions == 0.0).all(dim=-1)
    change = torch.diff(rollout.encoded.detach(), dim=1).square().mean(dim=-1)
    # Not squared: a head that begins with no unrest at all is far off, and would take the whole of a clipped gradient.
    errors = F.smooth_l1_loss(unrest, torch.log(change + _ERROR_FLOOR), reduction="none")
    return (errors * still).sum() / still.sum().clamp_min(1)
