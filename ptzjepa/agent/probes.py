"""What the grader asks of world models and policies; no arm learns anything from it.

Errors are squared, mean over the embedding's dimensions, all in the one feature space of the shared eyes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from dreamer_agent.agents.base import Agent, Mode
from dreamer_agent.dreams import Dreams
from dreamer_agent.examination.statistics import spearman
from dreamer_agent.examination.zones import NAMES, ZONES, Zone, ZoneLayout
from dreamer_agent.reach import action_tensor, limits_tensor, reach, wrap_pan
from dreamer_agent.rewards import RewardMix
from ptzjepa.agent.eyes import encode, look
from ptzjepa.agent.material import Transitions, Walks
from ptzjepa.agent.protocol import LIMITS, MOVES, PLACES, VIEW_ANGLE, ZOOM
from ptzjepa.agent.zoned import ZonedScene
from shared.pose import Pose
from shared.world_model import WorldModel

CALIBRATED = 500
"""Poses that dreamed rewards and true errors are compared at."""
_FRESH_RATE, _FRESH_BATCH = 3e-3, 64
_CAMERAS, _STEPS, _SETTLING = 32, 32, 12


@torch.no_grad()
def errors(model: WorldModel, asked: Transitions) -> Tensor:
    """Return the errors ``[N]`` of one-step predictions."""
    foreseen = model.predict(asked.start, asked.pose, asked.action, asked.next_pose).embedding
    return (foreseen - asked.end).float().square().mean(dim=1)


def by_zone(layout: ZoneLayout, asked: Transitions, wrong: Tensor) -> dict[str, dict[str, float]]:
    """Return error and explained variance of the views in every zone."""
    zones = torch.from_numpy(layout.zone_at(asked.next_pose[:, 0].numpy()))
    found = {}
    for zone in ZONES:
        inside = zones == zone
        error = float(wrong[inside].mean())
        spread = float(asked.end[inside].var(dim=0, correction=0).mean())
        found[NAMES[zone]] = {"error": error, "explained": 1.0 - error / spread}
    return found


def clear_of_tv(layout: ZoneLayout, asked: Transitions) -> Tensor:
    """Return ``[N]``: whether a move leads to a view that shows nothing of the TV.

    What nobody can foresee is error wherever it is in view, and says nothing of what is known.
    """
    away = wrap_pan(asked.next_pose[:, 0] - layout.middle(Zone.TV)).abs() - layout.width / 2.0
    # A tilted view reaches further to the side: at its corners, which are nearest to a pole.
    tilt, half = torch.deg2rad(asked.next_pose[:, 1].abs()), math.tan(math.radians(VIEW_ANGLE / 2.0))
    aside = torch.rad2deg(torch.atan2(torch.full_like(tilt, half), tilt.cos() - tilt.sin() * half))
    return away > aside


@torch.no_grad()
def calibration(model: WorldModel, rewards: RewardMix, layout: ZoneLayout, asked: Transitions) -> float:
    """Return Spearman's ρ of dreamed rewards with the true errors, at poses that show nothing of the TV."""
    chosen = torch.nonzero(clear_of_tv(layout, asked)).squeeze(1)[:CALIBRATED]
    some = Transitions(*(getattr(asked, name)[chosen] for name in ("start", "pose", "action", "next_pose", "end")))
    foreseen = model.predict(some.start, some.pose, some.action, some.next_pose)
    count = len(chosen)
    dreams = Dreams(
        torch.stack([some.start, foreseen.embedding], dim=1).half(),
        torch.stack([some.pose, some.next_pose], dim=1),
        torch.zeros((count, 1), dtype=torch.int64),
        torch.zeros((count, 1)),
        foreseen.surprise.float().unsqueeze(1),
        surprise=model.config.surprise,
    )
    promised, _ = rewards.combine(dreams, learn=False)
    true = (foreseen.embedding - some.end).float().square().mean(dim=1)
    return spearman(promised.squeeze(1).numpy(), true.numpy())


@torch.no_grad()
def fidelity(model: WorldModel, walks: Walks) -> dict[str, dict[str, float]]:
    """Return the open-loop error after one and after five moves, beside copy-last's and the mean embedding's."""
    dreamt = model.rollout(walks.embeddings[:, 0], walks.poses, walks.actions).float()
    seen = walks.embeddings[:, 1:]
    mean = walks.embeddings.flatten(0, 1).mean(dim=0)
    found = {}
    for step in (1, walks.actions.shape[1]):
        there = seen[:, step - 1]
        found[str(step)] = {
            "error": float((dreamt[:, step - 1] - there).square().mean()),
            "copy_last": float((walks.embeddings[:, 0] - there).square().mean()),
            "mean": float((mean - there).square().mean()),
        }
    return found


