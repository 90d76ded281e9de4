"""Keep child processes alive: start, watch, start again with back-off, stop in order.

Used by ``ptzjepa up`` and ``ptzjepa demo`` for all services, and by the rl-agent for its learner and pilot. Children
die with their parent, also when the parent is killed with -9.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import functools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from shared.errors import EXIT_USER

_PR_SET_PDEATHSIG = 1
# Loaded here and not between fork and exec, where loading may wait for a lock that another thread held.
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None
BACK_OFF_SECONDS = (0.2, 0.5, 1.0, 2.0, 5.0)
CALM_SECONDS = 30.0
"""A child that lived this long starts again without waiting."""


@dataclass
class Child:
    """One supervised process and what became of it."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    log_file: Path | None = None
    stop_seconds: float = 10.0
    restarts: int = 0
    exit_code: int | None = None
    process: asyncio.subprocess.Process | None = None
    given_up: bool = False
    """It said that its input is wrong (exit code 2): starting it again would not help."""

    @property
    def pid(self) -> int | None:
        """The running process's id."""
        return self.process.pid if self.process and self.process.returncode is None else None


def python_command(*arguments: str) -> list[str]:
    """Return the command line of one of our modules: ``python_command("lock_broker")``."""
    return [sys.executable, "-m", *arguments]


class Supervisor:
    """Runs children until told to stop. A child that fails starts again; one that exits with 2 does not."""

    def __init__(self) -> None:
        self.children: dict[str, Child] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._stopping = False
        self._log = structlog.get_logger()

    def start(self, child: Child) -> None:
        """Start a child and keep it alive from now on."""
        self.children[child.name] = child
        self._tasks[child.name] = asyncio.create_task(self._keep(child), name=f"keep {child.name}")

    async def stop(self, name: str) -> None:
        """Stop one child: SIGTERM, then SIGKILL after its ``stop_seconds``."""
        child, task = self.children[name], self._tasks[name]
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        await self._end(child)

    async def stop_all(self, order: Sequence[str] = ()) -> None:
        """Stop the named children one after the other, then all others together."""
        self._stopping = True
        for name in order:
            if name in self.children:
                await self.stop(name)
        await asyncio.gather(*(self.stop(name) for name in self.children if name not in order))

    async def _keep(self, child: Child) -> None:
        failures = 0
        while not self._stopping:
            started = time.monotonic()
            child.exit_code = await self._run_once(child)
            if child.exit_code == EXIT_USER:
                child.given_up = True
                self._log.error("child gave up", child=child.name, exit=child.exit_code)
                return
            failures = 0 if time.monotonic() - started > CALM_SECONDS else failures + 1
            delay = BACK_OFF_SECONDS[min(max(failures - 1, 0), len(BACK_OFF_SECONDS) - 1)]
            self._log.warning("child ended", child=child.name, exit=child.exit_code, again_in_seconds=delay)
            await asyncio.sleep(delay)
            child.restarts += 1

    async def _run_once(self, child: Child) -> int | None:
        try:
            process = await self._spawn(child)
        except OSError as error:  # no memory, no program, no place for the log: may pass, so it counts as a failure
            self._log.error("child cannot start", child=child.name, reason=str(error))
            return None
        return await process.wait()

    async def _spawn(self, child: Child) -> asyncio.subprocess.Process:
        output = child.log_file.open("ab") if child.log_file else None
        try:
            child.process = process = await asyncio.create_subprocess_exec(
                *child.command,
                env={**os.environ, **child.environment},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT if output else None,
                # A terminal's Ctrl-C goes to the whole group; only the supervisor shall hear it and stop in order.
                start_new_session=True,
                preexec_fn=functools.partial(_die_with, os.getpid()),
            )
        finally:
            if output:
                output.close()
        return process

    async def _end(self, child: Child) -> None:
        process = child.process
        if process is None:
            return
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
            try:
                await asyncio.wait_for(process.wait(), child.stop_seconds)
            except TimeoutError:
                self._log.warning("child did not stop in time", child=child.name, seconds=child.stop_seconds)
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
        child.exit_code = process.returncode


def _die_with(parent: int) -> None:
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it died before we asked
            os._exit(1)
