"""Reads tracks back into one set of tables: those that ``PTZ_TRACK`` left, and the text and ``.pt`` files of PTZJEPA.

Of PTZJEPA's ``--track_all`` an iteration is four files of one time stamp: N + 1 lines of poses, N lines of moves, and
tensors of N embeddings and N × 21 Q-values. It becomes an episode named by that stamp, whose view k has the id
``STAMP/k``. Numbers stay as they were written, and what was not written (times, names) stays empty.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as arrow
from pyarrow import parquet
from safetensors import SafetensorError, safe_open

from camera_sampler.tracking import COMMANDS, POSITIONS, schema
from dreamer_agent.tracking import EMBEDDINGS, FORMAT
from shared.errors import UserError

THOUGHTS = arrow.schema(
    [
        *((name, arrow.string()) for name in ("view", "command")),
        ("time", arrow.timestamp("us", tz="UTC")),
        *((name, arrow.string()) for name in ("action", "mode", "agent")),
        ("policy_version", arrow.int64()),
        ("world_model", arrow.string()),
        ("world_model_version", arrow.int64()),
        ("values_are", arrow.string()),
        ("action_values", arrow.list_(arrow.float32())),
        ("embedding", arrow.large_list(arrow.float32())),
        ("embedding_shape", arrow.list_(arrow.int32())),
    ]
)
"""``values_are`` says what ``action_values`` are: ``log-probability``, or ``q-value`` where PTZJEPA wrote them."""

Rows = list[dict[str, Any]]
_AXES = ("pan", "tilt", "zoom")
_UNREADABLE = (ValueError, KeyError, TypeError, arrow.ArrowException, SafetensorError, OSError)


@dataclass
class Tracks:
    """Tables of views, of commands, and of what the agent thought of a view; they join by the view's id."""

    positions: Any
    commands: Any
    embeddings: Any
    refused: list[str] = field(default_factory=list)
    """A line for every file that could not be read, with the reason."""

    def tables(self) -> dict[str, Any]:
        """Return the Arrow tables by name."""
        return {POSITIONS: self.positions, COMMANDS: self.commands, EMBEDDINGS: self.embeddings}


def read(directory: Path, *, embeddings: bool = True) -> Tracks:
    """Read all tracks of a directory, in the order in which they were written.

    Without ``embeddings`` neither they nor the action values are read, and torch is not needed for PTZJEPA's files.
    ``UserError`` where there are no tracks; a file that cannot be read is left out and named in ``refused``.
    """
    reader = _Reader(directory)
    tables: dict[str, list[Any]] = {POSITIONS: [], COMMANDS: [], EMBEDDINGS: []}
    for name in (POSITIONS, COMMANDS):
        tables[name] += reader.each(f"{name}/*.parquet", lambda path, name=name: _parquet(path, name))  # type: ignore[misc]
    if embeddings:
        tables[EMBEDDINGS] += reader.each(f"{EMBEDDINGS}/*.safetensors", _safetensors)
    for positions, commands in reader.each("collected_positions/positions_at_*.txt", _poses_and_moves):
        tables[POSITIONS].append(positions)
        tables[COMMANDS].append(commands)
    if embeddings:
        tables[EMBEDDINGS] += reader.each("collected_embeds/embeds_at_*.pt", _tensors)
    if not reader.found:
        raise UserError(f"no tracks in {directory}; name the directory that PTZ_TRACK named, or PTZJEPA's persistence")
    schemas = {POSITIONS: schema(POSITIONS), COMMANDS: schema(COMMANDS), EMBEDDINGS: THOUGHTS}
    whole = {name: arrow.concat_tables(parts or [schemas[name].empty_table()]) for name, parts in tables.items()}
    return Tracks(whole[POSITIONS], whole[COMMANDS], whole[EMBEDDINGS], reader.refused)


class _Reader:
    """Finds files in a directory and in the folders of its cameras; remembers which could not be read."""

    def __init__(self, directory: Path) -> None:
        try:
            folders = sorted(path for path in directory.iterdir() if path.is_dir())
        except OSError as error:
            raise UserError(f"cannot read {directory}: {error.strerror}; name a directory of tracks") from error
        self._roots = [directory, *folders]
        self.found = 0
        self.refused: list[str] = []

    def each(self, pattern: str, read_file: Callable[[Path], Any]) -> Iterator[Any]:
        """Read every file of the pattern, oldest first."""
        for path in sorted((path for root in self._roots for path in root.glob(pattern)), key=lambda path: path.name):
            self.found += 1
            try:
                yield read_file(path)
            except _UNREADABLE as error:
                self.refused.append(f"{path}: {' '.join(str(error).split())[:200] or type(error).__name__}")


