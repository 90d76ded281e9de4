"""The services without torch as real containers, by real docker compose: the least to run before a change lands."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from ptzjepa.timeline import Timeline
from tests.containers import images
from tests.containers.compose import Project, all_healthy, eventually
from tests.containers.conftest import NewProject
from tests.containers.faults import freeze, healthy_again, kill
from tests.containers.podman import Podman
from tests.containers.watching import watch

pytestmark = [pytest.mark.containers, pytest.mark.timeout(1800)]

SERVICES = ("redis", "lock-broker", "camera-sampler")
MEGABYTES = {"lock-broker": 200, "camera-sampler": 250}


@pytest.fixture(scope="module")
def project(build: Callable[[str], str], new_project: NewProject) -> Iterator[Project]:
    for name in MEGABYTES:
        build(name)
    made = new_project("ptzsmall", "")
    made.up(*SERVICES)
    yield made
    made("down", "--volumes", "--timeout", "5", seconds=300)


@pytest.mark.parametrize("name", list(MEGABYTES))
def test_image_is_small(name: str, podman: Podman, build: Callable[[str], str]) -> None:
    build(name)
    assert images.added_bytes(podman, name) < MEGABYTES[name] * 1e6


def test_all_become_healthy_and_the_camera_looks_around(project: Project) -> None:
    eventually("all are healthy", lambda: all_healthy(project, SERVICES), 300.0)
    watch(project, more_views, "views", start="0-0", seconds=120.0)


@pytest.mark.parametrize("service", ["camera-sampler", "lock-broker", "redis"])
def test_a_killed_container_comes_back(service: str, project: Project) -> None:
    kill(project, service)
    healthy_again(project, service)
    watch(project, more_views, f"views after {service} was killed", start="$", seconds=180.0)


@pytest.mark.parametrize("service", ["redis", "camera-sampler"])
def test_a_frozen_container_goes_on(service: str, project: Project) -> None:
    freeze(project, service, seconds=5.0)
    watch(project, more_views, f"views after {service} was frozen", start="$", seconds=180.0)


def test_all_stop_cleanly(project: Project, podman: Podman) -> None:
    containers = {service: project.container(service) for service in SERVICES}
    project("stop", seconds=300)
    codes = {service: podman.state(container)["ExitCode"] for service, container in containers.items()}
    assert codes == dict.fromkeys(SERVICES, 0)
    assert '"event": "stopped"' in project.logs("camera-sampler").strip().splitlines()[-1]


def more_views(timeline: Timeline) -> bool:
    return timeline.views >= 10
