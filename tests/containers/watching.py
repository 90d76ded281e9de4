"""Watches a system of containers as ``ptzjepa demo`` watches its own: by the streams, and by asking the broker."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping

from ptzjepa.recorder import Recorder
from ptzjepa.summary import Check, checks
from ptzjepa.timeline import Timeline
from shared.settings import ServiceSettings
from tests.containers.compose import Project

LOOK_SECONDS = 2.0


def watch(project: Project, holds: Callable[[Timeline], bool], what: str, *, start: str, seconds: float) -> Timeline:
    """Watch until something holds of what was seen; ``AssertionError`` where it does not in time.

    ``start`` is where the streams are read from: ``0-0`` for everything, ``$`` for what comes from now on.
    """
    return asyncio.run(_watch(project, holds, what, start, seconds))


async def _watch(
    project: Project, holds: Callable[[Timeline], bool], what: str, start: str, seconds: float
) -> Timeline:
    secrets = project.directory / "secrets"
    settings = ServiceSettings.from_environment(
        redis_url=f"redis://{project.address('redis')}:6379/0",
        redis_user="operator",
        redis_password=(secrets / "redis_operator_password").read_text().strip(),
        broker_url=f"http://{project.address('lock-broker')}:8700",
        broker_token=(secrets / "broker_token").read_text().strip(),
    )
    timeline = Timeline(settings.world_model, settings.agent, started=0.0 if start == "0-0" else time.time())
    deadline = time.monotonic() + seconds
    async with Recorder(settings, timeline, start=start):
        while not holds(timeline):
            assert time.monotonic() < deadline, f"not in {seconds:.0f} s: {what}; seen: {told(timeline)}"
            await asyncio.sleep(LOOK_SECONDS)
    return timeline


def demo_checks(timeline: Timeline, minutes: float) -> Mapping[str, Check]:
    """Return the demo's own checks of a run of so many minutes, less those of the demo's child processes."""
    found = checks(timeline, {}, minutes)
    return {name: check for name, check in found.items() if name not in ("services_exit", "gave_up")}


def told(timeline: Timeline) -> str:
    """Return what was seen, in one line."""
    committed = ", ".join(f"{name} {count}" for name, count in timeline.committed.items()) or "nothing"
    return (
        f"{timeline.views} views, {timeline.learned_steering} of them steered to; {timeline.measurements} measured; "
        f"{timeline.dreams} dreams; committed: {committed}"
    )
