"""The sampler's tracks: a row for every view and for every command, as Parquet. Off, they load no Arrow."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

from camera_sampler.settings import SamplerSettings
from camera_sampler.steering import Outcome
from shared.errors import UserError
from shared.messages import Command, View, utc_now
from shared.pose import Pose
from shared.telemetry import Metrics
from shared.tracking import Table, Tracker

ROWS = 4096
POSITIONS, COMMANDS = "positions", "commands"

_TEXT, _NUMBER, _COUNT, _TIME, _TRUTH = "string", "float64", "int64", "time", "bool"
_ACTION = {"action": _TEXT, "action_pan": _NUMBER, "action_tilt": _NUMBER, "action_zoom": _NUMBER}
COLUMNS: dict[str, dict[str, str]] = {
    POSITIONS: {
        "view": _TEXT,
        "camera": _TEXT,
        "captured_at": _TIME,
        "episode": _TEXT,
        "step": _COUNT,
        "previous": _TEXT,
        "pan": _NUMBER,
        "tilt": _NUMBER,
        "zoom": _NUMBER,
        "pan_before": _NUMBER,
        "tilt_before": _NUMBER,
        "zoom_before": _NUMBER,
        **_ACTION,
        "settled": _TRUTH,
        "policy": _TEXT,
        "policy_version": _COUNT,
        "original": _TEXT,
    },
    COMMANDS: {
        "command": _TEXT,
        "camera": _TEXT,
        "sent_at": _TIME,
        "judged_at": _TIME,
        "answers": _TEXT,
        **_ACTION,
        "outcome": _TEXT,
        "agent": _TEXT,
        "policy_version": _COUNT,
        "fencing_token": _COUNT,
    },
}
"""Angles in degrees, zoom as magnification, times in UTC. An action is what was asked for, a pose what came of it."""


class Tracks:
    """Takes views and commands as they pass. Does nothing unless ``PTZ_TRACK`` is set."""

    def __init__(self, settings: SamplerSettings, metrics: Metrics) -> None:
        self._settings = settings
        tables = [Table(name, ".parquet", ROWS, _encoder(name)) for name in COLUMNS]
        self._tracker = Tracker(settings, metrics, tables)

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Write for as long as the block lasts. ``UserError`` where Arrow is missing or the place is not writable."""
        if self._settings.track is not None:
            try:
                import pyarrow.parquet  # noqa: F401
            except ImportError as error:
                raise UserError(f"PTZ_TRACK needs pyarrow: {error}; pip install 'ptzjepa[parquet]'") from error
        async with self._tracker.open():
            yield

    def note_view(self, view: View) -> None:
        """Take a view that was published or spooled."""
        if self._tracker.on:
            self._tracker.add(POSITIONS, _position(view))

    def note_command(self, command: Command, outcome: Outcome) -> None:
        """Take a command with what became of it."""
        if self._tracker.on:
            self._tracker.add(COMMANDS, _command(command, outcome))


def _position(view: View) -> dict[str, Any]:
    return {
        "view": view.id,
        **view.model_dump(
            include={
                *("camera", "captured_at", "episode", "step", "previous"),
                *("settled", "policy", "policy_version", "original"),
            }
        ),
        **_pose(view.pose),
        **{f"{axis}_before": value for axis, value in _pose(view.pose_before).items()},
        **_action(view),
    }


def _command(command: Command, outcome: Outcome) -> dict[str, Any]:
    return {
        "command": command.id,
        **command.model_dump(include={"camera", "answers", "agent", "policy_version"}),
        "sent_at": command.time,
        "judged_at": utc_now(),
        "outcome": outcome,
        "fencing_token": command.token,
        **_action(command),
    }


def _pose(pose: Pose) -> dict[str, float]:
    return dict(zip(("pan", "tilt", "zoom"), pose.as_tuple(), strict=True))


def _action(message: View | Command) -> dict[str, Any]:
    action = message.action
    if action is None:
        return {}
    return {"action": action.name, "action_pan": action.pan, "action_tilt": action.tilt, "action_zoom": action.zoom}


def schema(table: str) -> Any:
    """Return the Arrow schema of a table. Needs pyarrow."""
    import pyarrow as arrow

    kinds = {_TIME: arrow.timestamp("us", tz="UTC")}
    return arrow.schema([(name, kinds.get(kind, kind)) for name, kind in COLUMNS[table].items()])


def _encoder(table: str) -> Callable[[Sequence[Any]], list[bytes]]:
    def encode(rows: Sequence[Any]) -> list[bytes]:
        import pyarrow as arrow
        from pyarrow import parquet

        sink = arrow.BufferOutputStream()
        parquet.write_table(arrow.Table.from_pylist(rows, schema=schema(table)), sink, compression="zstd")
        return [sink.getvalue().to_pybytes()]

    return encode
