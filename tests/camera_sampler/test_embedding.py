from __future__ import annotations

import io
import json
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import ExifTags, Image

from camera_sampler.embedding import embed
from camera_sampler.freshness import exif_time
from camera_sampler.snapshots import verify
from tests.camera_sampler.test_snapshots import encoded

NOW = datetime(2026, 5, 17, 12, 30, 1, 250_000, tzinfo=UTC)
ABOUT = {"camera": "camera-0", "pose": {"pan": -12.5}, "words": '<&> "quoted" – ☂'}


def camera_exif() -> bytes:
    exif = Image.Exif()
    exif[ExifTags.Base.Make], exif[ExifTags.Base.DateTime] = "AXIS", "2026:05:17 12:30:00"
    return exif.tobytes()


def scan(data: bytes) -> bytes:
    return data[data.index(b"\xff\xda") :]


ODD: list[dict[str, Any]] = [
    {},
    {"progressive": True},
    {"mode": "L"},
    {"exif": camera_exif()},
    {"xmp": b"<x:xmpmeta/>"},
    {"comment": b"\xff\xda?"},
]


@pytest.mark.parametrize("options", ODD)
def test_only_a_segment_is_added(options: dict[str, Any]) -> None:
    data = encoded(**options)
    marked = embed(data, ABOUT, NOW)
    added = len(marked) - len(data)
    assert added > 0
    start = next(place for place in range(len(data)) if marked[place] != data[place])
    # The marker's first byte may equal the byte that it moved, so look a little to the left as well.
    cuts = [marked[:place] + marked[place + added :] for place in range(max(0, start - 4), start + 1)]
    assert data in cuts
    assert scan(marked) == scan(data) or "comment" in options
    assert (np.asarray(verify(marked).image) == np.asarray(verify(data).image)).all()


def test_exif_tells_time_and_all_the_rest() -> None:
    with Image.open(io.BytesIO(embed(encoded(), ABOUT, NOW))) as image:
        told = image.getexif().get_ifd(ExifTags.IFD.Exif)
        assert told[ExifTags.Base.DateTimeOriginal] == "2026:05:17 12:30:01"
        assert told[ExifTags.Base.SubsecTimeOriginal] == "250000"
        assert told[ExifTags.Base.OffsetTimeOriginal] == "+00:00"
        assert json.loads(told[ExifTags.Base.UserComment].removeprefix(b"ASCII\0\0\0")) == ABOUT
        # It must not pass for the camera's own clock.
        assert exif_time(image) is None


def test_the_cameras_own_exif_stays_and_xmp_is_added() -> None:
    own = camera_exif()
    marked = embed(encoded(exif=own), ABOUT, NOW)
    assert own in marked
    with Image.open(io.BytesIO(marked)) as image:
        assert image.getexif()[ExifTags.Base.Make] == "AXIS"
        packet = image.info["xmp"].decode()
    assert "2026-05-17T12:30:01.250000+00:00" in packet
    assert json.dumps(ABOUT).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;") in packet
    # Both are there now, and nothing more is added.
    assert embed(marked, ABOUT, NOW) == marked


def test_what_is_no_jpeg_stays_as_it_is() -> None:
    for data in (encoded(kind="PNG"), b"", b"\xff\xd8", b"\xff\xd8\xff\xe0\x00\x00", encoded()[:20]):
        assert embed(data, ABOUT, NOW) == data


@given(st.binary(max_size=300), st.booleans())
def test_no_bytes_surprise_it(data: bytes, jpeg: bool) -> None:
    data = b"\xff\xd8" * jpeg + data
    assert len(embed(data, ABOUT, NOW)) >= len(data)


def test_what_fits_no_segment_is_left_out() -> None:
    data = encoded()
    assert embed(data, {"long": "x" * 70_000}, NOW) == data
