"""Where to compute, and in which precision."""

from __future__ import annotations

from contextlib import AbstractContextManager

import torch
from torch import nn


def pick_device(name: str = "auto") -> torch.device:
    """Return the device called ``name``; ``auto`` takes a GPU where there is one."""
    if name != "auto":
        return torch.device(name)
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def bf16_is_fast(device: torch.device) -> bool:
    """Whether this device multiplies bfloat16 matrices in hardware (AMX or AVX-512 BF16 on CPUs)."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    return device.type == "cpu" and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def autocast(device: torch.device) -> AbstractContextManager[object]:
    """Return the mixed-precision context of this device: bfloat16 where it is fast, else nothing changes."""
    return torch.autocast(device.type, torch.bfloat16, enabled=bf16_is_fast(device))


def parameter_count(module: nn.Module) -> int:
    """Return how many trainable numbers a network has."""
    return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)
