"""What a scientist sees on a Waggle node: a few numbers and, if asked for, pictures, by way of pywaggle.

pywaggle takes ``NaN`` and makes JSON of it that nobody can read, loses a file whose labels are not text, and keeps
what it cannot send in a queue without a bound. So everything is checked before it is handed over, the queue is ours
and bounded, and pywaggle runs in a thread that the camera never waits for.
"""

from __future__ import annotations

import contextlib
import math
import re
import tempfile
import threading
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import structlog

from shared.errors import UserError
from shared.telemetry import Metrics

QUEUE_LENGTH = 1024
QUEUE_UPLOADS = 8
"""Pictures are large: few of them wait."""
PLUGIN_BACKLOG = 256
"""How much pywaggle may hold by itself: what it holds when it ends without a broker is lost."""
FLUSH_SECONDS = 5.0
_POLL_SECONDS = 0.1
_PART = re.compile(r"[a-z0-9_]+")
_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")
_LONGEST_NAME = 128
_EARLIEST = 946_706_400_000_000_000
_TAKEN = frozenset({"host", "job", "task", "plugin", "node", "vsn", "filename"})
"""Labels that the node overwrites."""

Value = int | float | str


class BadRecord(ValueError):
    """What was to be published would be refused, lost or unreadable; the text says why."""


@dataclass(frozen=True)
class Record:
    """One number or text, or one picture, with its time in nanoseconds since 1970."""

    name: str
    value: Value
    timestamp: int
    meta: dict[str, str]
    picture: bytes | None = field(default=None, repr=False)


def check_name(name: object) -> str:
    """Return the name, or raise ``BadRecord``: parts of ``a-z``, ``0-9`` and ``_`` joined by dots, 128 at most."""
    if type(name) is not str or name == "upload" or len(name) > _LONGEST_NAME:
        raise BadRecord(f"name {name!r} is not a text of at most {_LONGEST_NAME} characters, or is reserved")
    if not all(_PART.fullmatch(part) for part in name.split(".")):
        raise BadRecord(f"name {name!r} has a part that is not made of a-z, 0-9 and _")
    return name


def check_value(value: object) -> Value:
    """Return the value, or raise ``BadRecord`` unless it is a plain int, a finite float or a text."""
    # By exact type: a bool is an int and numpy's float64 is a float, but neither arrives as what it was.
    if type(value) is float:
        if not math.isfinite(value):
            raise BadRecord(f"value {value} is not finite")
        return value
    if type(value) is int:
        return value
    if type(value) is str:
        return value
    raise BadRecord(f"value of type {type(value).__name__} is not a plain int, float or str")


def check_timestamp(timestamp: object) -> int:
    """Return the time, or raise ``BadRecord`` unless it is a plain int of nanoseconds after 2000."""
    if type(timestamp) is not int:
        raise BadRecord(f"timestamp of type {type(timestamp).__name__} is not a plain int of nanoseconds")
    if not _EARLIEST <= timestamp < 2**63:
        raise BadRecord(f"timestamp {timestamp} does not count nanoseconds since 1970")
    return timestamp


def check_meta(meta: object) -> dict[str, str]:
    """Return a copy of the labels, or raise ``BadRecord`` unless they are texts that the node does not overwrite."""
    if not isinstance(meta, Mapping):
        raise BadRecord(f"meta of type {type(meta).__name__} is not a mapping")
    for key, value in meta.items():
        if type(key) is not str or type(value) is not str:
            raise BadRecord(f"meta {key!r} of type {type(value).__name__} is not text")
        if key in _TAKEN:
            raise BadRecord(f"meta {key!r} is overwritten by the node; give it another name")
    return dict(meta)


