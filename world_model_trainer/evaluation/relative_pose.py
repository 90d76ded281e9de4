"""Relative pose in scenes that nobody has seen: the geometry itself, since absolute pan means nothing there.

A new head reads the frozen spatial maps of two views through their correspondences. It is trained on pairs from some
scenes and judged on pairs from others. R² of the changes of pan, tilt and log zoom.
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
_RATE = 2e-3


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


def relative_pose(fit: EncodedPairs, unseen: EncodedPairs, seed: int, *, steps: int = STEPS) -> dict[str, float]:
    """Train a head on ``fit``, judge it on ``unseen``; returns R² by ``pan``, ``tilt``, ``zoom``."""
    head = _trained_head(fit, seed, steps)
    read = torch.cat(
        [head(unseen.maps[at : at + 256], unseen.next_maps[at : at + 256]) for at in range(0, len(unseen.maps), 256)]
    )
    pan, tilt, zoom = r2(read, unseen.targets).tolist()
    return {"pan": pan, "tilt": tilt, "zoom": zoom}


def _trained_head(fit: EncodedPairs, seed: int, steps: int) -> Correspondence:
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(seed)
        head = Correspondence(fit.maps.shape[1], fit.maps.shape[2])
        optimizer = torch.optim.AdamW(head.parameters(), weight_decay=1e-2)
        for step in range(steps):
            optimizer.param_groups[0]["lr"] = _RATE * 0.5 * (1.0 + math.cos(math.pi * step / steps))
            chosen = torch.randint(len(fit.maps), (min(BATCH, len(fit.maps)),))
            start, end, change = fit.maps[chosen], fit.next_maps[chosen], fit.targets[chosen]
            if step % 2:  # the way back is a move as well
                start, end, change = end, start, -change
            loss = F.huber_loss(head(start, end), change, delta=0.5)
            optimizer.zero_grad(set_to_none=True)
            torch.autograd.backward(loss)
            optimizer.step()
    return head.requires_grad_(False)
