"""Where what can be seen: the zones of an examined scene, which the grader alone knows.

Zones are sectors of pan over the whole range of tilt, so zones of equal width have equal solid angle.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import numpy.typing as npt

SECTORS = 8
"""Sectors of 45°. Zones lie in every other one; what lies between them is as boring as the boring zone."""

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


class Zone(IntEnum):
    """What a zone shows. ``AROUND`` is all that is no zone."""

    AROUND = 0
    BORING = 1
    HARD = 2
    TV = 3
    NEW = 4


ZONES = (Zone.BORING, Zone.HARD, Zone.TV, Zone.NEW)
ATTRACTIVE = (Zone.HARD, Zone.NEW)
"""Where there is something to learn."""
NAMES = {zone: zone.name.lower() for zone in ZONES}


@dataclass(frozen=True)
class ZoneLayout:
    """Which sector is which zone, the pan at which the first sector begins (degrees), and the range of tilt."""

    sectors: tuple[Zone, ...]
    start: float = -180.0
    tilt_min: float = -30.0
    tilt_max: float = 30.0

    @classmethod
    def drawn(cls, seed: int) -> ZoneLayout:
        """Return the layout of an examination with this seed: order and beginning are random."""
        generator = np.random.default_rng((seed, 7))
        order = generator.permutation(len(ZONES))
        sectors: list[Zone] = []
        for place in order:
            sectors += [ZONES[place], Zone.AROUND]
        return cls(tuple(sectors), float(generator.uniform(-180.0, 180.0)))

    @property
    def width(self) -> float:
        """Degrees of pan of one sector."""
        return 360.0 / len(self.sectors)

    def edges(self, zone: Zone) -> tuple[float, float]:
        """Return where a zone begins, in [−180, 180), and where it ends, in degrees of pan."""
        begin = (self.start + self.sectors.index(zone) * self.width + 180.0) % 360.0 - 180.0
        return begin, begin + self.width

    def zone_at(self, pan: npt.ArrayLike) -> Ints:
        """Return the zone of every ``pan [...]`` in degrees, any turn of it."""
        inside = (np.asarray(pan, np.float64) - self.start) % 360.0
        place = np.minimum((inside // self.width).astype(np.int64), len(self.sectors) - 1)
        found: Ints = np.array(self.sectors, np.int64)[place]
        return found

    def solid_angle(self, zone: Zone) -> float:
        """Return the solid angle of a zone in steradians."""
        rise = math.sin(math.radians(self.tilt_max)) - math.sin(math.radians(self.tilt_min))
        return self.sectors.count(zone) * math.radians(self.width) * rise

    def part(self, zones: Sequence[Zone]) -> float:
        """Return the part of the band between the limits of tilt that ``zones`` make up together."""
        return sum(self.sectors.count(zone) for zone in zones) / len(self.sectors)

    def middle(self, zone: Zone) -> float:
        """Return the pan of a zone's middle, in [−180, 180)."""
        begin, end = self.edges(zone)
        return ((begin + end) / 2.0 + 180.0) % 360.0 - 180.0
