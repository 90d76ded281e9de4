"""Pictures as RTP payloads, each codec by its own rules: JPEG (RFC 2435) and H.264 (RFC 6184)."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np

from shared.pictures import open_picture

if TYPE_CHECKING:
    import av

Codec = Literal["jpeg", "h264"]
MOST_BYTES = 1400
"""Of a payload, so that a packet fits into one of a network's."""
CLOCK = 90_000
_FU_A = 28


class Payloads(Protocol):
    """Encodes the pictures of one viewer's stream."""

    number: int
    """The payload type."""
    description: Sequence[str]
    """Lines of the session description."""

    def encode(self, data: bytes, stamp: int) -> list[bytes]:
        """Return the payloads of a picture (JPEG, PNG) that was taken at ``stamp``. Blocking."""


def payloads(codec: Codec) -> Payloads:
    """Return a new stream's encoder."""
    return H264Payloads() if codec == "h264" else JpegPayloads()


class JpegPayloads:
    """Every picture for itself. A payload is the main header with its place in the scan, and a piece of the scan."""

    number = 26
    description: Sequence[str] = ()

    def encode(self, data: bytes, stamp: int) -> list[bytes]:
        """See ``Payloads.encode``."""
        width, height, tables, scan = _jpeg(data)
        made, place = [], 0
        while place < len(scan):
            # Type 1: 4:2:0. Quality 255: the tables come along, with the first piece.
            header = struct.pack("!IBBBB", place, 1, 255, width // 8, height // 8)
            extra = struct.pack("!BBH", 0, 0, len(tables)) + tables if place == 0 else b""
            piece = scan[place : place + MOST_BYTES - len(extra)]
            made.append(header + extra + piece)
            place += len(piece)
        return made


class H264Payloads:
    """A key frame first and every ``key`` pictures, each with its parameter sets; what is too long is sent in pieces.

    Needs PyAV with x264.
    """

    number = 96
    description: Sequence[str] = (f"a=rtpmap:96 H264/{CLOCK}", "a=fmtp:96 packetization-mode=1")

    def __init__(self, key: int = 20) -> None:
        import av

        self._av, self._key = av, key
        self._encoder: av.VideoCodecContext | None = None

    def encode(self, data: bytes, stamp: int) -> list[bytes]:
        """See ``Payloads.encode``."""
        with open_picture(data) as picture:
            pixels = np.asarray(picture.convert("RGB"))
        frame = self._av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format="yuv420p")
        encoder = self._encoder = self._encoder or self._open(frame.width, frame.height)
        frame.pts, frame.time_base = stamp, Fraction(1, CLOCK)
        return [
            payload
            for packet in encoder.encode(frame)
            for unit in _units(bytes(packet))
            for payload in _fragments(unit)
        ]

    def _open(self, width: int, height: int) -> av.VideoCodecContext:
        encoder = self._av.VideoCodecContext.create("libx264", "w")
        encoder.width, encoder.height, encoder.pix_fmt = width, height, "yuv420p"
        encoder.time_base = Fraction(1, CLOCK)
        encoder.options = {
            "preset": "ultrafast", "tune": "zerolatency", "crf": "18",
            "x264-params": f"keyint={self._key}:scenecut=0:repeat-headers=1:annexb=1:threads=1",
        }  # fmt: skip
        return encoder


def _units(stream: bytes) -> Iterator[bytes]:
    """Yield the NAL units between the start codes; none ends in a zero, so one belongs to the next start code."""
    return (unit.rstrip(b"\0") for unit in stream.split(b"\0\0\1") if unit.rstrip(b"\0"))


def _fragments(unit: bytes) -> Iterator[bytes]:
    """Yield a unit as it is, or as fragments (FU-A) where it is too long for one payload."""
    if len(unit) <= MOST_BYTES:
        yield unit
        return
    head, body, size = unit[0], unit[1:], MOST_BYTES - 2
    for place in range(0, len(body), size):
        first, last = place == 0, place + size >= len(body)
        yield bytes((head & 0xE0 | _FU_A, first << 7 | last << 6 | head & 0x1F)) + body[place : place + size]


def _jpeg(data: bytes) -> tuple[int, int, bytes, bytes]:
    """Return a picture as the RFC wants it: width, height, both quantization tables, and the compressed scan."""
    with open_picture(data) as picture:
        # Sizes travel in units of eight, and a scan consists of squares of sixteen.
        width, height = (max(16, round(side / 16) * 16) for side in picture.size)
        buffer = io.BytesIO()
        picture.convert("RGB").resize((width, height)).save(buffer, "JPEG", quality=90, subsampling="4:2:0")
    encoded, tables, place = buffer.getvalue(), {}, 2
    while True:
        marker, length = encoded[place + 1], int.from_bytes(encoded[place + 2 : place + 4], "big")
        segment = encoded[place + 4 : place + 2 + length]
        place += 2 + length
        if marker == 0xDB:
            for start in range(0, len(segment), 65):
                tables[segment[start] & 15] = segment[start + 1 : start + 65]
        if marker == 0xDA:
            break
    return width, height, tables[0] + tables[1], encoded[place : encoded.rindex(b"\xff\xd9")]
