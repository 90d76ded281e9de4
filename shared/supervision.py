"""Keep child processes alive: start, watch, start again with back-off, stop in order.

Used by ``ptzjepa up`` and ``ptzjepa demo`` for all services, and by the rl-agent for its learner and pilot. Children
die with their parent, also when the parent is killed with -9.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
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
            await self._spawn(child)
            assert child.process is not None  # noqa: S101 - for the type checker; _spawn has just set it
            child.exit_code = await child.process.wait()
            if child.exit_code == EXIT_USER:
                child.given_up = True
                self._log.error("child gave up", child=child.name, exit=child.exit_code)
                return
            failures = 0 if time.monotonic() - started > CALM_SECONDS else failures + 1
            delay = BACK_OFF_SECONDS[min(max(failures - 1, 0), len(BACK_OFF_SECONDS) - 1)]
            self._log.warning("child ended", child=child.name, exit=child.exit_code, again_in_seconds=delay)
            await asyncio.sleep(delay)
            child.restarts += 1

    async def _spawn(self, child: Child) -> None:
        output = child.log_file.open("ab") if child.log_file else None
        try:
            child.process = await asyncio.create_subprocess_exec(
                *child.command,
                env={**os.environ, **child.environment},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT if output else None,
                # A terminal's Ctrl-C goes to the whole group; only the supervisor shall hear it and stop in order.
                start_new_session=True,
                preexec_fn=_die_with_parent,
            )
        finally:
            if output:
                output.close()

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


def _die_with_parent() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
