"""Podman, base images, our images and a running system: each made once, and only if a test asks for it."""

from __future__ import annotations

import fcntl
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.containers import bases, images, requirements
from tests.containers.compose import Project, copy_deployment, health_checks
from tests.containers.podman import Podman
from tests.deployment.manifests import ROOT

NewProject = Callable[[str, str], Project]


@pytest.fixture(scope="session")
def compose_program() -> Path:
    return requirements.fulfil()


@pytest.fixture(scope="session")
def podman(compose_program: Path) -> Iterator[Podman]:
    """Our own podman with base images; no container, network or volume is left of it afterwards."""
    home = requirements.home()
    home.mkdir(parents=True, exist_ok=True)
    with (home / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        found = Podman(home)
        found.remove_containers()
        bases.make(found, bases.PYTHON, bases.REDIS)
        try:
            with health_checks(found):
                yield found
        finally:
            found.remove_containers()


@pytest.fixture(scope="session")
def build(podman: Podman) -> Callable[[str], str]:
    """Builds one of our images once; returns its name."""
    done: set[str] = set()

    def build_once(name: str) -> str:
        if name not in done:
            images.build(podman, name)
            done.add(name)
        return images.tag(name)

    return build_once


@pytest.fixture(scope="session")
def engine(podman: Podman) -> Iterator[str]:
    """The address of podman's socket."""
    with podman.service() as address:
        yield address


@pytest.fixture(scope="session")
def new_project(podman: Podman, engine: str, compose_program: Path) -> Iterator[NewProject]:
    """Makes compose projects of the deployment as it stands and an override file; takes them down at the end."""
    made: list[Project] = []

    def make(name: str, override: str = "") -> Project:
        directory = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=podman.home))
        copy_deployment(ROOT, directory)
        (directory / "docker-compose.override.yml").write_text(override or "services: {}\n")
        made.append(Project(podman, compose_program, engine, directory, name))
        return made[-1]

    yield make
    for project in made:
        project("--profile", "observability", "down", "--volumes", "--timeout", "5", seconds=300)
        shutil.rmtree(project.directory)
