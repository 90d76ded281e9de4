"""Snapshots: verified by decoding them whole, squeezed to training size."""

from __future__ import annotations

import io
import struct
import zlib
from dataclasses import dataclass, field
from typing import Literal

from PIL import Image, UnidentifiedImageError

from shared.pictures import TooManyPixels, open_picture

MAX_BYTES = 64_000_000
TRAINING_QUALITY = 90
JPEG_START, _JPEG_END = b"\xff\xd8", b"\xff\xd9"
_TAIL = 1024
"""Some cameras pad their JPEGs; the end marker is searched for in this many last bytes."""

Badness = Literal["empty", "not-an-image", "truncated", "corrupt", "wrong-size", "bomb", "stale", "moved"]
BADNESS: tuple[Badness, ...] = ("empty", "not-an-image", "truncated", "corrupt", "wrong-size", "bomb", "stale", "moved")


class BadSnapshot(Exception):
    """A snapshot that must not be published: ``kind`` for the metric, the text for people."""

    def __init__(self, kind: Badness, text: str) -> None:
        super().__init__(text)
        self.kind: Badness = kind


@dataclass(frozen=True)
class Verified:
    """A snapshot that decodes whole: the image (RGB) and the bytes as they came."""

    image: Image.Image
    data: bytes = field(repr=False)


def verify(data: bytes, size: tuple[int, int] | None = None) -> Verified:
    """Decode a snapshot whole. ``BadSnapshot`` unless it is a sound image, of ``size`` (width, height) where given."""
    if not data:
        raise BadSnapshot("empty", "the snapshot has no bytes")
    if len(data) > MAX_BYTES:
        raise BadSnapshot("bomb", f"the snapshot has {len(data)} bytes, more than {MAX_BYTES}")
    # The decoder fills a missing end with grey when little is missing, so the marker is asked for, too.
    if data.startswith(JPEG_START) and _JPEG_END not in data[-_TAIL:]:
        raise BadSnapshot("truncated", "the JPEG has no end marker")
    image = _open(data)
    if size is not None and image.size != size:
        raise BadSnapshot("wrong-size", f"{image.width} × {image.height} pixels instead of {size[0]} × {size[1]}")
    try:
        image.load()
        return Verified(image.convert("RGB"), data)
    except (OSError, EOFError) as error:
        kind: Badness = "truncated" if "truncated" in str(error) else "corrupt"
        raise BadSnapshot(kind, f"the image cannot be decoded: {error}") from error
    except (SyntaxError, ValueError, struct.error, zlib.error) as error:  # what Pillow's decoders raise, too
        raise BadSnapshot("corrupt", f"the image cannot be decoded: {error}") from error


def _open(data: bytes) -> Image.Image:
    try:
        return open_picture(data)
    except TooManyPixels as error:
        raise BadSnapshot("bomb", str(error)) from error
    except UnidentifiedImageError as error:
        raise BadSnapshot("not-an-image", f"{len(data)} bytes that begin with {data[:8].hex(' ')}") from error
    except (OSError, SyntaxError, ValueError, struct.error) as error:
        raise BadSnapshot("corrupt", f"the image's header cannot be read: {error}") from error


def training_jpeg(image: Image.Image, size: int) -> bytes:
    """Squeeze the whole field of view to ``size`` × ``size`` pixels; return it as JPEG."""
    small = image.resize((size, size), Image.Resampling.BICUBIC, reducing_gap=3.0)
    buffer = io.BytesIO()
    # No chroma subsampling: at this size it would halve what little colour detail there is.
    small.save(buffer, "JPEG", quality=TRAINING_QUALITY, subsampling=0)
    return buffer.getvalue()
