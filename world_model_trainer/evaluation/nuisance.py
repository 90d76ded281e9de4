"""What must not matter: things that stay on the picture while the camera moves, the light, whose camera it is.

A fixed overlay is the trap of joint embeddings (Sobal et al. 2022): constant within a walk, so that an encoder can
predict perfectly by seeing nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from world_model_trainer.evaluation.pose_probe import Predict, fit_ridge

COVER = 0.2


@dataclass(frozen=True)
class Overlay:
    """A picture that lies on every view of a camera: ``mask [S, S]`` bool, ``picture [3, S, S]`` uint8."""

    mask: Tensor
    picture: Tensor

    def on(self, images: Tensor) -> Tensor:
        """Lay it on ``images [..., 3, S, S]`` uint8."""
        return torch.where(self.mask, self.picture, images)


def make_overlay(size: int, seed: int, cover: float = COVER) -> Overlay:
    """Make an overlay on ``cover`` of the pixels of views of side ``size``: blots of noise, like dirt and captions."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand((1, 1, 8, 8), generator=generator)
    field = F.interpolate(coarse, size=(size, size), mode="bilinear").flatten()
    chosen = field.topk(round(cover * size * size)).indices
    mask = torch.zeros(size * size, dtype=torch.bool)
    mask[chosen] = True
    picture = torch.randint(0, 256, (3, size, size), generator=generator, dtype=torch.uint8)
    return Overlay(mask.reshape(size, size), picture)


@dataclass(frozen=True)
class Decodability:
    """Share of held-out views whose camera a linear classifier names, from the embedding and from what the pose probe
    reads of it alone; ``chance`` is the share of the commoner camera.
    """

    embedding: float
    pose_subspace: float
    chance: float


def camera_identity(
    fit: Tensor, fit_cameras: Tensor, held_out: Tensor, held_out_cameras: Tensor, probe: Predict
) -> Decodability:
    """Tell two cameras apart by ridge regression on ±1.

    ``fit [N, D]`` and ``held_out [M, D]`` are embeddings, the cameras ``[N]`` and ``[M]`` are 0 or 1, ``probe`` is the
    linear pose probe.
    """
    share = float(held_out_cameras.float().mean())
    return Decodability(
        embedding=_accuracy(fit, fit_cameras, held_out, held_out_cameras),
        pose_subspace=_accuracy(probe(fit), fit_cameras, probe(held_out), held_out_cameras),
        chance=max(share, 1.0 - share),
    )


def _accuracy(fit: Tensor, labels: Tensor, held_out: Tensor, held_out_labels: Tensor) -> float:
    signs = labels.float().mul(2.0).sub(1.0).unsqueeze(1)
    guessed = fit_ridge(fit, signs)(held_out)[:, 0] > 0.0
    return float((guessed == held_out_labels.bool()).float().mean())
