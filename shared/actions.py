"""The named discrete moves: 21 by default, as PTZJEPA has them.

A move changes pan and tilt in degrees and zoom in magnification. The table is data: ``ActionTable.load`` reads another
one from JSON, and its ``digest`` travels with every checkpoint, so that no agent acts by a table it was not trained on.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from shared.errors import UserError
from shared.pose import Finite, Pose, PoseLimits

_ROUNDING = 1e-6
"""Networks reckon in single precision."""


class Action(BaseModel):
    """One named move: a change of pan and tilt in degrees and of zoom in magnification."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    pan: Finite = 0.0
    tilt: Finite = 0.0
    zoom: Finite = 0.0

    def apply(self, pose: Pose, limits: PoseLimits) -> Pose:
        """Return where this move leads from ``pose`` on a camera with these limits."""
        return limits.reach(pose.pan + self.pan, pose.tilt + self.tilt, pose.zoom + self.zoom)


class ActionTable(BaseModel):
    """The moves an agent can choose from; an action's index in the table is what networks see."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    actions: tuple[Action, ...]

    @field_validator("actions")
    @classmethod
    def _distinct(cls, actions: tuple[Action, ...]) -> tuple[Action, ...]:
        if not actions:
            raise ValueError("the table is empty")
        if len({action.name for action in actions}) != len(actions):
            raise ValueError("two actions share a name")
        return actions

    def __len__(self) -> int:
        return len(self.actions)

    def __getitem__(self, index: int) -> Action:
        return self.actions[index]

    def index(self, name: str) -> int:
        """Return the index of the action called ``name``; ``KeyError`` if the table has none."""
        for index, action in enumerate(self.actions):
            if action.name == name:
                return index
        raise KeyError(name)

    def still(self) -> Action | None:
        """Return the move that changes nothing; None if the table has none."""
        return next((action for action in self.actions if not any((action.pan, action.tilt, action.zoom))), None)

    def spans(self, action: Action) -> bool:
        """Tell whether a move is on no axis larger than the table's largest, whether it is in the table or not."""
        own = (action.pan, action.tilt, action.zoom)
        largest = (max(abs(change) for change in axis) for axis in zip(*self.deltas(), strict=True))
        return all(abs(change) <= most + _ROUNDING for change, most in zip(own, largest, strict=True))

    def deltas(self) -> list[tuple[float, float, float]]:
        """Return ``(pan, tilt, zoom)`` of every action in the table's order."""
        return [(action.pan, action.tilt, action.zoom) for action in self.actions]

    @property
    def digest(self) -> str:
        """Sixteen hex digits that name this very table."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:16]

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a table from JSON: ``{"actions": [{"name": "left", "pan": -2.0}, …]}``."""
        try:
            return cls.model_validate_json(path.read_bytes())
        except OSError as error:
            raise UserError(
                f"cannot read the action table {path}: {error.strerror}; give a readable JSON file"
            ) from error
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(part) for part in first["loc"]) or "the file"
            raise UserError(f"action table {path}: {place}: {first['msg']}; see docs/configuration.md") from error

    def dump(self) -> str:
        """Return the JSON that ``load`` reads."""
        return json.dumps(self.model_dump(), indent=2)


def _ptzjepa_actions() -> tuple[Action, ...]:
    short, long, jump_pan, jump_tilt = 0.2, 2.0, 10.0, 6.0
    return (
        Action(name="noop"),
        Action(name="short_left", pan=-short),
        Action(name="short_right", pan=short),
        Action(name="short_left_up", pan=-short, tilt=short),
        Action(name="short_right_up", pan=short, tilt=short),
        Action(name="short_left_down", pan=-short, tilt=-short),
        Action(name="short_right_down", pan=short, tilt=-short),
        Action(name="short_up", tilt=short),
        Action(name="short_down", tilt=-short),
        Action(name="short_zoom_in", zoom=0.1),
        Action(name="short_zoom_out", zoom=-0.1),
        Action(name="long_left", pan=-long),
        Action(name="long_right", pan=long),
        Action(name="long_up", tilt=long),
        Action(name="long_down", tilt=-long),
        Action(name="long_zoom_in", zoom=0.2),
        Action(name="long_zoom_out", zoom=-0.2),
        Action(name="jump_left", pan=-jump_pan),
        Action(name="jump_right", pan=jump_pan),
        Action(name="jump_up", tilt=jump_tilt),
        Action(name="jump_down", tilt=-jump_tilt),
    )


DEFAULT_ACTIONS = ActionTable(actions=_ptzjepa_actions())
"""PTZJEPA's 21 moves in its order: noop, short, long, jump (its ``action`` block, times its factor of two)."""