def fresh_curve(
    begin: WorldModel, seen: Transitions, layout: ZoneLayout, asked: Transitions, points: Sequence[int], steps: int
) -> list[dict[str, Any]]:
    """Return, for every number of frames in ``points``, how wrong a fresh world model is that learnt from so many.

    ``begin`` is not changed: each fresh model begins as it is and learns for ``steps`` updates, whatever the data.
    """
    state = {name: value.clone() for name, value in begin.state_dict().items()}
    found = []
    for frames in points:
        model = WorldModel(begin.config)
        model.load_state_dict(state)
        _fit(model, Transitions(*(getattr(seen, name)[: frames - 1] for name in _FIELDS)), steps)
        found.append({"frames": frames, "zones": by_zone(layout, asked, errors(model, asked))})
    return found


_FIELDS = ("start", "pose", "action", "next_pose", "end")


def _fit(model: WorldModel, seen: Transitions, steps: int) -> None:
    generator = torch.Generator().manual_seed(0)
    weights = list(model.predictor.parameters())
    optimizer = torch.optim.AdamW(weights, lr=_FRESH_RATE, weight_decay=1e-3)
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = _FRESH_RATE * (0.02 + 0.98 * 0.5 * (1.0 + math.cos(math.pi * step / steps)))
        rows = torch.randint(len(seen.action), (_FRESH_BATCH,), generator=generator)
        foreseen = model.predict(seen.start[rows], seen.pose[rows], seen.action[rows], seen.next_pose[rows]).embedding
        loss = (foreseen - seen.end[rows]).square().mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()


@torch.no_grad()
def shuffled_cost(model: WorldModel, agent: Agent, scene: ZonedScene, frame: int, seed: int) -> dict[str, float]:
    """Return the policy's share in HARD and NEW from anywhere, and the same with the views of other cameras.

    Many cameras at once; each sees by its own pose, but when shuffled by another's embedding. Nobody learns.
    """
    return {
        "seeing": _share(model, agent, scene, frame, seed, shuffle=False),
        "shuffled": _share(model, agent, scene, frame, seed, shuffle=True),
    }


def _share(model: WorldModel, agent: Agent, scene: ZonedScene, frame: int, seed: int, *, shuffle: bool) -> float:
    generator = torch.Generator().manual_seed(seed)
    places = torch.randint(len(PLACES), (_CAMERAS,), generator=generator).tolist()
    poses = torch.tensor([(*PLACES[place], ZOOM) for place in places])
    deltas, limits = action_tensor(MOVES), limits_tensor([LIMITS] * _CAMERAS)
    inside = []
    for step in range(_STEPS):
        stands = [Pose(pan=pan, tilt=tilt, zoom=zoom) for pan, tilt, zoom in poses.tolist()]
        images = look(scene, stands, [frame] * _CAMERAS)
        embedding = encode(model, images, poses).half().float()
        if shuffle:
            embedding = embedding[torch.randperm(_CAMERAS, generator=generator)]
        chosen, _ = agent.act(embedding, poses, Mode.SAMPLE, generator=generator)
        poses = reach(poses, deltas[chosen], limits)
        if step >= _SETTLING:
            zones = scene.layout.zone_at(poses[:, 0].numpy())
            inside.append(float(((zones == Zone.HARD) | (zones == Zone.NEW)).mean()))
    return sum(inside) / len(inside)


def batch_scalar_calibration(
    model: WorldModel, images: Tensor, seen: Transitions, layout: ZoneLayout, asked: Transitions, seed: int
) -> float:
    """Return the calibration of PTZJEPA's reward: a head that learns, of every view, its whole batch's gradient.

    The target is one number a batch, the mean absolute gradient of the batch's loss on the encoder's weights, repeated
    for every sample. ``images [N, 3, S, S]`` are those at the end of ``seen``.
    """
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    head = torch.nn.Sequential(
        torch.nn.Linear(2 * model.config.embedding_size, 64), torch.nn.SiLU(), torch.nn.Linear(64, 1)
    )
    optimizer = torch.optim.Adam(head.parameters(), lr=1e-3)
    weights = list(model.encoder.parameters())
    for _ in range(_CONTROL_STEPS):
        rows = torch.randint(len(images), (_FRESH_BATCH,), generator=generator)
        with torch.no_grad():
            foreseen = model.predict(
                seen.start[rows], seen.pose[rows], seen.action[rows], seen.next_pose[rows]
            ).embedding
        embedding = model.encode(images[rows], seen.next_pose[rows]).embedding
        pulls = torch.autograd.grad(F.smooth_l1_loss(foreseen, embedding), weights)
        scalar = sum(pull.abs().sum() for pull in pulls) / sum(weight.numel() for weight in weights)
        said = head(torch.cat([seen.start[rows], foreseen], dim=1)).squeeze(1)
        loss = F.smooth_l1_loss(said, torch.as_tensor(scalar).log().expand_as(said))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    chosen = torch.nonzero(clear_of_tv(layout, asked)).squeeze(1)[:CALIBRATED]
    with torch.no_grad():
        foreseen = model.predict(asked.start, asked.pose, asked.action, asked.next_pose).embedding
        said = head(torch.cat([asked.start, foreseen], dim=1)).squeeze(1)
    return spearman(said[chosen].numpy(), errors(model, asked)[chosen].numpy())


_CONTROL_STEPS = 200
