"""Compose file: whole in itself, and the same system as the Kubernetes base."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from tests.deployment.manifests import (
    CONTAINERS,
    ROOT,
    VERSION,
    Dockerfile,
    compose,
    compose_tls,
    k8s_environment,
    k8s_of,
    pod,
    workloads,
)

SERVICES: dict[str, dict[str, Any]] = compose()["services"]


@pytest.mark.parametrize("container", CONTAINERS)
def test_compose_cluster_and_image_agree(container: str) -> None:
    image = f"ptzjepa/{container}:{VERSION}"
    [described] = pod(workloads()[container])["containers"]
    assert SERVICES[container]["image"] == image == described["image"]
    assert SERVICES[container]["build"]["dockerfile"] == f"services/{container}/Dockerfile"
    port = Dockerfile.of(container).port
    assert [item["containerPort"] for item in described["ports"]] == [port]
    assert [item["port"] for item in k8s_of("Service")[container]["spec"]["ports"]] == [port]
    assert workloads()[container]["spec"]["template"]["metadata"]["annotations"]["prometheus.io/port"] == str(port)


def test_redis_is_the_same_in_both() -> None:
    [described] = pod(workloads()["redis"])["containers"]
    assert described["image"] == SERVICES["redis"]["image"]
    assert described["args"] == SERVICES["redis"]["command"]
    tls = compose_tls()["services"]["redis"]
    assert tls["command"][: len(described["args"])] == described["args"]
    assert set(SERVICES["redis"]["secrets"]) <= set(tls["secrets"])
    for command in (described["args"], tls["command"]):
        files = [word.removeprefix("/run/secrets/") for word in command if word.startswith("/run/secrets/")]
        assert set(files) <= set(tls["secrets"])
    [mounted] = [volume for volume in pod(workloads()["redis"])["volumes"] if volume["name"] == "users"]
    assert {item["path"] for item in mounted["secret"]["items"]} == set(SERVICES["redis"]["secrets"])


@pytest.mark.parametrize("container", CONTAINERS)
def test_each_service_has_its_own_password_for_redis_and_no_other(container: str) -> None:
    own = f"redis_{container.replace('-', '_')}_password"
    named = [secret for secret in SERVICES[container]["secrets"] if secret.startswith("redis_")]
    assert named == [own]
    mounted = [
        volume["secret"]["secretName"] for volume in pod(workloads()[container])["volumes"] if "secret" in volume
    ]
    assert mounted == [container], "the redis secret has everybody's digests"
    assert k8s_environment(container)["PTZ_REDIS_PASSWORD_FILE"] == "/etc/ptzjepa/secrets/ptz_redis_password"


def test_prometheus_scrapes_every_service_where_it_listens() -> None:
    jobs = yaml.safe_load((ROOT / "observability" / "prometheus.yml").read_text())["scrape_configs"]
    targets = {
        group["labels"]["service"]: group["targets"]
        for job in jobs
        for group in job["static_configs"]
        if "labels" in group
    }
    assert targets == {name: [f"{name}:{Dockerfile.of(name).port}"] for name in CONTAINERS}


@pytest.mark.parametrize("service", list(SERVICES))
def test_compose_service_is_contained(service: str) -> None:
    described = SERVICES[service]
    assert described["read_only"] is True
    assert described["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in described["security_opt"]
    assert described["restart"] == "unless-stopped"
    assert {"mem_limit", "logging"} <= described.keys()
    assert "healthcheck" in described or Dockerfile.of(service.removesuffix("-gpu")).last("HEALTHCHECK")
    for published in described.get("ports", []):
        assert published.startswith("127.0.0.1:")


@pytest.mark.parametrize("service", list(SERVICES))
def test_compose_service_names_only_what_there_is(service: str) -> None:
    described = SERVICES[service]
    assert set(described.get("depends_on", {})) <= SERVICES.keys()
    assert set(described.get("secrets", [])) <= compose()["secrets"].keys()
    for volume in described.get("volumes", []):
        source = volume.split(":")[0]
        assert (ROOT / source).exists() if source.startswith(".") else source in compose()["volumes"]


def test_compose_has_no_key_that_old_compose_refuses() -> None:
    assert not {"version", "include"} & compose().keys()
    assert not any("develop" in described for described in SERVICES.values())


def test_tls_in_compose_has_its_files() -> None:
    changed = compose_tls()
    assert changed["services"].keys() == {*CONTAINERS, "prometheus", "redis"}
    for name, described in changed["services"].items():
        known = changed["secrets"].keys() | compose()["secrets"].keys()
        assert set(described["secrets"]) <= known
        files = [value for key, value in described.get("environment", {}).items() if key.endswith("_FILE")]
        assert {file.removeprefix("/run/secrets/") for file in files} <= set(described["secrets"])
        assert ("broker_key" in described["secrets"]) == (name == "lock-broker")


def test_prometheus_asks_the_same_by_tls() -> None:
    plain, tls = (
        yaml.safe_load((ROOT / "observability" / name).read_text()) for name in ("prometheus.yml", "prometheus-tls.yml")
    )
    [mounted] = compose_tls()["services"]["prometheus"]["volumes"]
    assert mounted == "./observability/prometheus-tls.yml:/etc/prometheus/prometheus.yml:ro"
    job = tls["scrape_configs"][0]
    assert job.pop("tls_config") == {"ca_file": "/run/secrets/broker_ca"}
    schemes = {group["labels"]["service"]: group["labels"].pop("__scheme__", "http") for group in job["static_configs"]}
    assert schemes == {name: "https" if name == "lock-broker" else "http" for name in CONTAINERS}
    assert tls == plain
