"""What our images are once they are built: small, without rights, and without what their service does not need."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.containers import images
from tests.containers.podman import Podman
from tests.deployment.manifests import VERSION

pytestmark = [pytest.mark.containers, pytest.mark.timeout(3600)]

LOCKED = ("--rm", "--network=none", "--read-only", "--cap-drop=all", "--security-opt=no-new-privileges")
"""How a container runs that may do nothing: with a file system that it cannot write, and nobody to talk to."""


def described(podman: Podman, image: str) -> dict[str, Any]:
    [found] = json.loads(podman("image", "inspect", image))
    known: dict[str, Any] = found
    return known


@pytest.mark.parametrize("name", images.NAMES)
def test_image_is_complete(name: str, podman: Podman, build: Callable[[str], str]) -> None:
    image = described(podman, build(name))
    assert image["User"] == "10001:10001"
    assert image["Labels"]["org.opencontainers.image.version"] == VERSION
    assert image["Healthcheck"]["Test"][0] == "CMD"
    assert image["Architecture"] in ("amd64", "arm64")


@pytest.mark.parametrize("name", images.NAMES)
def test_image_brings_torch_only_where_it_is_needed(name: str, podman: Podman, build: Callable[[str], str]) -> None:
    build(name)
    code = (
        "import importlib.util as u, json; "
        "print(json.dumps([bool(u.find_spec(name)) for name in ('torch', 'torchvision', 'pip')]))"
    )
    found = json.loads(podman("run", *LOCKED, "--entrypoint", "python", images.tag(name), "-c", code))
    assert found[:2] == [name not in ("lock-broker", "camera-sampler"), False]


@pytest.mark.parametrize("name", ["world-model-trainer", "rl-agent", "node"])
def test_torch_is_the_cpu_s_and_runs_locked(name: str, podman: Podman, build: Callable[[str], str]) -> None:
    build(name)
    code = "import torch; print(torch.__version__, float(torch.ones(3).sum()))"
    said = podman("run", *LOCKED, "--entrypoint", "python", images.tag(name), "-c", code, seconds=300).split()
    assert said[0].endswith("+cpu")
    assert said[1] == "3.0"


def test_images_with_torch_store_it_once(podman: Podman, build: Callable[[str], str]) -> None:
    layers = [
        described(podman, build(name))["RootFS"]["Layers"]
        for name in ("world-model-trainer", "dream-generator", "rl-agent")
    ]
    shared = set.intersection(*map(set, layers))
    for own in layers:
        assert len(set(own) - shared) <= 1, "an image's own layer is its service"


def test_a_setting_that_is_wrong_is_told_in_one_line(podman: Podman, build: Callable[[str], str]) -> None:
    build("camera-sampler")
    done = podman.attempt(
        ["run", *LOCKED, "--tmpfs=/tmp", "--env=PTZ_VIEWS_PER_SECOND=-1", images.tag("camera-sampler")], seconds=120
    )
    assert done.returncode == 2
    # Without systemd podman has a line of its own to say about health checks.
    [said] = [line for line in done.stderr.splitlines() if "msg=" not in line]
    assert said.startswith("error: setting PTZ_VIEWS_PER_SECOND")
