"""Attention: the block that encoder and predictor share, and the vision transformer."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from shared.world_model.config import WorldModelConfig
from shared.world_model.encoder import Encoding

_SQUEEZED = 8
"""Numbers that a token contributes to the summary."""


class Block(nn.Module):
    """A pre-norm transformer block (Dosovitskiy et al., ICLR 2021) over a memory, with queries that only read it.

    The memory attends to itself; each query attends to the memory and to nothing else. As no query changes the memory,
    one pass over it serves any number of queries.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self._heads = heads
        self.before_attention, self.before_mlp = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, states: Tensor, memory: int | None = None, *, last: bool = False) -> Tensor:
        """Map ``states [B, N, W]`` to the same shape: ``memory`` states of memory, then queries; None: all are memory.

        After the ``last`` block only queries are of use: it returns no more than them, ``[B, N − memory, W]``.
        """
        seen = self.before_attention(states)
        key, value = (self._split(part) for part in self.key_value(seen[:, :memory]).chunk(2, dim=-1))
        if last:
            states, seen = states[:, memory:], seen[:, memory:]
        attended = attend(self._split(self.query(seen)), key, value)
        states = states + self.out(attended.transpose(1, 2).flatten(2))
        mixed: Tensor = states + self.mlp(self.before_mlp(states))
        return mixed

    def _split(self, states: Tensor) -> Tensor:
        return states.reshape(*states.shape[:-1], self._heads, -1).transpose(1, 2)


def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Return softmax(query · keyᵀ / √d) · value, each ``[B, heads, N, d]``, by the way that is fastest here.

    In bfloat16 on a CPU that is three plain operations: torch's fused kernel, above all its backward pass, took 2.5
    times as long there (257 tokens, heads of 64, AVX-512 BF16).
    """
    if query.dtype == torch.bfloat16 and query.device.type == "cpu":
        scores = (query * query.shape[-1] ** -0.5) @ key.transpose(-2, -1)
        mixed: Tensor = scores.softmax(dim=-1) @ value
        return mixed
    return F.scaled_dot_product_attention(query, key, value)


class TokenSummary(nn.Module):
    """From tokens to one embedding: squeeze each token to a few numbers, then one linear layer over all of them.

    Averaging would forget where a token stood; a full linear layer over 256 × 192 numbers would outweigh the encoder.
    """

    def __init__(self, tokens: int, width: int, embedding_size: int) -> None:
        super().__init__()
        self.squeeze = nn.Linear(width, _SQUEEZED)
        self.summary = nn.Linear(tokens * _SQUEEZED, embedding_size)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map ``tokens [B, N, C]`` to ``[B, D]``."""
        embedding: Tensor = self.summary(self.squeeze(tokens).flatten(1))
        return embedding


class VisionTransformer(nn.Module):
    """Patches with their positions, through transformer blocks. The ``ptzjepa`` preset's is ViT-tiny/14."""

    positions: Tensor

    def __init__(self, config: WorldModelConfig) -> None:
        super().__init__()
        side, width = config.image_size // config.patch_size, config.encoder_width
        self.tokens, self.token_width = side * side, width
        self.patches = nn.Conv2d(config.channels, width, config.patch_size, stride=config.patch_size)
        self.register_buffer("positions", grid_positions(side * side, width), persistent=False)
        self.blocks = nn.ModuleList(Block(width, config.encoder_heads) for _ in range(config.encoder_depth))
        self.norm = nn.LayerNorm(width)
        initialise(self)
        self.summary = TokenSummary(side * side, width, config.embedding_size)

    def forward(self, pixels: Tensor) -> Encoding:
        """Encode ``pixels [B, C, S, S]``: pictures of normalised light, with the plane of zoom if it is in use."""
        states = self.patches(pixels).flatten(2).transpose(1, 2) + self.positions
        for block in self.blocks:
            states = block(states)
        tokens = self.norm(states)
        return Encoding(tokens, self.summary(tokens))


def grid_positions(tokens: int, width: int) -> Tensor:
    """Return the fixed sine-cosine table ``[tokens, width]`` of a square grid, half for rows and half for columns.

    Tokens that are no square grid (an external encoder's, with a class token) count as one row.
    """
    side = math.isqrt(tokens)
    rows, columns = (side, side) if side * side == tokens else (1, tokens)
    quarter = math.ceil(width / 4)
    scales = 10_000.0 ** (-torch.arange(quarter, dtype=torch.float64) / quarter)
    row, column = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    angles = [place.flatten().unsqueeze(1) * scales for place in (row, column)]
    table = torch.cat([wave(angle) for angle in angles for wave in (torch.sin, torch.cos)], dim=1)
    return table[:, :width].float()


def initialise(module: nn.Module) -> None:
    """Draw linear weights as transformers want them, the last layer of every residual branch smaller with depth."""
    blocks = [part for part in module.modules() if isinstance(part, Block)]
    for part in module.modules():
        if isinstance(part, nn.Linear):
            nn.init.trunc_normal_(part.weight, std=0.02)
            nn.init.zeros_(part.bias)
    for block in blocks:
        last = block.mlp[-1]
        for linear in (block.out, last):
            if isinstance(linear, nn.Linear):
                nn.init.trunc_normal_(linear.weight, std=0.02 / math.sqrt(2.0 * len(blocks)))
