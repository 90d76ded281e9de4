"""The arithmetic of returns: λ-returns, GAE, n-step targets, two-hot values on exponential bins, the scale of returns.

After Hafner et al., "Mastering Diverse Domains through World Models" (DreamerV3), and Schulman et al.,
"High-Dimensional Continuous Control Using Generalized Advantage Estimation".
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def symlog(values: Tensor) -> Tensor:
    """Return ``sign(x)·log(1 + |x|)``."""
    return torch.sign(values) * torch.log1p(values.abs())


def symexp(values: Tensor) -> Tensor:
    """Return ``sign(x)·(exp|x| − 1)``, the inverse of ``symlog``."""
    return torch.sign(values) * torch.expm1(values.abs())


def lambda_returns(rewards: Tensor, values: Tensor, *, discount: float, mixing: float) -> Tensor:
    """Return ``[B, T]``: the λ-return of every step of ``rewards [B, T]`` with ``values [B, T+1]``.

    ``R_t = r_t + γ·((1 − λ)·v_{t+1} + λ·R_{t+1})`` and ``R_T = v_T``: dreams break off, they do not end.
    """
    ahead = values[:, -1]
    backwards = []
    for step in range(rewards.shape[1] - 1, -1, -1):
        ahead = rewards[:, step] + discount * ((1.0 - mixing) * values[:, step + 1] + mixing * ahead)
        backwards.append(ahead)
    return torch.stack(backwards[::-1], dim=1)


def advantages(rewards: Tensor, values: Tensor, *, discount: float, mixing: float) -> Tensor:
    """Return ``[B, T]``: the generalised advantage of every step of ``rewards [B, T]`` with ``values [B, T+1]``.

    ``A_t = δ_t + γλ·A_{t+1}`` with ``δ_t = r_t + γ·v_{t+1} − v_t``; beyond the last step nothing is known, and added.
    """
    ahead = torch.zeros_like(values[:, -1])
    backwards = []
    for step in range(rewards.shape[1] - 1, -1, -1):
        error = rewards[:, step] + discount * values[:, step + 1] - values[:, step]
        ahead = error + discount * mixing * ahead
        backwards.append(ahead)
    return torch.stack(backwards[::-1], dim=1)


def n_step_targets(rewards: Tensor, values: Tensor, *, discount: float, steps: int) -> Tensor:
    """Return ``[B, T]``: up to ``steps`` of ``rewards [B, T]`` and the value that follows of ``values [B, T+1]``.

    Fewer where the dream breaks off before.
    """
    length = rewards.shape[1]
    rows = []
    for first in range(length):
        last = min(first + steps, length)
        powers = discount ** torch.arange(last - first, dtype=rewards.dtype, device=rewards.device)
        gained = (rewards[:, first:last] * powers).sum(dim=1)
        rows.append(gained + discount ** (last - first) * values[:, last])
    return torch.stack(rows, dim=1)


class TwoHot:
    """A value as a distribution over bins that lie symmetrically around zero and ever further apart.

    The critic is trained by cross-entropy, so its gradient does not grow with the size of the returns.
    """

    def __init__(self, bins: int, limit: float) -> None:
        if bins < 3 or bins % 2 == 0:
            raise ValueError("an odd number of bins, at least three, has one at zero")
        half = symexp(torch.linspace(0.0, limit, bins // 2 + 1))
        self.bins = torch.cat([-half.flip(0)[:-1], half])
        """``[N]``, growing, from ``−(exp(limit) − 1)`` to ``exp(limit) − 1``."""

    def encode(self, values: Tensor) -> Tensor:
        """Return ``[..., N]``: weight on the two bins around each of ``values [...]``, with the value as the mean."""
        count = len(self.bins)
        values = values.clamp(float(self.bins[0]), float(self.bins[-1]))
        above = torch.searchsorted(self.bins, values.contiguous(), right=True).clamp(1, count - 1)
        low, high = self.bins[above - 1], self.bins[above]
        share = ((values - low) / (high - low)).unsqueeze(-1)
        return F.one_hot(above - 1, count) * (1.0 - share) + F.one_hot(above, count) * share

    def mean(self, logits: Tensor) -> Tensor:
        """Return ``[...]``: the mean of the distributions with ``logits [..., N]``; exactly zero where all agree."""
        weights = logits.softmax(dim=-1)
        middle = len(self.bins) // 2
        # Summed in pairs around zero: the large bins cancel before they can round the small ones away.
        pairs = weights[..., middle + 1 :] - weights[..., :middle].flip(-1)
        return (pairs * self.bins[middle + 1 :]).sum(dim=-1)


class ReturnScale:
    """The running distance between the 5th and 95th percentile of returns, never below one.

    Advantages divided by it have about the same size whatever the rewards; outliers do not count.
    """

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._range: Tensor | None = None

    def update(self, returns: Tensor) -> float:
        """Take in a batch of returns, unless one is not finite, and return the scale."""
        ends = torch.quantile(returns.detach().float().flatten(), returns.new_tensor([0.05, 0.95]))
        spread = ends[1] - ends[0]
        if bool(torch.isfinite(spread)):
            self._range = spread if self._range is None else self._range + self._rate * (spread - self._range)
        return 1.0 if self._range is None else max(1.0, float(self._range))

    def state(self) -> Tensor:
        """Return ``[1]``: the running range, negative before the first batch."""
        return torch.full((1,), -1.0) if self._range is None else self._range.reshape(1).clone()

    def load_state(self, state: Tensor) -> None:
        """Go on from what ``state`` returned."""
        value = state.reshape(-1)[0]
        self._range = None if float(value) < 0.0 else value.clone()
