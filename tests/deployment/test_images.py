"""Dockerfiles: each builds one service, out of files that exist, into an image that runs without rights."""

from __future__ import annotations

import importlib.util
import tomllib

import pytest

from tests.deployment.manifests import CONTAINERS, ROOT, Dockerfile

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PACKAGES = {"lock_broker", "camera_sampler", "world_model_trainer", "dreamer_agent", "ptzjepa", "benchmarks"}


def test_every_service_folder_has_a_container() -> None:
    assert {path.parent.name for path in (ROOT / "services").glob("*/Dockerfile")} == set(CONTAINERS)


@pytest.mark.parametrize("container", CONTAINERS)
def test_image_starts_its_own_module_and_holds_no_other_service(container: str) -> None:
    dockerfile = Dockerfile.of(container)
    python, flag, package, *_ = dockerfile.entrypoint
    assert (python, flag) == ("python", "-m")
    assert importlib.util.find_spec(f"{package}.__main__") is not None
    assert PACKAGES & set(dockerfile.copied) == {package}


@pytest.mark.parametrize("container", CONTAINERS)
def test_image_is_built_from_what_the_context_holds(container: str) -> None:
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    for source in Dockerfile.of(container).copied:
        assert (ROOT / source).exists()
        assert source in allowed


@pytest.mark.parametrize("container", CONTAINERS)
def test_image_installs_one_extra_that_exists(container: str) -> None:
    [line] = [run for run in Dockerfile.of(container).all("RUN") if '".[' in run]
    assert line.split('".[')[1].split("]")[0] in PROJECT["optional-dependencies"]


@pytest.mark.parametrize("container", CONTAINERS)
def test_image_runs_as_nobody_in_particular(container: str) -> None:
    dockerfile = Dockerfile.of(container)
    assert dockerfile.last("USER") == "10001:10001"
    assert f":{dockerfile.port}/healthz" in dockerfile.last("HEALTHCHECK")
    assert f"VERSION={PROJECT['version']}" in dockerfile.all("ARG")
    # The entry point runs as PID 1's direct child and gets its signals; a shell in between would swallow them.
    assert isinstance(dockerfile.entrypoint, list)
