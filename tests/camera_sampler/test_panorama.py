from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from camera_sampler.simulation.panorama import Panorama
from shared.errors import UserError


def picture(path: Path, width: int, height: int, mode: str = "RGB") -> Path:
    Image.effect_noise((width, height), 80).convert(mode).save(path)
    return path


def png_that_claims(width: int, height: int) -> bytes:
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    data = zlib.compress(b"\0" * 100)
    body = struct.pack(">I", len(data)) + b"IDAT" + data + struct.pack(">I", zlib.crc32(b"IDAT" + data))
    return b"\x89PNG\r\n\x1a\n" + chunk + body


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "RGBA"])
def test_reads_images_of_any_mode(tmp_path: Path, mode: str) -> None:
    panorama = Panorama.load(picture(tmp_path / "p.png", 256, 128, mode))
    assert panorama.image.shape == (128, 256, 3)
    assert [level.width for level in panorama.levels] == [256, 128, 64]


def test_a_tolerated_ratio_is_made_exact(tmp_path: Path) -> None:
    assert Panorama.load(picture(tmp_path / "p.png", 401, 200)).image.shape == (200, 400, 3)


def test_wide_panoramas_are_reduced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("camera_sampler.simulation.panorama.MAX_WIDTH", 128)
    path = tmp_path / "p.png"
    Image.new("RGB", (256, 128), (10, 200, 30)).save(path)
    panorama = Panorama.load(path)
    assert panorama.image.shape == (64, 128, 3)
    assert tuple(panorama.image[0, 0]) == (10, 200, 30)


def test_levels_of_odd_sizes_keep_the_mapping(tmp_path: Path) -> None:
    """A gradient from pole to pole stays the same gradient on every level."""
    path, width = tmp_path / "p.png", 1010
    ramp = np.linspace(0, 255, width // 2)[:, None, None] * np.ones((1, width, 3))
    Image.fromarray(ramp.astype(np.uint8)).save(path)
    levels = Panorama.load(path).levels
    assert len(levels) >= 4
    for level in levels:
        rows = level.packed[: level.stride * level.height].reshape(level.height, level.stride) & 255
        expected = (np.arange(level.height) + 0.5) / level.height * 255.0
        assert np.abs(rows[:, 0] - expected).max() <= 2.0


def test_the_fourth_byte_does_not_weigh_the_colours() -> None:
    image = np.full((64, 128, 4), 200, np.uint8)
    image[:, ::2, 3] = 0
    panorama = Panorama(image)
    assert (panorama.levels[1].packed & 255 == 200).all()
    assert panorama.levels[1].packed[0] >> 24 == 100


@pytest.mark.parametrize("name", ["mars", "forest"])
def test_reads_real_panoramas(name: str, panorama: Callable[[str], Path]) -> None:
    assert Panorama.load(panorama(name)).image.std() > 10.0


def write(content: bytes) -> Callable[[Path], None]:
    return lambda path: path.write_bytes(content) and None


def truncated(path: Path) -> None:
    picture(path, 256, 128)
    path.write_bytes(path.read_bytes()[:5000])


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (write(b"hello, I am a text file\n" * 40), "not an image"),
        (write(b""), "not an image"),
        (lambda path: picture(path, 256, 256), "width must be twice"),
        (lambda path: picture(path, 32, 16), "too small"),
        (write(png_that_claims(60000, 30000)), "smaller image"),
        (write(png_that_claims(18000, 9000)), "smaller image"),
        (truncated, "cannot be decoded"),
        (lambda path: path.mkdir(), "directory"),
        (lambda path: None, "No such file"),
    ],
)  # fmt: skip
def test_what_is_no_panorama_is_the_users_error(tmp_path: Path, make: Callable[[Path], object], words: str) -> None:
    path = tmp_path / "panorama.png"
    make(path)
    with pytest.raises(UserError, match=words) as error:
        Panorama.load(path)
    assert "panorama.png" in str(error.value)
    assert "\n" not in str(error.value)
