"""Writes what is known of a picture into its JPEG without touching the compressed data: one more APP1 segment.

EXIF where the picture has none, because every viewer reads its time; where the camera wrote its own EXIF, that stays as
it is and the same goes into an XMP packet, of which a picture may have one beside EXIF. Taking the segment out again
gives the very bytes that came.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple
from xml.sax.saxutils import escape

from PIL import ExifTags, Image

from camera_sampler.snapshots import JPEG_START

_EXIF, _XMP = b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0"
_APP0, _APP1, _START_OF_SCAN = 0xE0, 0xE1, 0xDA
_COMMENT_CODE = b"ASCII\0\0\0"
_LARGEST = 65_533
_XMP_PACKET = (
    '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    '<rdf:Description rdf:about="" xmlns:exif="http://ns.adobe.com/exif/1.0/">'
    "<exif:DateTimeOriginal>{time}</exif:DateTimeOriginal>"
    '<exif:UserComment><rdf:Alt><rdf:li xml:lang="x-default">{comment}</rdf:li></rdf:Alt></exif:UserComment>'
    '</rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end="r"?>'
)


class _Segment(NamedTuple):
    marker: int
    payload: bytes
    end: int


def embed(data: bytes, about: Mapping[str, Any], taken_at: datetime) -> bytes:
    """Return the JPEG with ``about`` as JSON in the user's comment, and the time in its own field.

    What is no JPEG, and what has EXIF and XMP already, is returned as it is.
    """
    segments = list(_leading_segments(data))
    own_exif = any(segment.payload.startswith(_EXIF) for segment in segments)
    own_xmp = any(segment.payload.startswith(_XMP) for segment in segments)
    if not segments or (own_exif and own_xmp):
        return data
    comment = json.dumps(about)
    payload = _xmp(comment, taken_at) if own_exif else _exif(comment, taken_at)
    if len(payload) > _LARGEST:
        return data
    # Behind JFIF and EXIF, which both want to be the first.
    place = len(JPEG_START)
    for segment in segments:
        if segment.marker not in (_APP0, _APP1):
            break
        place = segment.end
    return data[:place] + b"\xff\xe1" + (len(payload) + 2).to_bytes(2, "big") + payload + data[place:]


def _leading_segments(data: bytes) -> Iterator[_Segment]:
    """Yield the segments in front of the compressed data; none where that is not reached."""
    found, place = [], len(JPEG_START)
    while data.startswith(JPEG_START) and place + 4 <= len(data) and data[place] == 0xFF:
        marker = data[place + 1]
        if marker == 0xFF:  # padding in front of a marker
            place += 1
            continue
        end = place + 2 + int.from_bytes(data[place + 2 : place + 4], "big")
        found.append(_Segment(marker, data[place + 4 : end], end))
        if marker == _START_OF_SCAN:
            yield from found
            return
        place = end


def _exif(comment: str, taken_at: datetime) -> bytes:
    moment, exif = taken_at.astimezone(UTC), Image.Exif()
    # The time of the recording alone: ``DateTime`` is the camera's own clock to whoever checks a picture's age.
    exif.get_ifd(ExifTags.IFD.Exif).update(
        {
            ExifTags.Base.DateTimeOriginal: f"{moment:%Y:%m:%d %H:%M:%S}",
            ExifTags.Base.SubsecTimeOriginal: f"{moment:%f}",
            ExifTags.Base.OffsetTimeOriginal: "+00:00",
            ExifTags.Base.UserComment: _COMMENT_CODE + comment.encode("ascii"),
        }
    )
    block = exif.tobytes()
    return block if block.startswith(_EXIF) else _EXIF + block


def _xmp(comment: str, taken_at: datetime) -> bytes:
    time = taken_at.astimezone(UTC).isoformat()
    return _XMP + _XMP_PACKET.format(time=time, comment=escape(comment)).encode()
