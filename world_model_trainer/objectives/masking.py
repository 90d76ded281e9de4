"""Blocks of a view to predict and blocks to predict them from.

Assran et al., "Self-Supervised Learning from Images with a Joint-Embedding Predictive Architecture" (I-JEPA), 2023:
four target blocks of 15 to 20 % of the view, aspect 3/4 to 3/2; one context block of 85 to 100 %, less the targets.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

TARGETS = 4
_TARGET_SCALE, _TARGET_ASPECT = (0.15, 0.2), (0.75, 1.5)
_CONTEXT_SCALE, _CONTEXT_ASPECT = (0.85, 1.0), (1.0, 1.0)


@dataclass(frozen=True)
class Masks:
    """On a ``side × side`` grid: ``target [side, side]`` and ``context [side, side]`` booleans without overlap."""

    target: Tensor
    context: Tensor


def draw_masks(side: int) -> Masks:
    """Draw one pair of masks, by torch's generator. At least one cell is context and at least one is target."""
    target = torch.zeros(side, side, dtype=torch.bool)
    for _ in range(TARGETS):
        target |= _block(side, _TARGET_SCALE, _TARGET_ASPECT)
    context = _block(side, _CONTEXT_SCALE, _CONTEXT_ASPECT) & ~target
    if not bool(context.any()):
        # On a coarse grid the targets can cover the context block: give back one cell.
        row, column = divmod(int(torch.randint(side * side, ())), side)
        target[row, column], context[row, column] = False, True
    return Masks(target, context)


def blank(images: Tensor, shown: Tensor) -> Tensor:
    """Replace what is not ``shown [side, side]`` of ``images [B, C, S, S]`` by each picture's mean.

    Pixels are blanked, where I-JEPA leaves out tokens: so any encoder can be trained like this.
    """
    size = images.shape[-1]
    place = torch.arange(size, device=images.device) * len(shown) // size
    visible = shown.to(images.device)[place][:, place]
    mean = images.float().mean(dim=(2, 3), keepdim=True).to(images.dtype)
    return torch.where(visible, images, mean)


def _block(side: int, scale: tuple[float, float], aspect: tuple[float, float]) -> Tensor:
    """Draw one block: the share of the area and the ratio of height to width are uniform within their bounds."""
    area = side * side * _between(*scale)
    ratio = _between(*aspect)
    height = min(side, max(1, round(math.sqrt(area * ratio))))
    width = min(side, max(1, round(math.sqrt(area / ratio))))
    top = int(torch.randint(side - height + 1, ()))
    left = int(torch.randint(side - width + 1, ()))
    block = torch.zeros(side, side, dtype=torch.bool)
    block[top : top + height, left : left + width] = True
    return block


def _between(low: float, high: float) -> float:
    return low + (high - low) * float(torch.rand(()))
