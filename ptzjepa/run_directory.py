"""The directory of a run: what lies where, who owns it, and how a new run starts fresh without touching others' files.

A hidden marker file says that a directory is ours. It is locked while a run lasts, so that a second run can't remove
the state of the first.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import shutil
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path

from shared.errors import UserError
from shared.whole_files import write_whole

MARKER = ".ptzjepa-run"
MARKER_TEXT = "ptzjepa keeps runs here; the next demo removes state/, and any run overwrites its own other files\n"
SPACE_NEEDED = 512 * 1024 * 1024
"""Bytes that must be free: pictures, checkpoints, dreams and Redis' file of a long demo, twice over."""


class RunDirectory:
    """Paths of one run, all under ``root``."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        self.state = self.root / "state"
        self.logs = self.root / "logs"
        self.summary = self.root / "summary.json"
        self.report = self.root / "report.html"
        self.redis = self.state / "redis"
        self.store = self.state / "model-store"
        self.originals = self.state / "originals"
        self.spool = self.state / "spool"
        self.replay = self.state / "replay"
        self.ports = self.state / "ports"
        self.marker = self.root / MARKER

    def log_of(self, service: str) -> Path:
        """Return a service's log file."""
        return self.logs / f"{service}.log"

    @contextlib.contextmanager
    def claimed(self, services: Iterable[str], *, keep_state: bool = False) -> Iterator[bool]:
        """Own the directory; yields whether a former run used it.

        A former run's state (what was learnt, the streams) is removed unless ``keep_state``; its summary, report and
        logs always are. ``services`` names the log files that are ours. Raises ``UserError`` where the directory can't
        be made or written, is in use, has no space, or holds others' files.
        """
        with contextlib.ExitStack() as stack:
            try:
                self._make_root()
                ours = stack.enter_context(self._locked())
                if not ours:
                    self._refuse_others_files()
                self.marker.write_text(MARKER_TEXT, encoding="utf-8")
                self._start_fresh(services, keep_state=keep_state)
            except OSError as error:
                raise UserError(_cannot_write(self.root, error)) from error
            yield ours

    def _make_root(self) -> None:
        made = not self.root.exists()
        self.root.mkdir(parents=True, exist_ok=True)
        try:
            _probe(self.root)
            check_space(self.root)
        except (OSError, UserError):
            if made:
                self.root.rmdir()
            raise

    @contextlib.contextmanager
    def _locked(self) -> Iterator[bool]:
        ours = self.marker.exists()
        with self.marker.open("a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise UserError(f"another run is using {self.root}: wait for it, or give another --out") from error
            yield ours

    def _refuse_others_files(self) -> None:
        for path in (self.state, self.logs, self.summary, self.report):
            if path.exists():
                self.marker.unlink(missing_ok=True)
                raise UserError(
                    f"{path} is there already and no run of ptzjepa made it: move it away, or give another --out"
                )

    def _start_fresh(self, services: Iterable[str], *, keep_state: bool) -> None:
        # The ports of a former run are somebody else's by now.
        stale = self.ports if keep_state else self.state
        if stale.exists():
            shutil.rmtree(stale)
        for path in (self.summary, self.report, *(self.log_of(name) for name in services)):
            path.unlink(missing_ok=True)
        for path in (self.logs, self.redis, self.store, self.originals, self.ports):
            path.mkdir(parents=True, exist_ok=True)


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write a file whole or not at all. ``UserError`` where it can't be written."""
    try:
        write_whole(path, content.encode() if isinstance(content, str) else content)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}") from error


def check_space(path: Path) -> None:
    """Raise ``UserError`` unless the disk of ``path`` has room for a run."""
    free = shutil.disk_usage(path).free
    if free < SPACE_NEEDED:
        raise UserError(
            f"only {free // 2**20} MiB free for the output folder {path}: "
            f"make room for {SPACE_NEEDED // 2**20} MiB, or give --out on another disk"
        )


def _probe(directory: Path) -> None:
    # Permission bits say nothing to root, nor about read-only file systems: writing is the only proof.
    probe = directory / f".ptzjepa-probe-{uuid.uuid4().hex[:8]}"
    try:
        probe.write_bytes(b"x")
    finally:
        probe.unlink(missing_ok=True)


def _cannot_write(path: Path, error: OSError) -> str:
    if error.errno in (errno.EEXIST, errno.ENOTDIR):
        return f"output folder {path}: a file is in the way; give another --out"
    if error.errno == errno.ENOSPC:
        return f"output folder {path}: no space left on its disk; give --out on another one"
    return f"output folder {path}: cannot write there ({error.strerror or error}); give a writable --out"
