"""Relative pose in scenes that nobody has seen: the geometry itself, since absolute pan means nothing there.

A head reads the frozen spatial maps of two views through their correspondences. It is trained on pairs from some
scenes, half of them seen in a mirror, and judged on pairs from others, read there and back. Where a head has learnt
beside the map already, it goes on from there. R² of the changes of pan, tilt and log zoom.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from world_model_trainer.correspondence import Correspondence, pose_change
from world_model_trainer.evaluation.encoding import Encoder, encode
from world_model_trainer.evaluation.pose_probe import r2

LEAST_SCENES = 6
STEPS = 1500
BATCH = 64
_RATE, _RATE_ON = 2e-3, 1e-3
"""Of a new head, and of one that goes on."""
_MIRROR = (-1.0, 1.0, 1.0)
_AT_ONCE = 256


@dataclass(frozen=True)
class Pairs:
    """Views before and after a move: images ``[N, 3, S, S]`` uint8 and poses ``[N, 3]``."""

    images: Tensor
    poses: Tensor
    next_images: Tensor
    next_poses: Tensor

    def targets(self) -> Tensor:
        """Return ``[N, 3]``: change of pan, tilt and log zoom, each over its deviation."""
        return pose_change(self.poses, self.next_poses)


@dataclass(frozen=True)
class EncodedPairs:
    """Token maps before and after, ``[N, T, C]`` each in half precision to save memory; targets ``[N, 3]``."""

    maps: Tensor
    next_maps: Tensor
    targets: Tensor


def encode_pairs(encoder: Encoder, scenes: Iterable[Pairs]) -> EncodedPairs:
    """Encode scene by scene, so that the images need not fit into memory together."""
    maps, next_maps, targets = [], [], []
    for pairs in scenes:
        maps.append(encode(encoder, pairs.images).half())
        next_maps.append(encode(encoder, pairs.next_images).half())
        targets.append(pairs.targets())
    return EncodedPairs(torch.cat(maps), torch.cat(next_maps), torch.cat(targets))


def mirrored(pairs: Pairs, rows: slice = slice(None)) -> Pairs:
    """Show ``rows`` of the pairs in a mirror: another scene, in which the camera pans the other way."""

    def flipped(images: Tensor, poses: Tensor) -> tuple[Tensor, Tensor]:
        images, poses = images.clone(), poses.clone()
        images[rows] = images[rows].flip(-1)
        poses[rows, 0] *= -1.0
        return images, poses

    return Pairs(*flipped(pairs.images, pairs.poses), *flipped(pairs.next_images, pairs.next_poses))


def half_mirrored(pairs: Pairs) -> Pairs:
    """Show every second pair in a mirror."""
    return mirrored(pairs, slice(1, None, 2))


def relative_pose(
    fit: EncodedPairs,
    unseen: EncodedPairs,
    seed: int,
    *,
    in_mirror: EncodedPairs | None = None,
    steps: int = STEPS,
    head: Correspondence | None = None,
) -> dict[str, float]:
    """Train a new head, or a copy of ``head``, on ``fit``; returns R² on ``unseen`` by ``pan``, ``tilt``, ``zoom``.

    With the same pairs ``in_mirror`` the head reads both, and the answer is the mean.
    """
    head = trained_head(fit, seed, steps, head)
    read = _read(head, unseen)
    if in_mirror is not None:
        read = 0.5 * (read + _read(head, in_mirror) * read.new_tensor(_MIRROR))
    pan, tilt, zoom = r2(read, unseen.targets).tolist()
    return {"pan": pan, "tilt": tilt, "zoom": zoom}


def _read(head: Correspondence, pairs: EncodedPairs) -> Tensor:
    """Read every move, and the way back as well: the mean of one and the other's opposite."""
    moves = []
    for at in range(0, len(pairs.maps), _AT_ONCE):
        maps, next_maps = pairs.maps[at : at + _AT_ONCE], pairs.next_maps[at : at + _AT_ONCE]
        moves.append(0.5 * (head(maps, next_maps) - head(next_maps, maps)))
    return torch.cat(moves)


def trained_head(fit: EncodedPairs, seed: int, steps: int, before: Correspondence | None = None) -> Correspondence:
    """Train a new head on ``fit``, or a copy of ``before`` further."""
    rate = _RATE if before is None else _RATE_ON
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(seed)
        head = Correspondence(fit.maps.shape[1], fit.maps.shape[2])
        if before is not None:
            head.load_state_dict(before.state_dict())
        optimizer = torch.optim.AdamW(head.parameters(), weight_decay=1e-2)
        for step in range(steps):
            optimizer.param_groups[0]["lr"] = rate * 0.5 * (1.0 + math.cos(math.pi * step / steps))
            chosen = torch.randint(len(fit.maps), (min(BATCH, len(fit.maps)),))
            start, end, change = fit.maps[chosen], fit.next_maps[chosen], fit.targets[chosen]
            if step % 2:  # the way back is a move as well
                start, end, change = end, start, -change
            loss = F.huber_loss(head(start, end), change, delta=0.5)
            optimizer.zero_grad(set_to_none=True)
            torch.autograd.backward(loss)
            optimizer.step()
    return head.requires_grad_(False)
