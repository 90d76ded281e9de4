"""What a batch of dreams is, in memory and in a file.

A file is safetensors with one JSON card about its origin. It holds less than 4 kB per dream at the default sizes, for
embeddings travel in half precision.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Self

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor

from shared.messages import Name
from shared.world_model import load_tensors, save_tensors

FORMAT = "ptzjepa-dreams-2"


class DreamOrigin(BaseModel):
    """Who dreamt, from what, by which policy."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: str = FORMAT
    world_model: Name
    world_model_version: int = Field(ge=1)
    agent: Name
    policy_version: int = Field(ge=0, description="0: moves at random")
    camera: Name
    action_table: str = Field(description="digest of the table that the action indices refer to")
    surprise: str = Field(default="", description="what surprise is to the world model; empty: nobody said")


@dataclass(frozen=True)
class Dreams:
    """``B`` imagined sequences of ``T`` moves."""

    embeddings: Tensor
    """``[B, T+1, D]`` float16: the first is a real view's, the others were predicted."""
    poses: Tensor
    """``[B, T+1, 3]`` float32: pan and tilt in degrees, zoom as magnification."""
    actions: Tensor
    """``[B, T]`` int64: places in the action table."""
    log_probs: Tensor
    """``[B, T]`` float32: logarithm of the probability with which the dreamer chose the action."""
    rewards: Tensor
    """``[B, T]`` float32: the surprise that the world model expects of the move, as it came out of the model."""
    starts: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.int32))
    """``[B]`` int32: dreams of one number began at the same view; where not given, no two did."""
    surprise: str = ""
    """What surprise is to the world model (``shared.world_model.surprise``); empty where nobody said."""

    def __post_init__(self) -> None:
        if not self.starts.numel():
            object.__setattr__(self, "starts", torch.arange(len(self), dtype=torch.int32))

    def __len__(self) -> int:
        return self.actions.shape[0]

    @property
    def length(self) -> int:
        """Moves per dream."""
        return self.actions.shape[1]

    @property
    def embedding_size(self) -> int:
        """Numbers per embedding."""
        return self.embeddings.shape[2]

    def pick(self, indices: Tensor) -> Dreams:
        """Return the dreams at ``indices [N]`` int64."""
        return Dreams(**{name: tensor[indices] for name, tensor in self._tensors().items()}, surprise=self.surprise)

    @classmethod
    def join(cls, parts: Sequence[Self]) -> Dreams:
        """Return all dreams of ``parts`` as one batch; they must have the same length and embedding size.

        Dreams of different parts began at different views.
        """
        joined = {name: torch.cat([part._tensors()[name] for part in parts]) for name in parts[0]._tensors()}
        below, starts = 0, []
        for part in parts:
            starts.append(part.starts + below)
            below += int(part.starts.max()) + 1
        return Dreams(**{**joined, "starts": torch.cat(starts)}, surprise=parts[0].surprise)

    def to_bytes(self, origin: DreamOrigin) -> bytes:
        """Return the file that ``from_bytes`` reads."""
        return save_tensors(self._tensors(), {**origin.model_dump(), "surprise": self.surprise})

    @classmethod
    def from_bytes(cls, data: bytes) -> tuple[Dreams, DreamOrigin]:
        """Read a file. ``ValueError`` says why it is not a batch of dreams, or that a number in it is not finite."""
        tensors, card = load_tensors(data)
        try:
            origin = DreamOrigin.model_validate(card)
        except ValidationError as error:
            raise ValueError(f"not a file of dreams: {error.errors()[0]['loc']}: {error.errors()[0]['msg']}") from error
        if origin.format != FORMAT:
            raise ValueError(f"dreams in the format {origin.format!r}, not {FORMAT!r}")
        missing = _TENSORS ^ tensors.keys()
        if missing:
            raise ValueError(f"dreams with tensors missing or unknown: {sorted(missing)}")
        dreams = Dreams(**tensors, surprise=origin.surprise)
        dreams.check()
        return dreams, origin

    def check(self) -> None:
        """Raise ``ValueError`` unless shapes and types agree, actions are none below zero, and all is finite."""
        if self.embeddings.ndim != 3:
            raise ValueError(f"embeddings have the shape {tuple(self.embeddings.shape)}, not [B, T+1, D]")
        batch, steps, size = self.embeddings.shape
        wanted = {
            "embeddings": ((batch, steps, size), torch.float16),
            "poses": ((batch, steps, 3), torch.float32),
            "actions": ((batch, steps - 1), torch.int64),
            "log_probs": ((batch, steps - 1), torch.float32),
            "rewards": ((batch, steps - 1), torch.float32),
            "starts": ((batch,), torch.int32),
        }
        for name, tensor in self._tensors().items():
            shape, kind = wanted[name]
            if tuple(tensor.shape) != shape or tensor.dtype != kind:
                raise ValueError(f"{name}: {tuple(tensor.shape)} {tensor.dtype}, not {shape} {kind}")
            if not bool(torch.isfinite(tensor).all()):
                raise ValueError(f"{name}: not all numbers are finite")
        if batch == 0 or steps < 2:
            raise ValueError("no dreams, or dreams without a move")
        if bool((self.actions < 0).any()):
            raise ValueError("actions: an index below zero")
        if bool((self.starts < 0).any()):
            raise ValueError("starts: a number below zero")

    def _tensors(self) -> dict[str, Tensor]:
        return {name: getattr(self, name) for name in _TENSORS}


_TENSORS = frozenset(each.name for each in fields(Dreams)) - {"surprise"}
