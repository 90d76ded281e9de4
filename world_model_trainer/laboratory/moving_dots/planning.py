"""Planning to a place: actions by gradient through predictor and probe, then carried out on the real dot.

The study's ``probe_mpc``, whose code calls a method without its instance. From one frame, 16 actions are found by 100
steps of Adam, of a rate that falls to nothing: they are to bring what the probe reads of every dreamt state to the
target. No action is longer than the longest in the data. They are carried out all at once, without another look.
"""

from __future__ import annotations

import torch
from torch import Tensor

from world_model_trainer.laboratory.moving_dots.data import ACTION_SCALE, MAX_STEP, SIDE, MovingDots
from world_model_trainer.laboratory.moving_dots.networks import DotsModel
from world_model_trainer.laboratory.moving_dots.probing import JUDGED, Read, fit_probe, look

PROBLEMS, STEPS, RATE = 20, 100, 0.1
ARRIVED = 1.0
"""Pixels from the target."""
_LONGEST = MAX_STEP / ACTION_SCALE


def probe_mpc(model: DotsModel, dots: MovingDots, problems: int = PROBLEMS, judged: int = JUDGED) -> dict[str, float]:
    """Plan to as many targets and return the mean distance in pixels that is left, and the share that arrived.

    ``start``: the distance before. ``random``, ``random_arrived``: after the data's own actions, the floor.
    """
    model.eval()
    seen = look(model, dots, 2 * judged)
    read = fit_probe(seen.states, seen.locations[:, :, 0])
    batch, targets = dots.draw(problems), dots.draw(problems).locations[:, 0, 0]
    with torch.no_grad():
        first = model.encode(batch.states[:, 0]).embedding
    actions = plan(model, read, first, targets, batch.actions.shape[1])
    start = batch.locations[:, 0, 0]
    planned, drifted = (_left(dots, start, each, targets) for each in (actions, batch.actions[:, :, 0]))
    return {
        "distance": float(planned.mean()),
        "arrived": float((planned < ARRIVED).float().mean()),
        "random": float(drifted.mean()),
        "random_arrived": float((drifted < ARRIVED).float().mean()),
        "start": float((start - targets).norm(dim=-1).mean()),
    }


def plan(model: DotsModel, read: Read, first: Tensor, targets: Tensor, moves: int) -> Tensor:
    """Return actions ``[B, moves, 2]`` that are to bring the dot to ``targets [B, 2]`` pixels.

    ``first [B, D]``: the embedding to begin from.
    """
    actions = torch.zeros(len(first), moves, targets.shape[-1], device=first.device, requires_grad=True)
    optimizer = torch.optim.Adam([actions], lr=RATE)
    for step in range(STEPS):
        # At a steady rate the last steps would still shake every action.
        optimizer.param_groups[0]["lr"] = RATE * (1.0 - step / STEPS)
        reached = read(model.dream(first, limited(actions)))
        loss = ((reached - targets.unsqueeze(1)) / SIDE).square().sum(dim=-1).mean()
        (actions.grad,) = torch.autograd.grad(loss, [actions])
        optimizer.step()
    return limited(actions).detach()


def limited(actions: Tensor) -> Tensor:
    """Shorten ``actions [..., 2]`` that are longer than any in the data."""
    length = actions.square().sum(dim=-1, keepdim=True).add(1e-12).sqrt()
    return actions * (_LONGEST / length).clamp_max(1.0)


def _left(dots: MovingDots, start: Tensor, actions: Tensor, targets: Tensor) -> Tensor:
    distance: Tensor = (dots.follow(start, actions * ACTION_SCALE)[:, -1] - targets).norm(dim=-1)
    return distance
