"""Choose from a run's timeline what the report shows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ptzjepa.report.pictures import view_uri
from ptzjepa.timeline import Look, Measured, Timeline
from shared.pose import Pose

STRIP_LENGTH = 6
STRIP_APART = 15.0
"""Degrees between the views of a strip: six pictures of one stone say less than one."""
FEW_MEASUREMENTS = 40


@dataclass(frozen=True)
class Shown:
    """A view in a strip: its picture and what is written under it."""

    number: int
    look: Look
    measured: Measured
    picture: str

    @property
    def left(self) -> float:
        """Place on the panorama, in percent from the left."""
        return round((self.look.pan + 180.0) / 3.6, 2)

    @property
    def top(self) -> float:
        """Place on the panorama, in percent from the top."""
        return round((90.0 - self.look.tilt) / 1.8, 2)


@dataclass(frozen=True)
class Strips:
    """The most and the least surprising views of the run's later part."""

    most: tuple[Shown, ...]
    least: tuple[Shown, ...]


def later_measurements(timeline: Timeline) -> list[Measured]:
    """Return the second half of what was measured: before it has learnt, everything surprises a world model."""
    measured = list(timeline.measured)
    return measured if len(measured) < FEW_MEASUREMENTS else measured[len(measured) // 2 :]


def surprising_places(timeline: Timeline) -> Iterator[tuple[Look, float]]:
    """Yield where the later views were, with the surprise about each."""
    for item in later_measurements(timeline):
        if look := timeline.poses.get(item.view):
            yield look, item.error


def strips(timeline: Timeline, originals: Path) -> Strips:
    """Choose the views of both strips. Only views whose picture is still there count."""
    ranked = sorted(later_measurements(timeline), key=lambda item: item.error)
    most = tuple(_chosen(reversed(ranked), timeline, originals, first_number=1))
    taken = {shown.look.view for shown in most}
    rest = [item for item in ranked if item.view not in taken]
    return Strips(most, tuple(_chosen(rest, timeline, originals, first_number=len(most) + 1)))


def _chosen(items: Iterable[Measured], timeline: Timeline, originals: Path, *, first_number: int) -> Iterator[Shown]:
    chosen: list[Look] = []
    for item in items:
        look = timeline.poses.get(item.view)
        if look is None or not _apart(look, chosen):
            continue
        picture = view_uri(look, timeline, originals)
        if picture is None:
            continue
        yield Shown(first_number + len(chosen), look, item, picture)
        chosen.append(look)
        if len(chosen) == STRIP_LENGTH:
            return


def _apart(look: Look, others: Sequence[Look]) -> bool:
    pose = _pose(look)
    return all(pose.degrees_to(_pose(other)) >= STRIP_APART for other in others)


def _pose(look: Look) -> Pose:
    return Pose(pan=look.pan, tilt=look.tilt, zoom=look.zoom)
