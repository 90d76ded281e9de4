"""How hard each view by itself pulls on the encoder's weights: PTZJEPA's reward, sample by sample.

PTZJEPA takes the mean of |∂ SmoothL1(ẑ, LN(z(θ))) / ∂θ| over the weights θ of the encoder of the next view; with
one backward pass for a whole batch it gets one number for all of its views, which says of none whether it is hard.
Here the embedding z(θ) is normalised only where the world model's embeddings are: else ẑ is not of that space.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

CHUNK = 8
"""Samples at a time: each needs a gradient of the encoder's whole size."""


def gradient_magnitudes(
    encoder: nn.Module, settle: Callable[[Tensor], Tensor], pixels: Tensor, predicted: Tensor
) -> Tensor:
    """Return ``[B]``: for each view the mean over all weights of the absolute gradient that its error exerts.

    ``pixels [B, C, S, S]`` as the encoder reads them; ``predicted [B, D]`` is what was expected of their embeddings,
    after ``settle``.
    """
    weights = {name: weight.detach() for name, weight in encoder.named_parameters() if weight.requires_grad}
    fixed: dict[str, Any] = dict(encoder.named_buffers())
    fixed |= {name: weight for name, weight in encoder.named_parameters() if not weight.requires_grad}
    count = sum(weight.numel() for weight in weights.values())

    def pull(weights: dict[str, Tensor], view: Tensor, expected: Tensor) -> Tensor:
        embedding: Tensor = functional_call(encoder, {**weights, **fixed}, (view.unsqueeze(0),)).embedding.squeeze(0)
        return F.smooth_l1_loss(expected, settle(embedding))

    # Fused attention has no rule for gradients one by one, and would fall back to a loop.
    with torch.autocast(pixels.device.type, enabled=False), sdpa_kernel(SDPBackend.MATH):
        each = vmap(grad(pull), in_dims=(None, 0, 0), chunk_size=CHUNK)(weights, pixels.float(), predicted.float())
    total = torch.stack([part.abs().flatten(1).sum(dim=1) for part in each.values()]).sum(dim=0)
    return (total / count).detach()
