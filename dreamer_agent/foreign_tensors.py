"""Tensors that somebody else's program saved with torch. Nothing in such a file is ever executed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray


def load_array(path: Path) -> NDArray[np.float32]:
    """Return the one tensor of a ``.pt`` file. ``ValueError`` with the reason where it is torn or anything else."""
    try:
        # weights_only: of a pickle nothing but tensors and plain containers is made; any other name is refused.
        value = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch, zipfile and pickle raise what they like for a file that is not theirs
        raise ValueError(" ".join(str(error).split())[:160] or type(error).__name__) from error
    if not isinstance(value, torch.Tensor):
        raise ValueError(f"holds a {type(value).__name__} instead of a tensor")
    return value.detach().float().numpy()
