"""The whole compose file as real containers: up from nothing, at work, through faults, and down cleanly.

The tests stand in the order of a life; each goes on from where the one before left the system.
"""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Callable, Iterator

import pytest

from ptzjepa.timeline import Timeline
from tests.containers import bases
from tests.containers.compose import Project, all_healthy, eventually
from tests.containers.conftest import NewProject
from tests.containers.faults import freeze, healthy_again, kill
from tests.containers.podman import Podman
from tests.containers.watching import demo_checks, told, watch
from tests.deployment.manifests import CONTAINERS

pytestmark = [pytest.mark.containers, pytest.mark.timeout(3600)]

SERVICES = ("redis", *CONTAINERS, "prometheus")
"""All but Grafana, whose image can't be made of Debian's packages."""

PACE = """\
services:
  camera-sampler:
    environment: {PTZ_TIME_SCALE: "20"}
  world-model-trainer:
    environment: {PTZ_COMMIT_SECONDS: "15", PTZ_LEASE_TTL_MS: "10000"}
  dream-generator:
    environment: {PTZ_LEASE_TTL_MS: "10000"}
  rl-agent:
    environment: {PTZ_POLICY_SECONDS: "5", PTZ_LEASE_TTL_MS: "10000"}
"""
"""As the demo goes: a test need not wait as long as a camera may."""

DEMO_MINUTES = 0.5
PROGRESS_SECONDS = 600.0


@pytest.fixture(scope="module")
def project(podman: Podman, build: Callable[[str], str], new_project: NewProject) -> Iterator[Project]:
    bases.make(podman, bases.PROMETHEUS)
    for name in CONTAINERS:
        build(name)
    made = new_project("ptzwhole", PACE)
    made.up(*SERVICES)
    yield made
    made("--profile", "observability", "down", "--volumes", "--timeout", "5", seconds=300)


def test_all_become_healthy(project: Project) -> None:
    print("\nGRAFANA IS NOT TESTED HERE: its image is in no registry that this test may ask")
    eventually("all are healthy", lambda: all_healthy(project, SERVICES), 900.0)


def test_the_demo_s_conditions_hold(project: Project) -> None:
    def holds(timeline: Timeline) -> bool:
        return all(check.ok for check in demo_checks(timeline, DEMO_MINUTES).values())

    seen = watch(project, holds, "the demo's conditions", start="0-0", seconds=900.0)
    print(f"\n{told(seen)}")


def test_prometheus_sees_every_service(project: Project) -> None:
    def up() -> bool:
        with urllib.request.urlopen("http://127.0.0.1:9090/api/v1/query?query=up", timeout=30) as reply:
            found = json.load(reply)["data"]["result"]
        reached = {item["metric"].get("service") for item in found if item["value"][1] == "1"}
        return set(CONTAINERS) <= reached

    eventually("Prometheus reaches every service", up, 120.0)


@pytest.mark.parametrize("service", ["redis", *CONTAINERS])
def test_a_killed_container_comes_back_and_all_goes_on(service: str, project: Project) -> None:
    kill(project, service)
    healthy_again(project, service)
    watch(project, goes_on, f"progress after {service} was killed", start="$", seconds=PROGRESS_SECONDS)
    eventually("all are healthy", lambda: all_healthy(project, SERVICES), 120.0)


@pytest.mark.parametrize("service", ["redis", *CONTAINERS])
def test_a_frozen_container_harms_nobody_and_goes_on(service: str, project: Project) -> None:
    # Longer than a lease lives: whoever slept through its lease has to take another.
    freeze(project, service, seconds=12.0)
    watch(project, goes_on, f"progress after {service} was frozen", start="$", seconds=PROGRESS_SECONDS)
    eventually("all are healthy", lambda: all_healthy(project, SERVICES), 120.0)


def test_all_stop_cleanly(project: Project, podman: Podman) -> None:
    containers = {service: project.container(service) for service in SERVICES}
    project("--profile", "observability", "stop", "--timeout", "120", seconds=600)
    codes = {service: podman.state(container)["ExitCode"] for service, container in containers.items()}
    assert codes == dict.fromkeys(SERVICES, 0)
    for service in CONTAINERS:
        assert '"event": "stopped"' in project.logs(service).strip().splitlines()[-1], service


def goes_on(timeline: Timeline) -> bool:
    """Whether everybody has done something since: looked, measured, learnt, dreamt, and steered."""
    committed = timeline.committed[timeline.world_model] >= 1 and timeline.committed[timeline.agent] >= 1
    return timeline.views >= 10 and timeline.measurements >= 1 and timeline.dreams >= 1 and committed
