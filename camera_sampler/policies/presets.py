"""A tour of poses that somebody listed in a file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar

import structlog
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from camera_sampler.policies.base import Policy
from shared.actions import Action
from shared.errors import UserError
from shared.pose import Finite, Pose, PoseLimits, wrap_pan

MOST_PRESETS = 10_000
_MOST_BYTES = 4 << 20
_NEXT_TO_NOTHING = 1e-6


class Preset(BaseModel):
    """A pose, how many views to take of it, and what people call it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(default="", max_length=100)
    pan: Annotated[Finite, AfterValidator(wrap_pan)]
    tilt: Annotated[Finite, Field(ge=-90.0, le=90.0)]
    zoom: Annotated[Finite, Field(ge=1.0)] = 1.0
    views: int = Field(default=1, ge=1, le=100_000)


class _File(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    presets: tuple[Preset, ...] = Field(min_length=1, max_length=MOST_PRESETS)


def load_presets(path: Path) -> tuple[Preset, ...]:
    """Read ``{"presets": [{"pan": 10.0, "tilt": -5.0, "zoom": 2.0, "views": 3, "name": "gate"}, …]}``.

    Only pan and tilt are needed. ``UserError`` where the file is no such list.
    """
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise UserError(f"PTZ_PRESETS {path}: more than {_MOST_BYTES} bytes; give a shorter list")
        return _File.model_validate_json(path.read_bytes()).presets
    except OSError as error:
        raise UserError(f"PTZ_PRESETS {path}: {error.strerror}; give a readable JSON file") from error
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "the file"
        raise UserError(f"PTZ_PRESETS {path}: {place}: {first['msg']}; see docs/configuration.md") from error


class Presets(Policy):
    """Visits the poses in their order, as many views of each as asked for, then from the first one again.

    An episode begins where the tour has got to. What is out of reach is visited at the reachable pose next to it.
    """

    name: ClassVar[str] = "presets"

    def __init__(self, presets: tuple[Preset, ...]) -> None:
        self._presets = presets
        self._place, self._views = 0, 0
        self._said: set[int] = set()
        self._log = structlog.get_logger()

    def begin(self, limits: PoseLimits) -> Pose:
        """See ``Policy.begin``."""
        return self._advance(limits)

    def choose(self, pose: Pose, limits: PoseLimits) -> Action:
        """See ``Policy.choose``."""
        return self.move(pose, self._advance(limits), limits)

    def _advance(self, limits: PoseLimits) -> Pose:
        place, preset = self._place, self._presets[self._place]
        self._views += 1
        if self._views >= preset.views:
            self._place, self._views = (place + 1) % len(self._presets), 0
        target = limits.reach(preset.pan, preset.tilt, preset.zoom)
        wanted = (preset.pan, preset.tilt, preset.zoom)
        if place not in self._said and _apart(wanted, target.as_tuple()):
            self._said.add(place)
            self._log.warning(
                "preset out of reach", preset=preset.name or place, wanted=wanted, instead=target.as_tuple()
            )
        return target


def _apart(wanted: tuple[float, ...], reached: tuple[float, ...]) -> bool:
    return any(abs(a - b) > _NEXT_TO_NOTHING for a, b in zip(wanted, reached, strict=True))
