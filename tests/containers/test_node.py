"""The image that runs several services, as a Waggle node would run it: one container, and nobody beside it."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator

import pytest

from tests.containers import images
from tests.containers.compose import eventually
from tests.containers.podman import Podman

pytestmark = [pytest.mark.containers, pytest.mark.timeout(3600)]

NAME = "ptznode"
STEERED = 'ptz_camera_sampler_views_total{policy="agent"}'
PACE = {"PTZ_COMMIT_SECONDS": "15", "PTZ_POLICY_SECONDS": "5", "PTZ_TIME_SCALE": "20", "PTZ_LEASE_TTL_MS": "10000"}


@pytest.fixture(scope="module")
def address(podman: Podman, build: Callable[[str], str]) -> Iterator[str]:
    build("node")
    settings = [f"--env={name}={value}" for name, value in PACE.items()]
    locked = ["--read-only", "--cap-drop=all", "--security-opt=no-new-privileges", "--tmpfs=/tmp"]
    volume = f"--volume={NAME}:/var/lib/ptzjepa"
    podman("run", "--detach", "--init", "--name", NAME, *locked, volume, *settings, images.tag("node"))
    yield str(podman.inspect(NAME)["NetworkSettings"]["IPAddress"])
    podman("rm", "--force", "--time", "5", NAME, seconds=120)


def ask(address: str, path: str) -> bytes:
    try:
        with urllib.request.urlopen(f"http://{address}:9100/{path}", timeout=30) as reply:
            found: bytes = reply.read()
    except urllib.error.HTTPError as error:
        return error.read()
    except OSError:
        return b""
    return found


def figure(address: str, name: str) -> float:
    values = [line.split()[-1] for line in ask(address, "metrics").decode().splitlines() if line.startswith(name)]
    return sum(map(float, values))


def test_one_container_sees_learns_dreams_and_steers(address: str, podman: Podman) -> None:
    eventually("the node is ready", lambda: json.loads(ask(address, "readyz") or b"{}").get("ready") is True, 900.0)
    assert figure(address, "ptz_node_child_up") == 6.0
    eventually("views are steered to", lambda: figure(address, STEERED) > 0.0, 600.0)
    assert podman.attempt(["healthcheck", "run", NAME], seconds=60).returncode == 0


def test_it_stops_cleanly(address: str, podman: Podman) -> None:
    began = time.monotonic()
    podman("stop", "--time", "150", NAME, seconds=200)
    assert podman.state(NAME)["ExitCode"] == 0, f"after {time.monotonic() - began:.0f} s"
    told = podman.attempt(["logs", "--tail", "40", NAME], seconds=60)
    # Redis, which it started, has lines of its own, and podman shows one stream after the other.
    stopped = [line for line in (told.stdout + told.stderr).splitlines() if '"event": "stopped"' in line]
    assert any('"service": "node"' in line for line in stopped), told
