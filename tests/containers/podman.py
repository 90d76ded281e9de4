"""Podman with everything of its own under one directory: images, containers, networks, configuration, socket.

It takes the place of a Docker engine where none runs: real docker compose speaks to its socket. Nothing here touches
the machine's own containers, and removing the directory removes all that there is.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

# runc and cgroupfs work without systemd and on a machine whose cgroups are of both versions; the limits are what a
# container may have where the machine itself may not raise its own.
CONTAINERS_CONF = """\
[containers]
default_ulimits = ["nofile=4096:4096", "nproc=4096:4096"]
log_driver = "k8s-file"
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
tmp_dir = "{run}/libpod"
[network]
network_config_dir = "{home}/networks"
"""
STORAGE_CONF = """\
[storage]
driver = "overlay"
graphroot = "{home}/storage"
runroot = "{run}/storage"
"""
POLICY = {"default": [{"type": "insecureAcceptAnything"}]}


class PodmanFailed(Exception):
    """A command failed; the text has its last lines."""


class Podman:
    """``home`` lasts from one test run to the next and holds the images; ``run`` holds what lives."""

    def __init__(self, home: Path) -> None:
        self.home, self.run_directory = home.resolve(), home.resolve() / "run"
        self.socket = self.run_directory / "podman.sock"
        places = {"home": self.home, "run": self.run_directory}
        for directory in (*places.values(), self.home / "networks"):
            directory.mkdir(parents=True, exist_ok=True)
        files = {"containers.conf": CONTAINERS_CONF, "storage.conf": STORAGE_CONF}
        for name, text in files.items():
            (self.home / name).write_text(text.format(**places))
        (self.home / "policy.json").write_text(json.dumps(POLICY))
        # Official names are looked for here alone: what is not at hand fails at once instead of being asked for.
        (self.home / "registries.conf").write_text('unqualified-search-registries = ["docker.io"]\n')
        self.environment = {
            **os.environ,
            "CONTAINERS_CONF": str(self.home / "containers.conf"),
            "CONTAINERS_STORAGE_CONF": str(self.home / "storage.conf"),
            "CONTAINERS_REGISTRIES_CONF": str(self.home / "registries.conf"),
        }

    def __call__(self, *arguments: str, seconds: float = 120.0, check: bool = True) -> str:
        """Run a podman command and return what it printed. ``PodmanFailed`` with its last lines where it fails."""
        done = self.attempt(arguments, seconds=seconds)
        if check and done.returncode:
            told = "\n".join((done.stdout + done.stderr).splitlines()[-25:])
            raise PodmanFailed(f"podman {' '.join(arguments[:4])} … ended with {done.returncode}:\n{told}")
        return done.stdout.strip()

    def attempt(self, arguments: Sequence[str], *, seconds: float) -> subprocess.CompletedProcess[str]:
        """Run a podman command that may fail."""
        return subprocess.run(
            ["podman", *arguments],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )

    def has_image(self, name: str) -> bool:
        """Whether an image of this name is at hand."""
        return self.attempt(["image", "exists", name], seconds=30).returncode == 0

    def build(
        self,
        name: str,
        dockerfile: Path,
        context: Path,
        arguments: Mapping[str, str] | None = None,
        mounts: Sequence[Path] = (),
        seconds: float = 1800.0,
    ) -> None:
        """Build an image from a Dockerfile with layers kept; ``mounts`` are readable at the same place while it builds.

        ``--format docker``: the other format has no place for health checks.
        """
        options = ["--format", "docker", "--layers", "--network", "host", "--pull=never", "--tag", name]
        options += ["--signature-policy", str(self.home / "policy.json")]
        for key, value in (arguments or {}).items():
            options += ["--build-arg", f"{key}={value}"]
        for path in mounts:
            options += ["--volume", f"{path}:{path}:ro"]
        self("build", *options, "--file", str(dockerfile), str(context), seconds=seconds)

    def inspect(self, container: str) -> dict[str, Any]:
        """Return what podman knows about a container."""
        [found] = json.loads(self("inspect", "--type", "container", container))
        known: dict[str, Any] = found
        return known

    def state(self, container: str) -> dict[str, Any]:
        """Return a container's state: Status, ExitCode, Healthcheck and others."""
        known: dict[str, Any] = self.inspect(container)["State"]
        return known

    def running(self) -> list[str]:
        """Return the ids of the containers that run."""
        return self("ps", "--quiet", "--filter", "status=running").split()

    @contextmanager
    def service(self) -> Iterator[str]:
        """Offer Docker's API on a socket for as long as the block lasts; yields the value for DOCKER_HOST."""
        self.socket.unlink(missing_ok=True)
        address = f"unix://{self.socket}"
        log = (self.home / "service.log").open("ab")
        process = subprocess.Popen(
            ["podman", "system", "service", "--time=0", address],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
        try:
            yield address
        finally:
            process.terminate()
            process.wait(30)
            log.close()

    def remove_containers(self) -> None:
        """Remove every container, pod, network and volume; images stay."""
        self("rm", "--all", "--force", "--time", "1", seconds=180, check=False)
        self("network", "prune", "--force", seconds=60, check=False)
        self("volume", "prune", "--force", seconds=60, check=False)
