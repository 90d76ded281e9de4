"""A filmstrip as a film: its columns one after the other, as MP4 (H.264), by PyAV where that is installed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from dreamer_agent.pictures import GAP

RATE = 2
"""Pictures a second: slow enough to read the moves."""
HOLD = 2
"""How often each picture is in the file, for players that stop before the last one."""


def columns(strip: Image.Image, count: int) -> list[Image.Image]:
    """Return the ``count`` columns of a filmstrip, first to last, each with an even number of pixels both ways."""
    width = (strip.width + GAP) // count
    side = width - GAP
    size = (side + side % 2, strip.height + strip.height % 2)
    pictures = []
    for place in range(count):
        picture = Image.new("RGB", size, "white")
        picture.paste(strip.crop((place * width, 0, place * width + side, strip.height)), (0, 0))
        pictures.append(picture)
    return pictures


def write_film(path: Path, strip: Image.Image, count: int) -> bool:
    """Write a filmstrip of ``count`` columns as a film; False where PyAV is missing. ``OSError`` if it can't be."""
    try:
        import av
    except ImportError:
        return False
    pictures = columns(strip, count)
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=RATE * HOLD)
        stream.width, stream.height = pictures[0].size
        stream.pix_fmt = "yuv420p"
        stream.codec_context.thread_count = 1
        for picture in pictures:
            for _ in range(HOLD):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(np.asarray(picture), format="rgb24")))
        container.mux(stream.encode())
    return True
