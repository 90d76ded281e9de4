"""Layer-wise adaptive rate scaling: every weight matrix moves by a share of its own length.

You, Gitman and Ginsburg, "Large Batch Training of Convolutional Networks", arXiv 1708.03888. With gradient g, weight
decay λ, momentum μ and trust η, for tensors of more than one dimension

    d = g + λ w,   d ← η ‖w‖ / ‖d‖ · d,   m ← μ m + d,   w ← w − lr · m;

vectors (biases, scales) have neither decay nor scaling. The ratio is one where either length is zero.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor


class Lars(torch.optim.Optimizer):
    """The optimiser of the study's joint-embedding configurations."""

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]],
        lr: float,
        *,
        weight_decay: float = 1e-6,
        momentum: float = 0.9,
        trust: float = 1e-3,
    ) -> None:
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum, "trust": trust})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Take one step on the gradients there are."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is not None:
                    self._move(weight, weight.grad, group)
        return loss

    def _move(self, weight: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        if weight.ndim > 1:
            gradient = gradient.add(weight, alpha=group["weight_decay"])
            length, pull = weight.norm(), gradient.norm()
            ratio = torch.where((length > 0.0) & (pull > 0.0), group["trust"] * length / pull, torch.ones_like(pull))
            gradient = gradient * ratio
        state = self.state[weight]
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(weight)
        momentum: Tensor = state["momentum"]
        momentum.mul_(group["momentum"]).add_(gradient)
        weight.add_(momentum, alpha=-group["lr"])
