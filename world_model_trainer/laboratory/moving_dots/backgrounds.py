"""Pictures that dots move before: textures of our own, or whatever lies in a folder.

Natural pictures have spectra that fall like one over the frequency, and edges where one thing hides another. So a
texture is a heap of discs of one grey each ("dead leaves": Lee, Mumford and Huang, IJCV 2001) and a random field whose
amplitude falls with frequency, at a mean and contrast of its own.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from shared.errors import UserError
from shared.pictures import open_picture

SIDE, UNCUT = 28, 32
"""Pixels of a background, and of the picture that it is the corner of, as the study cut CIFAR-10."""
TEXTURES = 20_000
VALIDATION_SHARE = 6
"""One picture in so many is kept for validation."""
_LEAVES, _FEWEST, _MOST = 12, 2, 200_000
_KINDS = {".png", ".jpg", ".jpeg", ".bmp", ".webp", ".ppm", ".pgm", ".tif", ".tiff"}
_FORMATS = ("PNG", "JPEG", "BMP", "WEBP", "PPM", "TIFF")


class Backgrounds:
    """``pictures [N, 28, 28]`` uint8, to draw from."""

    def __init__(self, pictures: Tensor) -> None:
        if len(pictures) == 0:
            raise ValueError("no pictures")
        self.pictures = pictures

    def __len__(self) -> int:
        return len(self.pictures)

    def to(self, device: torch.device) -> Backgrounds:
        """Return the same on a device."""
        return Backgrounds(self.pictures.to(device))

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """Draw ``count`` pictures with replacement: ``[count, 28, 28]`` uint8."""
        chosen = torch.randint(len(self), (count,), generator=generator, device=self.pictures.device)
        return self.pictures[chosen]

    def split(self) -> tuple[Backgrounds, Backgrounds]:
        """Return those for training and those, every sixth, for validation."""
        kept = torch.arange(len(self)) % VALIDATION_SHARE == VALIDATION_SHARE - 1
        return Backgrounds(self.pictures[~kept]), Backgrounds(
            self.pictures[kept] if bool(kept.any()) else self.pictures
        )


def textures(count: int = TEXTURES, seed: int = 0) -> Backgrounds:
    """Generate textures; one seed gives the same ones."""
    generator = torch.Generator().manual_seed(seed)
    return Backgrounds(torch.cat([_textures(min(1000, count - at), generator) for at in range(0, count, 1000)]))


def _textures(count: int, generator: torch.Generator) -> Tensor:
    picture = _standard(_heap(count, generator)) + _standard(_field(count, generator)) * _rand(
        generator, count, 1, 1, low=0.2, high=1.2
    )
    mean = _rand(generator, count, 1, 1, low=0.3, high=0.7)
    contrast = _rand(generator, count, 1, 1, low=0.08, high=0.28)
    return (255.0 * (mean + contrast * _standard(picture))).round().clamp(0.0, 255.0).to(torch.uint8)


def _field(count: int, generator: torch.Generator) -> Tensor:
    """Return random fields of amplitude f^−a, a from 0.8 to 1.6: ``[count, 28, 28]``."""
    # Larger than is needed: what comes out of a Fourier transform repeats itself.
    size = 2 * SIDE
    rows, columns = torch.fft.fftfreq(size), torch.fft.rfftfreq(size)
    frequency = torch.hypot(rows.unsqueeze(1), columns.unsqueeze(0))
    frequency[0, 0] = 1.0
    fall = _rand(generator, count, 1, 1, low=0.8, high=1.6)
    amplitude = frequency ** (-fall)
    amplitude[:, 0, 0] = 0.0
    noise = torch.randn(count, size, size // 2 + 1, dtype=torch.complex64, generator=generator)
    field: Tensor = torch.fft.irfft2(amplitude * noise, s=(size, size))
    return field[:, :SIDE, :SIDE]


def _heap(count: int, generator: torch.Generator) -> Tensor:
    """Return discs of one grey each, one on the other, the large ones more rarely: ``[count, 28, 28]``."""
    pixels = torch.arange(SIDE, dtype=torch.float32)
    heap = _rand(generator, count, 1, 1, low=-1.0, high=1.0).expand(count, SIDE, SIDE)
    for _ in range(_LEAVES):
        x, y = (_rand(generator, count, 1, 1, low=-4.0, high=SIDE + 4.0) for _ in range(2))
        radius = 2.0 / _rand(generator, count, 1, 1, low=0.12, high=1.0)
        inside = (pixels - x).square() + (pixels.unsqueeze(1) - y).square() < radius.square()
        heap = torch.where(inside, _rand(generator, count, 1, 1, low=-1.0, high=1.0), heap)
    return heap


def _rand(generator: torch.Generator, *shape: int, low: float, high: float) -> Tensor:
    return low + (high - low) * torch.rand(*shape, generator=generator)


def _standard(pictures: Tensor) -> Tensor:
    mean = pictures.mean(dim=(1, 2), keepdim=True)
    return (pictures - mean) / (pictures.std(dim=(1, 2), keepdim=True) + 1e-3)


def from_folder(folder: Path) -> Backgrounds:
    """Read every picture below ``folder`` in grey: its shorter side becomes 32 pixels, its upper left 28 × 28 are kept.

    ``UserError`` where there are too few or one can't be read.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no folder of pictures")
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in _KINDS)[:_MOST]
    if len(paths) < _FEWEST:
        raise UserError(f"{folder}: has {len(paths)} pictures, and {_FEWEST} are needed, one of them for validation")
    return Backgrounds(torch.from_numpy(np.stack([_read(path) for path in paths])))


def _read(path: Path) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    try:
        with open_picture(path, formats=_FORMATS) as opened:
            grey = opened.convert("L")
    except (OSError, SyntaxError, ValueError) as error:
        raise UserError(f"{path}: can't be read as a picture ({error}); remove it") from error
    ratio = UNCUT / min(grey.size)
    width, height = (max(SIDE, round(ratio * length)) for length in grey.size)
    return np.asarray(grey.resize((width, height), Image.Resampling.BOX), np.uint8)[:SIDE, :SIDE].copy()
