"""Frozen encoders from outside: any ``nn.Module`` that maps pictures to tokens or to one embedding."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor, nn

from shared.world_model.config import WorldModelConfig
from shared.world_model.encoder import Encoding
from shared.world_model.transformer import TokenSummary


class ExternalEncoder(nn.Module):
    """Wraps a network that maps ``[B, 3, S, S]`` in [0, 1] to tokens ``[B, N, C]`` or an embedding ``[B, C]``.

    The network is switched to evaluation and never trained; how it wants light and colours is its own business. Of
    tokens a small layer learns the summary; an embedding is taken as it is.
    """

    def __init__(self, config: WorldModelConfig, network: nn.Module) -> None:
        super().__init__()
        self.network = network.requires_grad_(False).eval()
        count = config.external_tokens
        self.tokens, self.token_width = max(1, count), config.external_width
        self._shape = (count, config.external_width) if count else (config.external_width,)
        self.summary = TokenSummary(count, config.external_width, config.embedding_size) if count else None

    def train(self, mode: bool = True) -> ExternalEncoder:
        """Switch the summary's mode; the frozen network stays in evaluation."""
        super().train(mode)
        self.network.eval()
        return self

    def forward(self, images: Tensor) -> Encoding:
        """Encode ``images [B, 3, S, S]``, floats in [0, 1]. ``ValueError`` if the network returns another shape."""
        with torch.no_grad():
            out: Tensor = self.network(images)
        if tuple(out.shape[1:]) != self._shape:
            raise ValueError(f"the external encoder returned {tuple(out.shape)}, not [B, {str(self._shape)[1:-1]}]")
        if self.summary is None:
            return Encoding(out.unsqueeze(1), out)
        return Encoding(out, self.summary(out))


def digest(network: nn.Module) -> str:
    """Return a digest of a network's names and numbers: what a checkpoint without its weights knows it by."""
    summed = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        summed.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        summed.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return summed.hexdigest()