class Waggle:
    """A bounded, checked way to pywaggle. ``publish`` and ``upload`` never wait and never raise for what is outside."""

    def __init__(self, metrics: Metrics, *, length: int = QUEUE_LENGTH) -> None:
        self._length = length
        self._queue: deque[Record] = deque()
        self._changed = threading.Condition()
        self._closing: float | None = None
        self._log = structlog.get_logger()
        self._published = metrics.counter("waggle_published", "Values handed to pywaggle")
        self._uploads = metrics.counter("waggle_uploads", "Pictures handed to pywaggle")
        self._dropped = metrics.counter("waggle_dropped", "Values and pictures not handed on, by reason", ("reason",))
        for reason in ("full", "invalid", "failed", "exit"):
            self._dropped.labels(reason)
        waiting = metrics.gauge("waggle_queue", "Values and pictures that wait for pywaggle")
        waiting.set_function(lambda: float(len(self._queue)))
        self._plugin: Any = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start pywaggle in its thread. ``UserError`` where it is missing or cannot keep its run log."""
        try:
            from waggle.plugin import Plugin
        except ImportError as error:
            raise UserError(f"PTZ_WAGGLE=on needs pywaggle: {error}; pip install 'ptzjepa[sampler]'") from error
        try:
            self._plugin = Plugin()
        except (OSError, ValueError) as error:
            raise UserError(f"pywaggle does not start: {error}; check PYWAGGLE_LOG_DIR and WAGGLE_PLUGIN_…") from error
        self._thread = threading.Thread(target=self._work, name="waggle", daemon=True)
        self._thread.start()

    def publish(self, name: str, value: Value, timestamp: int, meta: Mapping[str, str]) -> bool:
        """Queue a value; False when it was refused. The oldest goes where the queue is full."""
        return self._check_in(name, value, timestamp, meta, None)

    def upload(self, file_name: str, picture: bytes, timestamp: int, meta: Mapping[str, str]) -> bool:
        """Queue a picture under a plain file name; False when it was refused."""
        return self._check_in(file_name, "", timestamp, meta, picture)

    def close(self, seconds: float = FLUSH_SECONDS) -> None:
        """Hand on what waits, for at most about so long, and end pywaggle. What is left is counted."""
        if self._thread is None:
            return
        with self._changed:
            self._closing = time.monotonic() + seconds
            self._changed.notify_all()
        # pywaggle itself takes a second or two to notice.
        self._thread.join(seconds + 3.0)

    def _check_in(
        self, name: str, value: Value, timestamp: int, meta: Mapping[str, str], picture: bytes | None
    ) -> bool:
        try:
            if picture is None:
                check_name(name)
            elif type(name) is not str or not _FILE_NAME.fullmatch(name):
                raise BadRecord(f"{name!r} is not a plain file name")
            record = Record(name, check_value(value), check_timestamp(timestamp), check_meta(meta), picture)
        except BadRecord as error:
            self._dropped.labels("invalid").inc()
            self._log.warning("not published to Waggle", reason=str(error)[:200])
            return False
        with self._changed:
            if picture is not None and sum(item.picture is not None for item in self._queue) >= QUEUE_UPLOADS:
                self._queue.remove(next(item for item in self._queue if item.picture is not None))
                self._dropped.labels("full").inc()
            elif len(self._queue) >= self._length:
                self._queue.popleft()
                self._dropped.labels("full").inc()
            self._queue.append(record)
            self._changed.notify_all()
        return True

    def _work(self) -> None:
        with self._plugin as plugin:
            while (record := self._next(plugin)) is not None:
                try:
                    self._hand_over(plugin, record)
                except (
                    Exception
                ) as error:  # pywaggle's transports raise what they like; the numbers are not worth a stop
                    self._dropped.labels("failed").inc()
                    self._log.warning("not published to Waggle", reason=f"{type(error).__name__}: {error}"[:200])
            self._flush(plugin)
        with self._changed:
            self._dropped.labels("exit").inc(len(self._queue))
            self._queue.clear()

    def _next(self, plugin: Any) -> Record | None:
        """Wait for a record and for room in pywaggle; None when it is time to end."""
        with self._changed:
            while True:
                if self._closing is not None and (not self._queue or time.monotonic() >= self._closing):
                    return None
                if self._queue and self._has_room(plugin):
                    return self._queue.popleft()
                self._changed.wait(_POLL_SECONDS if self._queue else None)

    @staticmethod
    def _has_room(plugin: Any) -> bool:
        if plugin.file_publisher is not None:
            # A run log stands for the broker: what pywaggle keeps for one that never comes may go.
            with contextlib.suppress(Exception):
                while plugin.send.qsize() >= PLUGIN_BACKLOG:
                    plugin.send.get_nowait()
        return bool(plugin.send.qsize() < PLUGIN_BACKLOG)

    def _hand_over(self, plugin: Any, record: Record) -> None:
        if record.picture is None:
            plugin.publish(record.name, record.value, meta=record.meta, timestamp=record.timestamp)
            self._published.inc()
            return
        # A copy of its own: pywaggle deletes on a node what it uploads, and does not with a run log.
        with tempfile.TemporaryDirectory(prefix="ptz-waggle-") as directory:
            copy = Path(directory) / record.name
            copy.write_bytes(record.picture)
            plugin.upload_file(copy, meta=record.meta, timestamp=record.timestamp)
        self._uploads.inc()

    def _flush(self, plugin: Any) -> None:
        """Give the broker the time that is left to take what pywaggle holds."""
        while plugin.file_publisher is None and plugin.send.qsize() and time.monotonic() < (self._closing or 0.0):
            time.sleep(_POLL_SECONDS)
        if plugin.file_publisher is None:
            self._dropped.labels("exit").inc(plugin.send.qsize())
