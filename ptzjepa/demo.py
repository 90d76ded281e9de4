"""One run of the whole system on this machine: start, watch, stop in order, write the summary and the report.

``ptzjepa demo`` ends by itself, ``ptzjepa up`` when it is interrupted; nothing else differs.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import structlog
from rich.console import Console

from ptzjepa import services
from ptzjepa.display import Display
from ptzjepa.options import RunOptions
from ptzjepa.preflight import check_inputs, redis_version
from ptzjepa.recorder import Recorder
from ptzjepa.run_directory import RunDirectory, write_atomically
from ptzjepa.summary import Identity, show_number, software_versions, summarise
from ptzjepa.supervisor import Fleet, StartFailed
from ptzjepa.timeline import Timeline
from shared.errors import EXIT_FAULT, EXIT_INTERRUPTED, EXIT_OK
from shared.settings import ServiceSettings
from shared.telemetry import configure_logging

LOOK_SECONDS = 0.5
OWN_LOG = "ptzjepa"


def run(options: RunOptions, console: Console) -> int:
    """Do a run and return the exit code. ``UserError`` before anything starts if the input is wrong."""
    port = check_inputs(options, os.environ)
    directory = RunDirectory(options.out)
    with (
        directory.claimed([*services.START_ORDER, OWN_LOG], keep_state=options.lasting) as used_before,
        _log_to(directory.log_of(OWN_LOG)),
    ):
        if used_before:
            gone = "going on from its state" if options.lasting else "its state, logs and report are removed"
            console.print(f"{directory.root} held a former run: {gone}", soft_wrap=True)
        try:
            goes_on = used_before and options.lasting
            return asyncio.run(Run(options, directory, port, console, goes_on=goes_on).go())
        except StartFailed as error:
            print(f"error: {error}", file=sys.stderr)
            return EXIT_FAULT


class Run:
    """One run from its first process to its report."""

    def __init__(
        self, options: RunOptions, directory: RunDirectory, port: int, console: Console, *, goes_on: bool = False
    ) -> None:
        self._options, self._directory, self._console = options, directory, console
        self._goes_on = goes_on
        """The streams hold a former run's messages, which are not this one's."""
        self._table = services.build(options, directory, port, os.environ)
        self._settings = ServiceSettings.from_environment(
            redis_url=self._table.environment[services.REDIS_URL],
            broker_url=self._table.environment[services.BROKER_URL],
            camera=self._table.environment["PTZ_CAMERA"],
            world_model=self._table.environment["PTZ_WORLD_MODEL"],
            agent=self._table.environment["PTZ_AGENT"],
            seed=options.seed,
        )
        self._fleet = Fleet(self._table.plans)
        self._timeline = Timeline(self._settings.world_model, self._settings.agent)
        self._stop = asyncio.Event()
        self._redis_version = "unknown"
        self._seconds = 0.0

    async def go(self) -> int:
        """Run until the time is up, the user interrupts, or a service gives up. Returns the exit code."""
        structlog.get_logger().info("run", command=self._options.as_typed, pid=os.getpid())
        self._heed_signals()
        start = "$" if self._table.external_redis or self._goes_on else "0-0"
        async with Recorder(self._settings, self._timeline, start=start) as recorder:
            try:
                with Display(self._console, self._options.seconds) as display:
                    if await self._start(display):
                        self._redis_version = await redis_version(self._settings)
                        await self._watch(display)
            finally:
                self._console.print("stopping the services in order")
                await self._fleet.stop(services.STOP_ORDER, {services.BROKER: recorder.drain})
        return self._conclude()

    def _heed_signals(self) -> None:
        def stop(signum: int) -> None:
            if self._stop.is_set():
                # Asked twice: go at once. The services die with this process.
                os._exit(128 + signum)
            self._stop.set()

        for signum in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(signum, stop, signum)

    async def _start(self, display: Display) -> bool:
        """Start all services; False when the user interrupted that."""
        display.say(f"starting {len(self._table.plans)} services; logs in {self._directory.logs}")
        starting = asyncio.create_task(self._fleet.start(display.say))
        stopped = asyncio.create_task(self._stop.wait())
        try:
            await asyncio.wait([starting, stopped], return_when=asyncio.FIRST_COMPLETED)
            if not starting.done():
                return False
            await starting
        finally:
            for task in (starting, stopped):
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError, StartFailed):
                    await task
        return True

    async def _watch(self, display: Display) -> None:
        self._timeline.started = time.time()
        began = time.monotonic()
        watching = asyncio.create_task(self._fleet.watch())
        limit = self._options.seconds
        try:
            while not self._stop.is_set() and (limit is None or self._seconds < limit):
                display.show(self._timeline, self._fleet, self._seconds)
                if gone := [child.name for child in self._fleet.children.values() if child.given_up]:
                    display.say(f"{', '.join(gone)} gave up; ending the run")
                    break
                rest = LOOK_SECONDS if limit is None else min(LOOK_SECONDS, limit - self._seconds)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._stop.wait(), max(rest, 0.01))
                self._seconds = time.monotonic() - began
        finally:
            watching.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watching

    def _conclude(self) -> int:
        interrupted = self._stop.is_set()
        summary = self._summary(interrupted)
        write_atomically(self._directory.summary, json.dumps(summary, indent=2, ensure_ascii=False) + "\n")
        self._console.print("writing the report")
        # Imported late: matplotlib takes a second that nobody with a wrong option shall wait for.
        from ptzjepa.report import write_report

        write_report(self._directory, self._timeline, summary, self._options.panorama)
        self._print(summary)
        if self._options.lasting:
            # Nobody said how long it should last, so only what went wrong counts.
            clean = all(summary["checks"][name]["ok"] for name in ("services_exit", "gave_up"))
            return EXIT_OK if clean else EXIT_FAULT
        if interrupted:
            return EXIT_INTERRUPTED
        return EXIT_OK if summary["ok"] else EXIT_FAULT

    def _summary(self, interrupted: bool) -> dict[str, Any]:
        environment = self._table.environment
        identity = Identity(
            seed=self._options.seed,
            config_hash=services.config_hash(environment, self._options.panorama, os.environ),
            versions=software_versions(self._redis_version),
            command=self._options.as_typed,
        )
        return summarise(self._timeline, self._fleet.children, identity, seconds=self._seconds, interrupted=interrupted)

    def _print(self, summary: dict[str, Any]) -> None:
        def line(text: str) -> None:
            self._console.print(text, highlight=False, markup=False, soft_wrap=True)

        for check in summary["checks"].values():
            mark = "ok    " if check["ok"] else "NOT OK"
            required = f"{check['comparison']} {show_number(check['required'])}"
            line(f"{mark} {check['title']}: {show_number(check['value'])} (required: {required})")
        line("the run is ok" if summary["ok"] else "the run is NOT ok")
        line(f"summary {self._directory.summary}")
        line(f"report  {self._directory.report}")


@contextlib.contextmanager
def _log_to(path: Path) -> Iterator[None]:
    """Send this process's own log to a file: the terminal belongs to the display."""
    with path.open("a", encoding="utf-8", buffering=1) as file:
        configure_logging(ServiceSettings.from_environment(log_format="json"), OWN_LOG)
        structlog.configure(logger_factory=structlog.PrintLoggerFactory(file))
        logging.basicConfig(level=logging.WARNING, stream=file, force=True)
        try:
            yield
        finally:
            structlog.reset_defaults()
            logging.basicConfig(level=logging.WARNING, force=True)
