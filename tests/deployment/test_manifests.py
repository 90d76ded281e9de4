"""Compose file and Kubernetes base: whole in themselves, and the same system in both."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest
import yaml

from tests.deployment.manifests import (
    CONTAINERS,
    ROOT,
    Dockerfile,
    compose,
    compose_tls,
    k8s,
    k8s_of,
    k8s_tls_environment,
    pod,
    workloads,
)

VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
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
    volumes = {volume["name"]: volume for volume in pod(workloads()[container])["volumes"]}
    assert volumes["redis-password"]["secret"]["items"] == [{"key": own, "path": "password"}]
    assert [name for name, it in volumes.items() if it.get("secret", {}).get("secretName") == "redis"] == [
        "redis-password"
    ]


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
    assert "healthcheck" in described or Dockerfile.of(service).last("HEALTHCHECK")
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


@pytest.mark.parametrize("name", list(workloads()))
def test_selectors_find_their_pods(name: str) -> None:
    workload = workloads()[name]
    labels = workload["spec"]["template"]["metadata"]["labels"].items()
    assert workload["spec"]["selector"]["matchLabels"].items() <= labels
    assert k8s_of("Service")[name]["spec"]["selector"].items() <= labels
    ports = {item["name"] for item in pod(workload)["containers"][0]["ports"]}
    assert {item["targetPort"] for item in k8s_of("Service")[name]["spec"]["ports"]} <= ports
    # No other pod answers in this one's name.
    others = [w["spec"]["template"]["metadata"]["labels"].items() for n, w in workloads().items() if n != name]
    assert not any(k8s_of("Service")[name]["spec"]["selector"].items() <= other for other in others)


@pytest.mark.parametrize("name", list(workloads()))
def test_pod_is_contained(name: str) -> None:
    spec = pod(workloads()[name])
    assert spec["automountServiceAccountToken"] is False
    assert spec["securityContext"]["runAsNonRoot"] is True
    [container] = spec["containers"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert container["resources"]["limits"]["memory"]
    assert {"livenessProbe", "readinessProbe"} <= container.keys()


@pytest.mark.parametrize("name", list(workloads()))
def test_pod_mounts_only_what_there_is(name: str) -> None:
    spec = pod(workloads()[name])
    volumes = {volume["name"]: volume for volume in spec.get("volumes", [])}
    templates = workloads()[name]["spec"].get("volumeClaimTemplates", [])
    claimed = volumes.keys() | {template["metadata"]["name"] for template in templates}
    assert {mount["name"] for mount in spec["containers"][0]["volumeMounts"]} == claimed
    for volume in volumes.values():
        if "persistentVolumeClaim" in volume:
            assert volume["persistentVolumeClaim"]["claimName"] in k8s_of("PersistentVolumeClaim")


@pytest.mark.parametrize("container", CONTAINERS)
def test_probes_ask_what_the_service_answers(container: str) -> None:
    [described] = pod(workloads()[container])["containers"]
    port = described["ports"][0]["name"]
    assert described["startupProbe"]["httpGet"] == {"path": "/healthz", "port": port}
    assert described["livenessProbe"]["httpGet"] == {"path": "/healthz", "port": port}
    assert described["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": port}
    # One broker, one sampler a camera, one pilot: an update must stop the old one first.
    assert workloads()[container]["spec"]["strategy"] == {"type": "Recreate"}


def test_a_standby_does_not_hinder_what_it_stands_by_for() -> None:
    """One that is never ready would stop a rolling update, and an eviction where a budget counts the ready ones."""
    broker = workloads()["lock-broker"]["spec"]
    assert broker["replicas"] > 1
    assert broker["strategy"] == {"type": "Recreate"}
    [spread] = broker["template"]["spec"]["topologySpreadConstraints"]
    assert spread["whenUnsatisfiable"] == "ScheduleAnyway"
    assert spread["labelSelector"]["matchLabels"] == broker["selector"]["matchLabels"]
    assert not k8s_of("PodDisruptionBudget")


@pytest.mark.parametrize("container", CONTAINERS)
def test_tls_in_the_cluster_has_its_files_and_probes(container: str) -> None:
    workload = workloads("tls")[container]
    [described] = pod(workload)["containers"]
    mounts = {mount["mountPath"]: mount["name"] for mount in described["volumeMounts"]}
    volumes = {volume["name"]: volume for volume in pod(workload)["volumes"]}
    files = [value for name, value in k8s_tls_environment(container).items() if name.endswith("_FILE") and value]
    assert files
    for file in files:
        folder, _, name = file.rpartition("/")
        items = volumes[mounts[folder]]["secret"].get("items")
        assert items is None or name in [item["path"] for item in items]
    if container != "lock-broker":
        assert "tls.key" not in str(pod(workload)), "the broker's key is the broker's"
        return
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        plain = pod(workloads()[container])["containers"][0][probe]
        assert described[probe]["httpGet"] == {**plain["httpGet"], "scheme": "HTTPS"}
        assert described[probe].keys() == plain.keys()
    assert workload["spec"]["template"]["metadata"]["annotations"]["prometheus.io/scheme"] == "https"


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


def test_everything_is_in_one_namespace() -> None:
    placed = [item for item in k8s() if item["kind"] != "Namespace"]
    assert {item["metadata"]["namespace"] for item in placed} == set(k8s_of("Namespace"))
