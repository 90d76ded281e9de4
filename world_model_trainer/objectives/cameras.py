"""Statistics within cameras, never across them.

What is constant for a camera (dirt on the lens, a caption, its place) tells cameras apart, and a spread that is
measured across cameras can be had from that alone, without looking at where the camera points (Sobal et al., "Joint
Embedding Predictive Architectures Focus on Slow Features", 2022).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

ENOUGH = 8
"""Trajectories of one camera in a batch from which its statistics are taken by themselves."""


def mean_within_cameras(term: Callable[[Tensor], Tensor], embeddings: Tensor, cameras: Tensor | None) -> Tensor:
    """Return the mean of ``term`` over groups of one camera each, weighted by their trajectories.

    ``term`` maps ``[n, T, D]`` to a scalar. ``embeddings [B, T, D]``, ``cameras [B]``.
    """
    parts = groups(embeddings, cameras)
    values = torch.stack([share * term(samples) for samples, share in parts])
    return values.sum()


def groups(embeddings: Tensor, cameras: Tensor | None) -> list[tuple[Tensor, float]]:
    """Split ``embeddings [B, T, D]`` by ``cameras [B]`` into ``(samples [n, T', D], share of all trajectories)``.

    Cameras with too few trajectories are pooled: each is centred on its own mean over trajectories and time, so that
    only what varies within a camera remains, and all are scaled so that the pool's variance has no bias. Their time
    steps count as samples (``T' = 1``). One trajectory alone is such a pool.
    """
    batch = len(embeddings)
    if batch == 0:
        raise ValueError("no trajectories in the batch")
    present, member = _members(batch, cameras, embeddings.device)
    counts = torch.bincount(member, minlength=present).tolist()
    if present == 1 and batch > 1:
        return [(embeddings, 1.0)]
    large = [camera for camera in range(present) if counts[camera] >= ENOUGH]
    found = [(embeddings[member == camera], counts[camera] / batch) for camera in large]
    small = [camera for camera in range(present) if counts[camera] < ENOUGH]
    if small:
        found.append(_pool([embeddings[member == camera] for camera in small], batch))
    return found


def _members(batch: int, cameras: Tensor | None, device: torch.device) -> tuple[int, Tensor]:
    if cameras is None:
        return 1, torch.zeros(batch, dtype=torch.long, device=device)
    names, member = torch.unique(cameras, return_inverse=True)
    return len(names), member


def _pool(parts: list[Tensor], batch: int) -> tuple[Tensor, float]:
    centred = [(part - part.mean(dim=(0, 1))).flatten(0, 1) for part in parts]
    samples = torch.cat(centred)
    degrees = max(1, len(samples) - len(parts))
    unbiased = samples * ((len(samples) - 1) / degrees) ** 0.5
    return unbiased.unsqueeze(1), sum(len(part) for part in parts) / batch
