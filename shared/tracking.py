"""Tracking: what a service did, row by row, in files for whoever studies a run. Off unless ``PTZ_TRACK`` is set.

Each service writes what it alone knows into folders of its own (the sampler views and commands, the pilot embeddings
and action values), and rows join by the view's id; so nothing new travels between services, and no recorder has to be
awake for a row to be kept. A file appears whole under its name or not at all, so a reader may look at any time and a
killed service loses its open batch alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import structlog
from pydantic import Field

from shared.errors import UserError
from shared.settings import ServiceSettings
from shared.telemetry import Metrics
from shared.whole_files import write_whole

QUEUE_ROWS = 4096
"""Rows that wait for the writer: minutes of a camera's work, should the disk stall."""
CLOSE_SECONDS = 5.0
_PART = ".part"


class TrackSettings(ServiceSettings):
    """How a service keeps its tracks."""

    track: Path | None = Field(
        default=None, description="directory that gets poses, commands, embeddings and action values as tables"
    )
    track_bytes: int = Field(
        default=2**30, ge=2**16, description="most bytes of it that this service fills; its oldest files go first"
    )
    track_seconds: float = Field(
        default=60.0, gt=0.0, le=86_400.0, description="longest that a row waits for its file; a kill loses these rows"
    )


@dataclass(frozen=True)
class Table:
    """A folder of files alike. ``encode`` makes the contents of one or more files out of a batch of rows."""

    name: str
    suffix: str
    rows: int
    """Most rows of a file."""
    encode: Callable[[Sequence[Any]], Sequence[bytes]]


class Tracker:
    """Takes rows without ever waiting, and writes them from a thread. Does nothing unless ``PTZ_TRACK`` is set."""

    def __init__(self, settings: TrackSettings, metrics: Metrics, tables: Sequence[Table]) -> None:
        self._settings = settings
        self._tables = {table.name: table for table in tables}
        self._queue: deque[tuple[str, Any]] = deque()
        self._changed = threading.Condition()
        self._closing = False
        self._thread: threading.Thread | None = None
        self._files: deque[tuple[Path, int]] = deque()
        self._size = 0
        self._troubled = False
        self._log = structlog.get_logger()
        self._rows = metrics.counter("track_rows", "Rows written to tracking files, by table", ("table",))
        self._dropped = metrics.counter("track_dropped", "Rows not written to tracking files, by reason", ("reason",))
        for table in tables:
            self._rows.labels(table.name)
        for reason in ("full", "disk", "exit"):
            self._dropped.labels(reason)
        metrics.gauge("track_bytes", "Bytes that this service's tracking files take").set_function(
            lambda: float(self._size)
        )

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Have the writer running for as long as the block lasts. ``UserError`` where it cannot write."""
        if self._settings.track is None:
            yield
            return
        self._prepare(self._settings.track / self._settings.camera)
        self._thread = threading.Thread(target=self._work, name="tracking", daemon=True)
        self._thread.start()
        try:
            yield
        finally:
            with self._changed:
                self._closing = True
                self._changed.notify_all()
            await asyncio.to_thread(self._thread.join, CLOSE_SECONDS)

    @property
    def on(self) -> bool:
        """Whether rows are taken, so that nobody need prepare them in vain."""
        return self._thread is not None

    def add(self, table: str, row: Any) -> None:
        """Take a row. Where the writer is far behind, the row is dropped and counted."""
        if not self.on:
            return
        with self._changed:
            if self._closing or len(self._queue) >= QUEUE_ROWS:
                self._dropped.labels("exit" if self._closing else "full").inc()
                return
            self._queue.append((table, row))
            self._changed.notify_all()

    def _prepare(self, directory: Path) -> None:
        self._directory = directory
        found = []
        try:
            for table in self._tables.values():
                folder = directory / table.name
                folder.mkdir(parents=True, exist_ok=True)
                # Shows that one can write here, and overwrites what a killed service left.
                (folder / _PART).write_bytes(b"")
                (folder / _PART).unlink()
                found += [(path, path.stat().st_size) for path in folder.glob(f"*{table.suffix}")]
        except OSError as error:
            raise UserError(
                f"cannot track in {directory}: {error.strerror}; set PTZ_TRACK to a writable place"
            ) from error
        # Names begin with the time.
        self._files.extend(sorted(found, key=lambda item: item[0].name))
        self._size = sum(size for _, size in self._files)

    def _work(self) -> None:
        batches: dict[str, list[Any]] = {name: [] for name in self._tables}
        opened: dict[str, float] = {}
        closing = False
        while not closing:
            taken, closing = self._take(min(opened.values(), default=None))
            for name, row in taken:
                opened.setdefault(name, time.monotonic() + self._settings.track_seconds)
                batches[name].append(row)
                if len(batches[name]) >= self._tables[name].rows:
                    self._write(name, batches, opened)
            for name in [name for name, due in opened.items() if closing or time.monotonic() >= due]:
                self._write(name, batches, opened)

    def _take(self, due: float | None) -> tuple[deque[tuple[str, Any]], bool]:
        """Wait for rows, for the time that the oldest batch is due, or for the end."""
        with self._changed:
            patience = None if due is None else max(0.0, due - time.monotonic())
            self._changed.wait_for(lambda: self._queue or self._closing, patience)
            taken, self._queue = self._queue, deque()
            return taken, self._closing

    def _write(self, name: str, batches: dict[str, list[Any]], opened: dict[str, float]) -> None:
        rows, batches[name] = batches[name], []
        del opened[name]
        try:
            for part in self._tables[name].encode(rows):
                self._keep(self._tables[name], part)
        except Exception as error:  # a full disk, or rows that do not fit the table: neither may end the tracking
            self._dropped.labels("disk").inc(len(rows))
            if not self._troubled:
                self._troubled = True
                self._log.warning("tracks not written", table=name, reason=f"{type(error).__name__}: {error}"[:200])
        else:
            self._troubled = False
            self._rows.labels(name).inc(len(rows))

    def _keep(self, table: Table, data: bytes) -> None:
        folder = self._directory / table.name
        stamp = f"{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}"
        path = folder / f"{stamp}{table.suffix}"
        write_whole(path, data, half_written=_PART)
        self._files.append((path, len(data)))
        self._size += len(data)
        while self._size > self._settings.track_bytes and self._files:
            oldest, size = self._files.popleft()
            oldest.unlink(missing_ok=True)
            self._size -= size
