"""Frozen encoders, applied to many views in bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from shared.world_model import WorldModel, WorldModelConfig
from world_model_trainer.evaluation.views import Views, Walks

BATCH = 256

Encoder = Callable[[Tensor], Tensor]
"""Maps ``images [B, 3, S, S]`` uint8 to ``[B, ...]``: from pixels alone, never from a pose."""


def embedding_of(model: WorldModel) -> Encoder:
    """Return the world model's embedding ``[B, D]`` as an encoder."""
    return lambda images: model.encode(images).embedding


def tokens_of(model: WorldModel) -> Encoder:
    """Return the world model's spatial map ``[B, N, C]`` as an encoder."""
    return lambda images: model.encode(images).tokens


def untrained(config: WorldModelConfig, seed: int) -> WorldModel:
    """Return a world model of the same shape with random weights: the floor under every trained one."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return WorldModel(config).eval()


@torch.no_grad()
def encode(encoder: Encoder, images: Tensor) -> Tensor:
    """Encode ``images [N, 3, S, S]`` uint8 in batches; return float32 ``[N, ...]`` on the CPU."""
    return torch.cat([encoder(images[at : at + BATCH]).float().cpu() for at in range(0, len(images), BATCH)])


def encode_walks(encoder: Encoder, walks: Walks) -> Tensor:
    """Encode every view of walks; return ``[B, T+1, D]``."""
    embeddings = encode(encoder, walks.images.flatten(0, 1))
    return embeddings.reshape(*walks.images.shape[:2], *embeddings.shape[1:])


def encode_chunks(encoder: Encoder, chunks: Iterable[Views]) -> tuple[Tensor, Tensor]:
    """Encode chunk by chunk, so that the images need not fit into memory; return poses ``[N, 3]`` and ``[N, D]``."""
    poses, embeddings = [], []
    for chunk in chunks:
        poses.append(chunk.poses)
        embeddings.append(encode(encoder, chunk.images))
    return torch.cat(poses), torch.cat(embeddings)
