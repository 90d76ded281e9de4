"""Opening pictures that others made: a small file may claim to hold gigabytes, and is refused before it is decoded."""

from __future__ import annotations

import io
import warnings
from pathlib import Path

from PIL import Image

MOST_PIXELS = 64_000_000
"""More than any camera's picture has: 190 MB in memory."""
CAMERA_FORMATS = ("JPEG", "PNG")


class TooManyPixels(ValueError):
    """The picture is larger than whoever opens it can use; the text says how large."""


def open_picture(
    source: bytes | Path, *, most_pixels: int = MOST_PIXELS, formats: tuple[str, ...] = CAMERA_FORMATS
) -> Image.Image:
    """Return a picture of which only the header has been read.

    ``TooManyPixels`` where it has more than ``most_pixels``. Reading header or pixels may also raise what Pillow does:
    ``OSError`` (``UnidentifiedImageError`` is one), ``SyntaxError``, ``ValueError``, ``struct.error``, ``zlib.error``.
    """
    try:
        with warnings.catch_warnings():
            # Pillow warns at a limit of its own, and refuses at twice that; ours is exact, and the caller's.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            picture = Image.open(io.BytesIO(source) if isinstance(source, bytes) else source, formats=formats)
    except Image.DecompressionBombError as error:
        raise TooManyPixels(f"more than {most_pixels} pixels ({error})") from None
    width, height = picture.size
    if width * height > most_pixels:
        picture.close()
        raise TooManyPixels(f"{width} × {height} pixels are more than {most_pixels}")
    return picture
