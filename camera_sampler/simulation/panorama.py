"""Equirectangular images: read, checked, and packed for the renderer.

Column 0 is pan −180°, row 0 is tilt +90°. Each level of the mip pyramid halves both sides, so that a small view samples
a level about as fine as its own pixels and does not alias.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from shared.errors import UserError
from shared.pictures import TooManyPixels, open_picture

MAX_PIXELS = 16384 * 8192
"""Larger files are refused before they are decoded: a small file can claim to hold gigabytes."""
FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "PPM")
MAX_WIDTH = 8192
"""Wider panoramas are reduced to this: 23 pixels a degree is finer than any view at zoom 3 needs."""
MIN_WIDTH = 64
RATIO_TOLERANCE = 0.01
_COARSEST_WIDTH = 64

UInt8Array = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Level:
    """One level of the pyramid: pixels packed as ``uint32`` (R, G, B, material from the lowest byte up).

    The flat array has one column more than the image (the first one again) and one row more (the last one again), so
    that the right and lower neighbour of every pixel lie at constant offsets.
    """

    width: int
    height: int
    packed: npt.NDArray[np.uint32]

    @property
    def stride(self) -> int:
        """Packed pixels from one row to the next."""
        return self.width + 1


class Panorama:
    """A picture of the whole sphere as a mip pyramid; ``levels[0]`` is the finest."""

    def __init__(self, image: UInt8Array) -> None:
        """Take ``image``: uint8 [H, W, 3], or [H, W, 4] with a material byte that is interpolated like a colour."""
        height, width, channels = image.shape
        if channels == 3:
            image = np.concatenate([image, np.zeros((height, width, 1), np.uint8)], axis=2)
        self.levels = [_pack(image)]
        # RGBX, not RGBA: Pillow would weigh the colours of RGBA by the fourth byte.
        picture = Image.frombytes("RGBX", (width, height), np.ascontiguousarray(image).tobytes())
        # Only exact halves: a level of any other size would be shifted against the others by parts of a pixel.
        while picture.width > _COARSEST_WIDTH and picture.width % 2 == picture.height % 2 == 0:
            picture = picture.reduce(2)
            self.levels.append(_pack(np.asarray(picture)))

    @property
    def image(self) -> UInt8Array:
        """The picture itself, uint8 [H, W, 3]: a window on the finest level, which holds its only copy."""
        finest = self.levels[0]
        rows = finest.packed[: finest.height * finest.stride].view(np.uint8)
        return rows.reshape(finest.height, finest.stride, 4)[:, : finest.width, :3]

    @classmethod
    def load(cls, path: Path) -> Panorama:
        """Read an equirectangular image file. ``UserError`` says what is wrong with it."""
        try:
            with open_picture(path, most_pixels=MAX_PIXELS, formats=FORMATS) as picture:
                _check_size(path, picture.width, picture.height)
                return cls(np.asarray(_reduced(picture.convert("RGB"))))
        except UnidentifiedImageError as error:
            raise UserError(f"panorama {path}: not an image; give an equirectangular JPEG or PNG") from error
        except TooManyPixels as error:
            raise UserError(f"panorama {path}: {error}; give a smaller image") from error
        except OSError as error:
            reason = error.strerror or f"cannot be decoded ({error})"
            raise UserError(f"panorama {path}: {reason}; give a readable equirectangular image") from error
        except (SyntaxError, ValueError) as error:  # how Pillow's decoders report some broken files
            raise UserError(f"panorama {path}: cannot be decoded ({error}); give a sound image") from error


def _check_size(path: Path, width: int, height: int) -> None:
    size = f"{width} × {height}"
    if width < MIN_WIDTH:
        raise UserError(f"panorama {path}: {size} is too small; give at least {MIN_WIDTH} × {MIN_WIDTH // 2}")
    if abs(width - 2 * height) > RATIO_TOLERANCE * width:
        raise UserError(f"panorama {path}: {size} is not equirectangular; the width must be twice the height")


def _reduced(picture: Image.Image) -> Image.Image:
    # The renderer takes both axes at the same number of pixels a degree, and every level of the pyramid halves both:
    # so a tolerated ratio is made exact here, and the width a multiple of a power of two.
    width = min(picture.width, MAX_WIDTH)
    multiple = 2 ** (width // _COARSEST_WIDTH).bit_length()
    width = round(width / multiple) * multiple
    size = (width, width // 2)
    return picture if picture.size == size else picture.resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0)


def _pack(image: UInt8Array) -> Level:
    height, width, _ = image.shape
    stride = width + 1
    # One pixel more than the rows: the last row's right neighbour below is read (with weight zero) at the very end.
    packed = np.empty((height + 1) * stride + 1, np.uint32)
    rows = packed[:-1].reshape(height + 1, stride)
    rows[:height, :width] = np.ascontiguousarray(image).view("<u4")[..., 0]
    rows[:height, width] = rows[:height, 0]
    rows[height] = rows[height - 1]
    packed[-1] = packed[-2]
    return Level(width, height, packed)
