"""What containers go through: killed with -9, frozen, started again."""

from __future__ import annotations

import os
import signal
import time

from tests.containers.compose import Project, eventually

HEALTHY_SECONDS = 300.0
FREEZE_SECONDS = 60.0


def kill(project: Project, service: str) -> None:
    """Kill a container's processes as the kernel does when memory is short; its restart policy brings it back."""
    container = project.container(service)
    before = project.podman.inspect(container)
    os.kill(before["State"]["Pid"], signal.SIGKILL)

    def back() -> bool:
        state = project.podman.state(container)
        return state["Status"] == "running" and state["StartedAt"] != before["State"]["StartedAt"]

    eventually(f"{service} is started again after it was killed", back, HEALTHY_SECONDS)


def freeze(project: Project, service: str, seconds: float) -> None:
    """Stop a container in its tracks for some seconds."""
    container = project.container(service)
    # The kernel gives up freezing where a process is being started in the container, by a health check for one.
    eventually(
        f"{service} is frozen",
        lambda: project.podman.attempt(["pause", container], seconds=60).returncode == 0,
        FREEZE_SECONDS,
    )
    try:
        time.sleep(seconds)
    finally:
        project.podman("unpause", container)


def healthy_again(project: Project, service: str) -> None:
    """Wait until a service is healthy."""
    eventually(f"{service} is healthy", lambda: project.health(service) == "healthy", HEALTHY_SECONDS)
