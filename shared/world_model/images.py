"""From JPEG bytes to tensors."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from shared.pictures import TooManyPixels, open_picture


def decode_images(jpegs: Sequence[bytes], size: int) -> Tensor:
    """Decode training-size views to ``[B, 3, size, size]`` uint8.

    ``ValueError`` names the place and the fault of the first one that is not a whole RGB JPEG of this size.
    """
    images = np.empty((len(jpegs), size, size, 3), np.uint8)
    for index, data in enumerate(jpegs):
        try:
            with open_picture(data, formats=("JPEG",)) as image:
                if image.size != (size, size):
                    raise ValueError(f"view {index}: {image.size[0]} × {image.size[1]} pixels, not {size} × {size}")
                images[index] = np.asarray(image.convert("RGB"))
        except TooManyPixels as error:
            raise ValueError(f"view {index}: {error}") from None
        except (OSError, SyntaxError) as error:
            raise ValueError(f"view {index}: not a whole JPEG ({error})") from error
    return torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()
