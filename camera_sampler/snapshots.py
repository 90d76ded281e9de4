"""Snapshots: verified by decoding them whole, squeezed to training size, kept untouched when asked."""

from __future__ import annotations

import io
import os
import re
import struct
import warnings
import zlib
from collections import deque
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Literal

from PIL import Image, UnidentifiedImageError

from shared.errors import UserError

MAX_PIXELS = 64_000_000
MAX_BYTES = 64_000_000
TRAINING_QUALITY = 90
_FORMATS = ("JPEG", "PNG")
_JPEG_START, _JPEG_END = b"\xff\xd8", b"\xff\xd9"
_TAIL = 1024
"""Some cameras pad their JPEGs; the end marker is searched for in this many last bytes."""

Badness = Literal["empty", "not-an-image", "truncated", "corrupt", "wrong-size", "bomb", "stale"]
BADNESS: tuple[Badness, ...] = ("empty", "not-an-image", "truncated", "corrupt", "wrong-size", "bomb", "stale")


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
    if data.startswith(_JPEG_START) and _JPEG_END not in data[-_TAIL:]:
        raise BadSnapshot("truncated", "the JPEG has no end marker")
    image = _open(data)
    if image.width * image.height > MAX_PIXELS:
        raise BadSnapshot("bomb", f"{image.width} × {image.height} pixels are more than {MAX_PIXELS}")
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
        with warnings.catch_warnings():
            # Pillow only warns of images up to twice its limit; our own check of the pixels follows.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            return Image.open(io.BytesIO(data), formats=_FORMATS)
    except Image.DecompressionBombError as error:
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


class Originals:
    """A directory of untouched snapshots, bounded by count. Names sort by time."""

    _NAME = re.compile(r"^\d{8}T\d{6}\.\d{6}Z-[0-9a-f]+\.(jpg|png)$")

    def __init__(self, directory: Path, count: int) -> None:
        self._directory, self._count = directory, count
        try:
            directory.mkdir(parents=True, exist_ok=True)
            probe = directory / ".writable"
            probe.write_bytes(b"")
            probe.unlink()
            self._names = deque(sorted(path.name for path in directory.iterdir() if self._NAME.match(path.name)))
        except OSError as error:
            raise UserError(
                f"cannot keep originals in {directory}: {error.strerror}; set PTZ_KEEP_ORIGINALS to a writable place"
            ) from error

    def keep(self, view_id: str, taken_at: datetime, data: bytes) -> str:
        """Write a snapshot whole or not at all, drop the oldest beyond the count, return its file name.

        ``OSError`` when it could not be written.
        """
        suffix = "jpg" if data.startswith(_JPEG_START) else "png"
        name = f"{taken_at:%Y%m%dT%H%M%S.%fZ}-{view_id}.{suffix}"
        # One name for every half-written file, so that a crash leaves at most one behind.
        temporary = self._directory / ".part"
        try:
            with temporary.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(self._directory / name)
        except OSError:
            temporary.unlink(missing_ok=True)
            raise
        self._names.append(name)
        while len(self._names) > self._count:
            (self._directory / self._names.popleft()).unlink(missing_ok=True)
        return name
