"""Relative pose in scenes that nobody has seen: the geometry itself, since absolute pan means nothing there.

A head reads the spatial maps of two views through their cosine correlation volume: which place of one looks like which
place of the other. It is trained on pairs from some scenes and judged on pairs from others; the encoder is frozen.
A head on two pooled embeddings learns scenes by heart instead. R² of pan and tilt in degrees and of log zoom.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from world_model_trainer.evaluation.angles import difference
from world_model_trainer.evaluation.encoding import Encoder, encode
from world_model_trainer.evaluation.pose_probe import r2

LEAST_SCENES = 6
STEPS = 3000
BATCH = 64
_CHANNELS = 64
_KEPT = 32


@dataclass(frozen=True)
class Pairs:
    """Views before and after a move: images ``[N, 3, S, S]`` uint8 and poses ``[N, 3]``."""

    images: Tensor
    poses: Tensor
    next_images: Tensor
    next_poses: Tensor

    def targets(self) -> Tensor:
        """Return ``[N, 3]``: change of pan and tilt in degrees, and of log zoom."""
        change = difference(self.poses, self.next_poses)
        return torch.cat([change[:, :2], (self.next_poses[:, 2:] / self.poses[:, 2:]).log()], dim=1)


def correlation_volume(tokens: Tensor, next_tokens: Tensor) -> Tensor:
    """Return the cosine of every token of one view with every token of the other.

    ``[B, N, C]`` and ``[B, N, C]`` give ``[B, N, N]``: first the token of the first view, then that of the second.
    """
    return F.normalize(tokens, dim=-1) @ F.normalize(next_tokens, dim=-1).transpose(1, 2)


class RelativePoseHead(nn.Module):
    """From two square token maps ``[B, N, C]`` to the standardised change of pose ``[B, 3]``."""

    def __init__(self, tokens: int, channels: int) -> None:
        super().__init__()
        self.side = math.isqrt(tokens)
        if self.side**2 != tokens:
            raise ValueError(f"{tokens} tokens are no square map")
        kept = min(_KEPT, channels)
        self.keep = nn.Linear(channels, kept)
        self.stage = nn.Sequential(
            nn.Conv2d(tokens + 2 * kept, _CHANNELS, 3, padding=1),
            nn.GroupNorm(8, _CHANNELS),
            nn.SiLU(),
            nn.Conv2d(_CHANNELS, _CHANNELS, 3, stride=2 if self.side > 4 else 1, padding=1),
            nn.GroupNorm(8, _CHANNELS),
            nn.SiLU(),
            nn.AdaptiveAvgPool2d(min(self.side, 4)),
            nn.Flatten(),
        )
        self.read = nn.Sequential(nn.LazyLinear(128), nn.SiLU(), nn.Linear(128, 3))

    def forward(self, tokens: Tensor, next_tokens: Tensor) -> Tensor:
        """Return ``[B, 3]`` of ``tokens [B, N, C]`` and ``next_tokens [B, N, C]``."""
        volume = correlation_volume(tokens, next_tokens)
        stacked = torch.cat([volume, self.keep(tokens).transpose(1, 2), self.keep(next_tokens).transpose(1, 2)], dim=1)
        change: Tensor = self.read(self.stage(stacked.reshape(*stacked.shape[:2], self.side, self.side)))
        return change


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
        [
            head(unseen.maps[at : at + 256].float(), unseen.next_maps[at : at + 256].float())
            for at in range(0, len(unseen.maps), 256)
        ]
    )
    centre, spread = _scale(fit.targets)
    pan, tilt, zoom = r2(read * spread + centre, unseen.targets).tolist()
    return {"pan": pan, "tilt": tilt, "zoom": zoom}


def _trained_head(fit: EncodedPairs, seed: int, steps: int) -> RelativePoseHead:
    centre, spread = _scale(fit.targets)
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(seed)
        head = RelativePoseHead(fit.maps.shape[1], fit.maps.shape[2])
        head(fit.maps[:1].float(), fit.next_maps[:1].float())  # tells the lazy layer its size
        optimizer = torch.optim.AdamW(head.parameters(), weight_decay=1e-2)
        for step in range(steps):
            optimizer.param_groups[0]["lr"] = 1e-3 * (1.0 + math.cos(math.pi * step / steps))
            chosen = torch.randint(len(fit.maps), (min(BATCH, len(fit.maps)),))
            change = head(fit.maps[chosen].float(), fit.next_maps[chosen].float())
            loss = F.mse_loss(change, (fit.targets[chosen] - centre) / spread)
            optimizer.zero_grad(set_to_none=True)
            torch.autograd.backward(loss)
            optimizer.step()
    return head.requires_grad_(False)


def _scale(targets: Tensor) -> tuple[Tensor, Tensor]:
    return targets.mean(dim=0), targets.std(dim=0) + 1e-6
