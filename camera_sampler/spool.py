"""A bounded spool on disk: the views that Redis could not take, in order, kept over crashes and power cuts.

One SQLite file per camera in write-ahead mode with full synchronisation: what ``append`` returned from is on the disk,
whole or, after a cut in the middle, not at all. Episodes are the unit of loss, since a chain with a hole teaches a
wrong transition: where room or age demands it, the oldest episode goes with everything that is left of it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import structlog
from pydantic import ValidationError

from shared.errors import UserError
from shared.messages import View
from shared.whole_files import sync_folder

Reason = Literal["bytes", "age", "damaged", "disk"]
REASONS: tuple[Reason, ...] = ("bytes", "age", "damaged", "disk")

PAGE = 4096
_VERSION = 1
_LOG_PAGES = 256
"""Pages of the write-ahead log before it is folded into the file; it keeps its place, so that a full disk can drain."""
_DAMAGE = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_PASSING = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_BUSY)
_SCHEMA = """
CREATE TABLE views (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, episode TEXT NOT NULL, spooled_at REAL NOT NULL,
    cost INTEGER NOT NULL, crc INTEGER NOT NULL, message BLOB NOT NULL, jpeg BLOB NOT NULL
)
"""


class SpoolError(OSError):
    """The disk did not take or give what was asked; it may another time."""


class _Damaged(Exception):
    """The file is not a spool, or no longer one."""


@dataclass(frozen=True)
class Spooled:
    """A view in the spool; ``seq`` names its row."""

    seq: int
    cost: int
    view: View
    jpeg: bytes = field(repr=False)


@dataclass
class _Episode:
    """What is left of an episode: a range of rows."""

    name: str
    first: int
    last: int
    views: int
    cost: int
    newest: float


def cost(payload: int) -> int:
    """Return the bytes that a row with so much in it takes on the disk, at most: whole pages and its index entries."""
    return ((payload + 128) // PAGE + 1) * PAGE + 512


class Spool:
    """The spool of one camera. Safe to call from several threads. Used by one process at a time.

    ``dropped(reason, views)`` is told of every episode that is given up, with how many views of it were left.
    The age is told by the wall clock, which alone survives a restart; a clock that is set back makes nothing older.
    """

    def __init__(
        self,
        file: Path,
        *,
        most_bytes: int,
        most_seconds: float,
        dropped: Callable[[Reason, int], None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._file, self._most_bytes, self._most_seconds = file, most_bytes, most_seconds
        self._dropped, self._clock = dropped, clock
        self._lock = threading.Lock()
        self._log = structlog.get_logger()
        self._episodes: list[_Episode] = []
        self._lost: str | None = None
        self._database: sqlite3.Connection | None = None
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            self._claim = self._claimed()
            self._open()
        except (SpoolError, OSError) as error:
            raise UserError(
                f"cannot keep a spool in {file.parent}: {error.strerror or error}; set PTZ_SPOOL to a writable place"
            ) from error

    @property
    def views(self) -> int:
        """How many views wait."""
        return sum(episode.views for episode in self._episodes)

    @property
    def size(self) -> int:
        """What they take on the disk, about."""
        return sum(episode.cost for episode in self._episodes)

    def lost(self, episode: str) -> bool:
        """Tell whether a part of this episode was given up, so that its next view would not follow from the last."""
        return episode == self._lost

    def append(self, view: View, jpeg: bytes) -> bool:
        """Put a view behind the others; a view that is there already is not put again.

        False: its episode is given up, or does not fit by itself. ``SpoolError``: the disk refused.
        """
        message = view.model_dump_json().encode()
        with self._using() as database:
            if self.lost(view.episode):
                return False
            now, price = self._clock(), cost(len(message) + len(jpeg))
            going = self._too_old(now)
            going += self._too_many(price, [episode for _, episode in going])
            fits = all(episode.name != view.episode for _, episode in going) and price <= self._most_bytes
            with _transaction(database):
                self._delete(database, going)
                row = (view.id, view.episode, now, price, _checksum(message, jpeg), message, jpeg)
                done = fits and database.execute(
                    "INSERT OR IGNORE INTO views (id, episode, spooled_at, cost, crc, message, jpeg) "
                    "VALUES (?, ?, ?, ?, ?, ?, ?)",
                    row,
                )
            self._forget(going)
            if not fits:
                self._lost = view.episode
            elif done and done.rowcount:
                self._note(int(done.lastrowid or 0), view.episode, price, now)
            return fits

    def oldest(self, count: int) -> list[Spooled]:
        """Return the first views that wait, in order. Those that are too old or damaged are given up first."""
        with self._using() as database:
            going = self._too_old(self._clock())
            while True:
                if going:
                    with _transaction(database):
                        self._delete(database, going)
                    self._forget(going)
                rows = database.execute(
                    "SELECT seq, episode, cost, crc, message, jpeg FROM views ORDER BY seq LIMIT ?", (count,)
                ).fetchall()
                readable, bad = _readable(rows)
                if readable or bad is None:
                    return readable
                # What follows a damaged view in its episode no longer follows from anything.
                going = [("damaged", episode) for episode in self._episodes if episode.name == bad]

    def remove(self, spooled: Sequence[Spooled]) -> None:
        """Forget views that arrived. ``SpoolError``: the disk refused, and they still wait."""
        with self._using() as database:
            with _transaction(database):
                database.executemany("DELETE FROM views WHERE seq = ?", [(item.seq,) for item in spooled])
            for item in spooled:
                self._count_out(item)
            if not self._episodes:
                # Empty again: give the space back. A script, since ``execute`` would free one page alone.
                database.executescript("PRAGMA incremental_vacuum")

    def close(self) -> None:
        """Close the file; the views stay."""
        with self._lock:
            if self._database is not None:
                with contextlib.suppress(sqlite3.Error):
                    self._database.close()
                self._database = None
            os.close(self._claim)

    def _claimed(self) -> int:
        handle = os.open(self._file.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(handle)
            raise UserError(f"{self._file}: another sampler uses this spool; give each its own PTZ_SPOOL") from error
        return handle

    def _open(self) -> None:
        try:
            self._database = self._connected()
            self._load(self._database)
        except (_Damaged, sqlite3.Error) as error:
            if isinstance(error, sqlite3.Error) and not _is_damage(error):
                raise SpoolError(str(error)) from error
            self._set_aside(error)
            try:
                self._database = self._connected()
            except (_Damaged, sqlite3.Error) as again:
                raise SpoolError(str(again)) from again

    def _connected(self) -> sqlite3.Connection:
        self._file.parent.mkdir(parents=True, exist_ok=True)
        database = sqlite3.connect(self._file, isolation_level=None, check_same_thread=False)
        try:
            for pragma in (
                f"page_size={PAGE}",
                "auto_vacuum=INCREMENTAL",
                "journal_mode=WAL",
                "synchronous=FULL",
                f"wal_autocheckpoint={_LOG_PAGES}",
                "secure_delete=OFF",
            ):
                database.execute(f"PRAGMA {pragma}").fetchall()
            (version,) = database.execute("PRAGMA user_version").fetchone()
            if version == 0 and not database.execute("SELECT 1 FROM sqlite_master").fetchone():
                with _transaction(database):
                    database.execute(_SCHEMA)
                    database.execute(f"PRAGMA user_version={_VERSION}")
            elif version != _VERSION:
                raise _Damaged(f"it is of version {version}, not {_VERSION}")
            (verdict,) = database.execute("PRAGMA quick_check(1)").fetchone()
            if verdict != "ok":
                raise _Damaged(str(verdict))
            # SQLite leaves the names of new files to us.
            sync_folder(self._file.parent)
        except BaseException:
            database.close()
            raise
        return database

    def _set_aside(self, reason: Exception) -> None:
        """Rename the damaged file for whoever wants to look into it; only the latest such file is kept."""
        self._reopen_later()
        aside = self._file.with_suffix(".damaged")
        lost = self.views
        for suffix in ("", "-wal", "-shm"):
            Path(f"{aside}{suffix}").unlink(missing_ok=True)
            with contextlib.suppress(FileNotFoundError):
                Path(f"{self._file}{suffix}").replace(f"{aside}{suffix}")
        self._log.error("spool damaged; set aside", file=str(aside), reason=str(reason)[:200], views=lost or None)
        for episode in self._episodes:
            self._dropped("damaged", episode.views)
        self._episodes = []

    @contextlib.contextmanager
    def _using(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            try:
                if self._database is None:
                    self._open()
                if self._database is None:  # pragma: no cover - _open raises
                    raise SpoolError("closed")
                yield self._database
            except sqlite3.Error as error:
                if _is_damage(error):
                    self._set_aside(error)
                elif _kind(error) not in _PASSING:
                    self._reopen_later()
                raise SpoolError(str(error)) from error

    def _reopen_later(self) -> None:
        """Let go of a file that cannot be used; what it holds is counted anew when it can."""
        if self._database is not None:
            with contextlib.suppress(sqlite3.Error):
                self._database.close()
        self._database = None
        if self._episodes:
            self._lost = self._episodes[-1].name

    def _load(self, database: sqlite3.Connection) -> None:
        rows = database.execute(
            "SELECT episode, min(seq), max(seq), count(*), sum(cost), max(spooled_at) "
            "FROM views GROUP BY episode ORDER BY min(seq)"
        )
        self._episodes = [_Episode(*row) for row in rows]

    def _too_old(self, now: float) -> list[tuple[Reason, _Episode]]:
        return [("age", episode) for episode in self._episodes if now - episode.newest > self._most_seconds]

    def _too_many(self, price: int, old: Sequence[_Episode]) -> list[tuple[Reason, _Episode]]:
        """Return the episodes that make room for ``price`` bytes besides the ``old`` ones, oldest first."""
        going: list[tuple[Reason, _Episode]] = []
        left = [episode for episode in self._episodes if episode not in old]
        room = self._most_bytes - sum(episode.cost for episode in left)
        for episode in left:
            if room >= price:
                break
            going.append(("bytes", episode))
            room += episode.cost
        return going

    def _delete(self, database: sqlite3.Connection, going: Sequence[tuple[Reason, _Episode]]) -> None:
        for _, episode in going:
            database.execute("DELETE FROM views WHERE seq BETWEEN ? AND ?", (episode.first, episode.last))

    def _forget(self, going: Sequence[tuple[Reason, _Episode]]) -> None:
        for reason, episode in going:
            if episode is self._episodes[-1]:
                # Its next view may come yet, and must not come after a hole.
                self._lost = episode.name
            self._episodes.remove(episode)
            self._dropped(reason, episode.views)

    def _note(self, seq: int, episode: str, price: int, now: float) -> None:
        newest = self._episodes[-1] if self._episodes else None
        if newest is None or newest.name != episode:
            self._episodes.append(_Episode(episode, seq, seq, 1, price, now))
        else:
            newest.last, newest.newest = seq, now
            newest.views += 1
            newest.cost += price

    def _count_out(self, item: Spooled) -> None:
        for episode in self._episodes:
            if episode.first <= item.seq <= episode.last:
                episode.first = item.seq + 1
                episode.views -= 1
                episode.cost -= item.cost
                if not episode.views:
                    self._episodes.remove(episode)
                return


@contextlib.contextmanager
def _transaction(database: sqlite3.Connection) -> Iterator[None]:
    database.execute("BEGIN IMMEDIATE")
    try:
        yield
        database.execute("COMMIT")
    except BaseException:
        if database.in_transaction:
            database.execute("ROLLBACK")
        raise


def _kind(error: sqlite3.Error) -> int:
    # The low byte is the kind of the error, the rest a detail.
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF


def _is_damage(error: sqlite3.Error) -> bool:
    return _kind(error) in _DAMAGE


def _checksum(message: bytes, jpeg: bytes) -> int:
    return zlib.crc32(jpeg, zlib.crc32(message))


def _readable(rows: Sequence[tuple[int, str, int, int, bytes, bytes]]) -> tuple[list[Spooled], str | None]:
    """Return the views up to the first that is damaged, and that one's episode."""
    found: list[Spooled] = []
    for seq, episode, price, crc, message, jpeg in rows:
        try:
            if _checksum(message, jpeg) != crc:
                return found, episode
            found.append(Spooled(seq, price, View.model_validate_json(message), jpeg))
        except ValidationError:
            return found, episode
    return found, None
