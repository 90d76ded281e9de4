"""File names of kept pictures: our own, which sort by time, and PTZJEPA's, which tell the pose.

PTZJEPA's is ``PAN,TILT,ZOOM_YYYY-mm-dd_HH:MM:SS.ffffff.jpg``, its only record of where a picture was taken. Its early
versions put blanks in place of the two underscores, and left the fraction of a second out where it was zero or always.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Literal, NamedTuple

from shared.pose import Pose

Naming = Literal["own", "ptzjepa"]
SIDECAR = ".json"
"""What a kept picture's sidecar has behind the picture's whole name."""
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_PTZJEPA = re.compile(
    rf"({_NUMBER}),({_NUMBER}),({_NUMBER})[ _](\d{{4}}-\d\d-\d\d)[ _](\d\d:\d\d:\d\d(?:\.\d{{1,6}})?)\.(?:jpe?g|png)",
    re.ASCII | re.IGNORECASE,
)
_OWN = re.compile(r"(\d{8}T\d{6}\.\d{6})Z-[0-9a-f]+\.(?:jpg|png)", re.ASCII)


class Label(NamedTuple):
    """What a name of PTZJEPA's tells: degrees and zoom in the units of whoever wrote it, microseconds since 1970."""

    pan: float
    tilt: float
    zoom: float
    microseconds: int


def ptzjepa_name(pose: Pose, taken_at: datetime, suffix: str = "jpg") -> str:
    """Return PTZJEPA's name of a picture. The numbers are the shortest that read back as the very same."""
    position = ",".join(repr(float(value)) for value in pose.as_tuple())
    # PTZJEPA's containers ran on UTC, and its tools read the times as UTC. (%Y does not pad on every platform.)
    moment = taken_at.astimezone(UTC)
    return f"{position}_{moment.year:04d}-{moment:%m-%d_%H:%M:%S.%f}.{suffix}"


def read_ptzjepa_name(name: str) -> Label | None:
    """Return what a name of PTZJEPA's tells, in any of the forms that it has written; None where it is none."""
    found = _PTZJEPA.fullmatch(name)
    if found is None:
        return None
    try:
        moment = datetime.fromisoformat(f"{found[4]}T{found[5]}+00:00")
    except ValueError:  # the 31st of February
        return None
    return Label(float(found[1]), float(found[2]), float(found[3]), to_microseconds(moment))


def own_name(view_id: str, taken_at: datetime, suffix: str = "jpg") -> str:
    """Return our own name of a picture; such names sort by time."""
    moment = taken_at.astimezone(UTC)
    return f"{moment.year:04d}{moment:%m%dT%H%M%S.%f}Z-{view_id}.{suffix}"


def is_own_name(name: str) -> bool:
    """Tell whether a picture has a name of our own, which no other program gives."""
    return _OWN.fullmatch(name) is not None


def taken_microseconds(name: str) -> int | None:
    """Return when a picture was taken by its name, in microseconds since 1970; None where the name does not tell."""
    if (own := _OWN.fullmatch(name)) is not None:
        try:
            return to_microseconds(datetime.strptime(own[1], "%Y%m%dT%H%M%S.%f").replace(tzinfo=UTC))
        except ValueError:
            return None
    label = read_ptzjepa_name(name)
    return label.microseconds if label else None


def to_microseconds(moment: datetime) -> int:
    """Return microseconds since 1970, exactly."""
    return (moment - EPOCH) // _MICROSECOND


def from_microseconds(microseconds: int) -> datetime:
    """Return the moment, in UTC."""
    return EPOCH + microseconds * _MICROSECOND
