"""Pictures of dreams: a decoder learns beside the dreaming, and a filmstrip shows people what was dreamt."""

from __future__ import annotations

import torch
from PIL import Image, ImageDraw
from torch import Tensor
from torch.nn import functional as F

from dreamer_agent.dreams import Dreams
from shared.actions import ActionTable
from shared.world_model.decoder import Decoder, DecoderConfig

MOST_PIXELS = 64
"""Side of a decoder's pictures at most: dreaming must not wait for them long."""
STEPS, SAMPLES = 4, 16
"""Lessons a batch, and views in each: about a quarter of a second on one core."""
_RATE = 2e-3
_LABEL = 14
GAP = 2
"""Pixels between the pictures of a filmstrip."""


class Painter:
    """Learns to turn one world model's embeddings into pictures. No gradient goes back into the world model."""

    def __init__(self, embedding_size: int, image_size: int, seed: int) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            size = min(MOST_PIXELS, image_size)
            self.decoder = Decoder(DecoderConfig(embedding_size=embedding_size, image_size=size))
        self._generator = torch.Generator().manual_seed(seed)
        self._optimizer = torch.optim.Adam(self.decoder.parameters(), lr=_RATE)

    def learn(self, embedding: Tensor, poses: Tensor, images: Tensor) -> float:
        """Learn from some of the views ``[B, D]``, ``[B, 3]``, ``[B, 3, S, S]`` uint8; returns the squared error."""
        seen = embedding.detach().float()
        size = self.decoder.config.image_size
        wanted = F.interpolate(images.float() / 255.0, size=(size, size), mode="area")
        error = torch.zeros(())
        for _ in range(STEPS):
            some = torch.randint(len(seen), (min(SAMPLES, len(seen)),), generator=self._generator)
            error = F.mse_loss(self.decoder(seen[some], poses[some]), wanted[some])
            self._optimizer.zero_grad(set_to_none=True)
            torch.autograd.backward(error)
            self._optimizer.step()
        return float(error.detach())


@torch.no_grad()
def filmstrip(dreams: Dreams, decoder: Decoder, table: ActionTable, *, scale: int = 2) -> Image.Image:
    """Return one row a dream and one picture a view, with the move that led there and its surprise below.

    ``ValueError`` where the decoder is of another world model.
    """
    if decoder.config.embedding_size != dreams.embedding_size:
        raise ValueError(
            f"the decoder reads embeddings of {decoder.config.embedding_size} numbers, "
            f"these dreams have {dreams.embedding_size}"
        )
    frames = decoder(dreams.embeddings.float().flatten(0, 1), dreams.poses.flatten(0, 1))
    pixels = (frames * 255.0).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    side = decoder.config.image_size * scale
    columns = dreams.length + 1
    strip = Image.new("RGB", (columns * (side + GAP) - GAP, len(dreams) * (side + _LABEL + GAP) - GAP), "white")
    draw = ImageDraw.Draw(strip)
    for place, frame in enumerate(pixels):
        row, column = divmod(place, columns)
        left, top = column * (side + GAP), row * (side + _LABEL + GAP)
        strip.paste(Image.fromarray(frame).resize((side, side), Image.Resampling.BILINEAR), (left, top))
        draw.text((left + 1, top + side + 1), _label(dreams, table, row, column), fill="black")
    return strip


def _label(dreams: Dreams, table: ActionTable, row: int, column: int) -> str:
    if column == 0:
        pan, tilt, zoom = dreams.poses[row, 0].tolist()
        return f"{pan:.0f} {tilt:.0f} x{zoom:.1f}"
    return f"{table[int(dreams.actions[row, column - 1])].name} {float(dreams.rewards[row, column - 1]):.2g}"