def _parquet(path: Path, name: str) -> Any:
    wanted = schema(name)
    # partitioning: a folder's name is no column.
    return parquet.read_table(path, partitioning=None).select(wanted.names).cast(wanted)


def _safetensors(path: Path) -> Any:
    with safe_open(path, framework="numpy") as file:
        header = file.metadata() or {}
        if header.get("format") != FORMAT:
            raise ValueError(f"is not of the format {FORMAT}")
        rows: Rows = json.loads(header["rows"])
        embeddings, values = file.get_tensor("embeddings"), file.get_tensor("log_probabilities")
    times = arrow.array([row["time"] for row in rows]).cast(arrow.timestamp("us", tz="UTC"))
    columns = {
        name: arrow.array([row.get(name) for row in rows], kind.type)
        for name, kind in zip(THOUGHTS.names, THOUGHTS, strict=True)
        if name not in ("time", "values_are", "action_values", "embedding", "embedding_shape")
    }
    return _thoughts({**columns, "time": times}, embeddings, values, "log-probability")


def _thoughts(columns: dict[str, Any], embeddings: Any, values: Any, meaning: str) -> Any:
    """Make the table of N thoughts, or raise ``ValueError`` where numbers are missing."""
    count = len(columns["view"])
    if len(embeddings) != count or len(values) != count or values.ndim != 2:
        raise ValueError(f"{count} views, {len(embeddings)} embeddings and {len(values)} action values do not fit")
    empty = arrow.nulls(count)
    numbers = {
        "values_are": [meaning] * count,
        "action_values": list(values.astype("float32")),
        "embedding": list(embeddings.reshape(count, -1).astype("float32")),
        "embedding_shape": [embeddings.shape[1:]] * count,
    }
    data = {**columns, **numbers}
    return arrow.table(
        [arrow.array(data.get(name, empty), THOUGHTS.field(name).type) for name in THOUGHTS.names], THOUGHTS
    )


def _beside(path: Path, folder: str, prefix: str) -> Path:
    """Return the file of another kind with the same time stamp."""
    return path.parent.parent / folder / f"{prefix}{path.name.partition('_at_')[2]}"


def _triples(path: Path) -> list[tuple[float, float, float]]:
    found = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            pan, tilt, zoom = map(float, line.split(","))
        except ValueError as error:
            raise ValueError(f"{path.name}, line {number} is not PAN,TILT,ZOOM: {line[:40]!r}") from error
        found.append((pan, tilt, zoom))
    return found


def _poses_and_moves(path: Path) -> tuple[Any, Any]:
    poses = _triples(path)
    moves = _triples(_beside(path, "collected_commands", "commands_at_"))
    if len(poses) != len(moves) + 1:
        raise ValueError(f"{len(poses)} poses and {len(moves)} commands do not make an iteration")
    stamp = path.stem.partition("_at_")[2]
    actions = [dict(zip((f"action_{axis}" for axis in _AXES), move, strict=True)) for move in moves]
    positions: Rows = [
        {
            **dict(zip(_AXES, pose, strict=True)),
            **({"previous": f"{stamp}/{step - 1}", **actions[step - 1]} if step else {}),
            "view": f"{stamp}/{step}",
            "episode": stamp,
            "step": step,
            "policy": "agent",
        }
        for step, pose in enumerate(poses)
    ]
    commands: Rows = [
        {**action, "answers": f"{stamp}/{step}", "outcome": "followed"} for step, action in enumerate(actions)
    ]
    return (
        arrow.Table.from_pylist(positions, schema=schema(POSITIONS)),
        arrow.Table.from_pylist(commands, schema=schema(COMMANDS)),
    )


def _tensors(path: Path) -> Any:
    try:
        from dreamer_agent.foreign_tensors import load_array
    except ImportError as error:
        raise UserError(
            f"{path} needs torch: {error}; pip install 'ptzjepa[torch]', or leave embeddings out"
        ) from error
    stamp = path.stem.partition("_at_")[2]
    embeddings, values = load_array(path), load_array(_beside(path, path.parent.name, "rewards_at_"))
    views = [f"{stamp}/{step}" for step in range(len(embeddings))]
    return _thoughts({"view": views}, embeddings, values, "q-value")
