"""Reward what somebody says is worth seeing: any scorer of embeddings fits in."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from dreamer_agent.dreams import Dreams
from shared.errors import UserError


class Scorer(Protocol):
    """Says what embeddings are worth."""

    def __call__(self, embeddings: Tensor) -> Tensor:
        """Return ``[...]`` of ``embeddings [..., D]``; more is better."""


class LinearScorer:
    """``embedding · weight + bias``, as a probe of embeddings gives it."""

    def __init__(self, weight: Tensor, bias: float = 0.0) -> None:
        self._weight, self._bias = weight, bias

    def __call__(self, embeddings: Tensor) -> Tensor:
        """See ``Scorer``. ``ValueError`` where embeddings have another size."""
        if embeddings.shape[-1] != len(self._weight):
            raise ValueError(
                f"the extrinsic scorer reads embeddings of {len(self._weight)} numbers; "
                f"this world model's have {embeddings.shape[-1]}"
            )
        return embeddings @ self._weight + self._bias

    @classmethod
    def load(cls, path: Path) -> LinearScorer:
        """Read a safetensors file with ``weight [D]`` and perhaps ``bias [1]``. ``UserError`` says what ails it."""
        try:
            tensors = safetensors.torch.load(path.read_bytes())
        except OSError as error:
            raise UserError(f"PTZ_EXTRINSIC {path}: {error.strerror}; give a readable safetensors file") from error
        except (SafetensorError, ValueError) as error:
            raise UserError(f"PTZ_EXTRINSIC {path}: not a safetensors file ({error})") from error
        weight, bias = tensors.get("weight"), tensors.get("bias", torch.zeros(1))
        if weight is None or weight.ndim != 1 or bias.numel() != 1:
            raise UserError(f"PTZ_EXTRINSIC {path}: it must hold 'weight' of one dimension, and may hold one 'bias'")
        if not bool(torch.isfinite(torch.cat([weight.float(), bias.float().reshape(1)])).all()):
            raise UserError(f"PTZ_EXTRINSIC {path}: not all numbers in it are finite")
        return cls(weight.float(), float(bias))


class ExtrinsicReward:
    """What a scorer makes of the view that a move leads to."""

    name = "extrinsic"

    def __init__(self, scorer: Scorer) -> None:
        self._scorer = scorer

    def signal(self, dreams: Dreams) -> Tensor:
        """Return ``[B, T]`` of every dreamed move."""
        return self._scorer(dreams.embeddings[:, 1:].float())
