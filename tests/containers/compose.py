"""The project's compose file brought up by real docker compose on podman's socket."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.containers.podman import Podman

HEALTH_SECONDS = 2.0
"""Podman leaves health checks to systemd's timers; without systemd somebody else has to ask for them."""
UP_SECONDS = 900.0
"""Five Python processes, three of which import torch, on a machine that may be busy."""


class ComposeFailed(Exception):
    """A command failed; the text has its last lines."""


class Project:
    """One compose project: ``directory`` holds a copy of the deployment's files with secrets of its own."""

    def __init__(self, podman: Podman, program: Path, host: str, directory: Path, name: str) -> None:
        self.podman, self.directory, self.name = podman, directory, name
        self._command = [str(program), "--project-name", name, "--project-directory", str(directory)]
        # The machine's own settings shall not reach the system under test.
        own = {key: value for key, value in os.environ.items() if not key.startswith(("PTZ_", "COMPOSE_"))}
        self.environment = {**own, "DOCKER_HOST": host}

    def __call__(self, *arguments: str, seconds: float = 120.0) -> str:
        """Run a compose command; returns what it printed."""
        done = subprocess.run(
            [*self._command, *arguments],
            cwd=self.directory,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
        if done.returncode:
            told = "\n".join((done.stdout + done.stderr).splitlines()[-25:])
            raise ComposeFailed(f"docker compose {' '.join(arguments)} ended with {done.returncode}:\n{told}")
        return done.stdout

    def up(self, *services: str) -> None:
        """Start services, or all of the chosen profiles; returns when those are healthy that others wait for."""
        self("up", "--detach", "--no-build", "--pull", "never", *services, seconds=UP_SECONDS)

    def container(self, service: str) -> str:
        """Return a service's container."""
        [found] = self("ps", "--all", "--quiet", service).split()
        return found

    def address(self, service: str) -> str:
        """Return a container's address, which this machine reaches by the network's bridge."""
        networks = self.podman.inspect(self.container(service))["NetworkSettings"]["Networks"]
        [address] = [network["IPAddress"] for network in networks.values()]
        return str(address)

    def health(self, service: str) -> str:
        """Return healthy, unhealthy, starting, or what a container that does not run is."""
        state = self.podman.state(self.container(service))
        if state["Status"] != "running":
            return str(state["Status"])
        known: dict[str, Any] = state.get("Health") or state.get("Healthcheck") or {}
        return str(known.get("Status") or "unknown")

    def logs(self, service: str) -> str:
        """Return what a service has logged."""
        done = self.podman.attempt(["logs", self.container(service)], seconds=60)
        return done.stdout + done.stderr


def copy_deployment(root: Path, directory: Path) -> None:
    """Copy what compose reads, so that secrets and state of a test never touch those of the checkout."""
    for path in root.glob("docker-compose*.yml"):
        shutil.copy(path, directory)
    for name in ("observability", "deploy"):
        if (root / name).is_dir():
            shutil.copytree(root / name, directory / name)
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(root / name, directory)
    subprocess.run(["make", "--silent", "secrets"], cwd=directory, check=True, timeout=120, capture_output=True)


@contextmanager
def health_checks(podman: Podman) -> Iterator[None]:
    """Run every container's health check again and again, as an engine would."""
    ended = threading.Event()

    def check() -> None:
        while not ended.wait(HEALTH_SECONDS):
            for container in podman.running():
                podman.attempt(["healthcheck", "run", container], seconds=60)

    thread = threading.Thread(target=check, name="health checks", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(90)


def eventually(what: str, holds: Callable[[], bool], seconds: float, pause: float = 2.0) -> None:
    """Wait until something holds; ``AssertionError`` with ``what`` where it does not in time."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"not in {seconds:.0f} s: {what}"
        time.sleep(pause)


def all_healthy(project: Project, services: Sequence[str]) -> bool:
    """Whether every one of the services is healthy."""
    return all(project.health(service) == "healthy" for service in services)
