"""A small file that says it is huge is refused before a pixel is decoded, wherever pictures come in."""

from __future__ import annotations

import io
import struct
import tracemalloc
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, UnidentifiedImageError

from camera_sampler.simulation.panorama import Panorama
from camera_sampler.snapshots import BadSnapshot, verify
from shared.errors import UserError
from shared.pictures import MOST_PIXELS, TooManyPixels, open_picture


def png_claiming(width: int, height: int) -> bytes:
    """A sound PNG header of any size, with next to nothing behind it."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IDAT", zlib.compress(bytes(1000)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + body + chunk(b"IEND", b"")


def jpeg(width: int, height: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (width, height)).save(buffer, "JPEG")
    return buffer.getvalue()


@given(st.integers(1, 2**20), st.integers(1, 2**20))
def test_the_limit_is_exact(width: int, height: int) -> None:
    data = png_claiming(width, height)
    if width * height > MOST_PIXELS:
        with pytest.raises(TooManyPixels, match=f"more than {MOST_PIXELS}"):
            open_picture(data)
    else:
        assert open_picture(data).size == (width, height)


@pytest.mark.parametrize("size", [(8001, 8000), (12_000, 12_000), (60_000, 60_000)])
def test_a_bomb_takes_no_memory(size: tuple[int, int], tmp_path: Path) -> None:
    data = png_claiming(*size)
    file = tmp_path / "bomb.png"
    file.write_bytes(data)
    tracemalloc.start()
    with pytest.raises(BadSnapshot) as caught:
        verify(data)
    with pytest.raises(TooManyPixels):
        open_picture(file)
    if size[0] * size[1] > 16384 * 8192:
        with pytest.raises(UserError, match="give a smaller image"):
            Panorama.load(file)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert caught.value.kind == "bomb"
    assert most < 5_000_000


def test_a_view_that_is_a_bomb_is_a_view_that_cannot_be_used() -> None:
    images = pytest.importorskip("shared.world_model.images")
    huge = bytearray(jpeg(64, 64))
    start = huge.index(b"\xff\xc0") + 5
    huge[start : start + 4] = struct.pack(">HH", 65_000, 65_000)
    with pytest.raises(ValueError, match="view 0: "):
        images.decode_images([bytes(huge)], 64)


def test_only_the_formats_that_are_asked_for_are_read() -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "TIFF")
    with pytest.raises(UnidentifiedImageError):
        open_picture(buffer.getvalue())
    assert open_picture(buffer.getvalue(), formats=("TIFF",)).size == (8, 8)


def test_what_is_no_picture() -> None:
    with pytest.raises(UnidentifiedImageError):
        open_picture(b"GET / HTTP/1.1")
