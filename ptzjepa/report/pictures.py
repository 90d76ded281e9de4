"""Pictures of the report: the panorama, and the views that the strip shows, as data URIs."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from ptzjepa.timeline import Look, Timeline
from shared.pictures import open_picture

PANORAMA_WIDTH = 1600
VIEW_WIDTH = 360
JPEG_QUALITY = 82
MASK_DARKNESS = 165
"""How dark unseen parts of the panorama get, of 255."""

UInt8Array = npt.NDArray[np.uint8]


def panorama_uri(image: UInt8Array) -> str:
    """Return an equirectangular image, uint8 [H, W, 3], as a JPEG data URI."""
    picture = Image.fromarray(image)
    if picture.width > PANORAMA_WIDTH:
        picture = picture.resize((PANORAMA_WIDTH, PANORAMA_WIDTH // 2), Image.Resampling.LANCZOS)
    return _jpeg_uri(picture)


def mask_uri(seen: npt.NDArray[np.bool_]) -> str:
    """Return a picture that is clear where ``seen`` [H, W] and dark elsewhere, as a PNG data URI."""
    mask = np.zeros((*seen.shape, 4), np.uint8)
    mask[..., 3] = np.where(seen, 0, MASK_DARKNESS)
    buffer = io.BytesIO()
    Image.fromarray(mask, "RGBA").save(buffer, "PNG", optimize=True)
    return _uri("image/png", buffer.getvalue())


def view_uri(look: Look, timeline: Timeline, originals: Path) -> str | None:
    """Return the untouched snapshot of a view where it was kept, else the training-size picture, else None."""
    kept = originals / Path(look.original).name if look.original else None
    data = _read(kept) or timeline.pictures.get(look.view)
    if data is None:
        return None
    try:
        with open_picture(data) as picture:
            rgb = picture.convert("RGB")
    except (OSError, SyntaxError, ValueError):
        return None
    if rgb.width > VIEW_WIDTH:
        rgb = rgb.resize((VIEW_WIDTH, round(rgb.height * VIEW_WIDTH / rgb.width)), Image.Resampling.LANCZOS)
    return _jpeg_uri(rgb)


def _read(path: Path | None) -> bytes | None:
    try:
        return path.read_bytes() if path else None
    except OSError:
        return None


def _jpeg_uri(picture: Image.Image) -> str:
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=JPEG_QUALITY, optimize=True)
    return _uri("image/jpeg", buffer.getvalue())


def _uri(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode('ascii')}"
