"""Kubernetes: what each folder of ``k8s/`` renders to holds together, and lets in and out only what it has to."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from tests.deployment.manifests import (
    CONTAINERS,
    FOLDERS,
    ROOT,
    compose,
    compose_tls,
    k8s,
    k8s_environment,
    k8s_of,
    pod,
    workloads,
)

NAME = "app.kubernetes.io/name"
every_folder = pytest.mark.parametrize("folder", FOLDERS)


def labels(workload: dict[str, Any]) -> dict[str, str]:
    found: dict[str, str] = workload["spec"]["template"]["metadata"]["labels"]
    return found


def ports(workload: dict[str, Any]) -> dict[str, int]:
    return {item["name"]: item["containerPort"] for item in pod(workload)["containers"][0]["ports"]}


def selects(selector: dict[str, Any], found: dict[str, str]) -> bool:
    """Whether a label selector of Kubernetes takes these labels in."""
    for expression in selector.get("matchExpressions", []):
        assert expression["operator"] == "In"
        if found.get(expression["key"]) not in expression["values"]:
            return False
    return bool(selector.get("matchLabels", {}).items() <= found.items())


def secrets(spec: dict[str, Any]) -> Iterator[str]:
    """The secrets that a pod reads."""
    for volume in spec.get("volumes", []):
        if "secret" in volume:
            yield volume["secret"]["secretName"]
    for container in spec["containers"]:
        for entry in container.get("env", []):
            if "secretKeyRef" in entry.get("valueFrom", {}):
                yield entry["valueFrom"]["secretKeyRef"]["name"]


def test_every_folder_that_can_be_applied_is_tested_and_linted() -> None:
    found = {path.parent.relative_to(ROOT / "k8s").as_posix() for path in (ROOT / "k8s").rglob("kustomization.yaml")}
    assert {folder for folder in found if not folder.startswith("components/")} == set(FOLDERS)
    used = {
        component.removeprefix("../../components/")
        for folder in FOLDERS
        for component in yaml.safe_load((ROOT / "k8s" / folder / "kustomization.yaml").read_text()).get(
            "components", []
        )
    }
    assert {folder.removeprefix("components/") for folder in found if folder.startswith("components/")} == used
    lint = (ROOT / "Makefile").read_text()
    assert all(pattern in lint for pattern in ("k8s/base", "k8s/tls", "$(wildcard k8s/overlays/*)"))


@every_folder
def test_everything_is_in_one_namespace(folder: str) -> None:
    placed = [item for item in k8s(folder) if item["kind"] not in ("Namespace", "RuntimeClass")]
    assert {item["metadata"]["namespace"] for item in placed} == set(k8s_of("Namespace", folder)) == {"ptzjepa"}


@every_folder
def test_selectors_find_their_pods(folder: str) -> None:
    everybody = workloads(folder)
    for name, workload in everybody.items():
        own = labels(workload)
        assert own[NAME] == name
        if workload["kind"] != "Job":
            assert workload["spec"]["selector"]["matchLabels"].items() <= own.items()
        service = k8s_of("Service", folder)[name]["spec"]
        assert [other for other in everybody if service["selector"].items() <= labels(everybody[other]).items()] == [
            name
        ]
        assert {item["targetPort"] for item in service["ports"]} <= ports(workload).keys()
        if workload["kind"] == "StatefulSet":
            assert workload["spec"]["serviceName"] in k8s_of("Service", folder)


@every_folder
def test_images_are_those_of_compose(folder: str) -> None:
    for name, workload in workloads(folder).items():
        [described] = pod(workload)["containers"]
        assert described["image"] == compose()["services"][name]["image"]


@every_folder
def test_pods_are_contained(folder: str) -> None:
    for workload in workloads(folder).values():
        spec = pod(workload)
        assert spec["automountServiceAccountToken"] is False
        assert spec["enableServiceLinks"] is False
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["runAsUser"] > 0
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not any("hostPath" in volume for volume in spec.get("volumes", []))
        [container] = spec["containers"]
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert {"cpu", "memory"} <= container["resources"]["requests"].keys()
        assert "memory" in container["resources"]["limits"]


@every_folder
def test_pods_mount_only_what_there_is(folder: str) -> None:
    for workload in workloads(folder).values():
        spec = pod(workload)
        volumes = {volume["name"]: volume for volume in spec.get("volumes", [])}
        templates = {template["metadata"]["name"] for template in workload["spec"].get("volumeClaimTemplates", [])}
        mounts = spec["containers"][0]["volumeMounts"]
        assert {mount["name"] for mount in mounts} == volumes.keys() | templates
        claimed = {
            volume["persistentVolumeClaim"]["claimName"]
            for volume in volumes.values()
            if "persistentVolumeClaim" in volume
        }
        assert claimed <= k8s_of("PersistentVolumeClaim", folder).keys()


@every_folder
def test_claims_are_there_and_none_is_left_over(folder: str) -> None:
    mounted = {
        volume["persistentVolumeClaim"]["claimName"]
        for workload in workloads(folder).values()
        for volume in pod(workload).get("volumes", [])
        if "persistentVolumeClaim" in volume
    }
    assert mounted == k8s_of("PersistentVolumeClaim", folder).keys()


@every_folder
def test_probes_ask_what_the_services_answer(folder: str) -> None:
    for name in CONTAINERS:
        if name not in workloads(folder):
            continue
        workload = workloads(folder)[name]
        [described] = pod(workload)["containers"]
        [port] = ports(workload)
        scheme = {"scheme": "HTTPS"} if (folder, name) == ("tls", "lock-broker") else {}
        assert described["startupProbe"]["httpGet"] == {"path": "/healthz", "port": port, **scheme}
        assert described["livenessProbe"]["httpGet"] == {"path": "/healthz", "port": port, **scheme}
        assert described["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": port, **scheme}
        annotations = workload["spec"]["template"]["metadata"]["annotations"]
        assert annotations["prometheus.io/port"] == str(ports(workload)[port])
        # One sampler a camera, one pilot: an update must stop the old one first, as a stateful set does anyway.
        assert workload["spec"].get("strategy") == ({"type": "Recreate"} if workload["kind"] == "Deployment" else None)
    if "redis" in workloads(folder):
        [redis] = pod(workloads(folder)["redis"])["containers"]
        # Nobody is let in without a name: only the readiness probe logs in.
        assert redis["startupProbe"]["tcpSocket"] == redis["livenessProbe"]["tcpSocket"] == {"port": "redis"}
        assert "--user health" in redis["readinessProbe"]["exec"]["command"][-1]


@every_folder
def test_budgets_are_for_pods_that_there_are_and_never_for_the_broker(folder: str) -> None:
    """A standby is never ready: a budget that counts the ready ones would keep the active one where it is for ever."""
    everybody = workloads(folder)
    for name, budget in k8s_of("PodDisruptionBudget", folder).items():
        held = [other for other in everybody if selects(budget["spec"]["selector"], labels(everybody[other]))]
        assert held == [name]
        assert everybody[name]["kind"] != "Job"
    counted = {name for name, workload in everybody.items() if workload["kind"] != "Job"}
    assert k8s_of("PodDisruptionBudget", folder).keys() == counted - {"lock-broker"}


def test_a_standby_does_not_hinder_what_it_stands_by_for() -> None:
    broker = workloads()["lock-broker"]["spec"]
    assert broker["replicas"] > 1
    assert broker["strategy"] == {"type": "Recreate"}
    [spread] = broker["template"]["spec"]["topologySpreadConstraints"]
    assert spread["whenUnsatisfiable"] == "ScheduleAnyway"
    assert spread["labelSelector"]["matchLabels"] == broker["selector"]["matchLabels"]


def documented_secrets() -> dict[str, set[str]]:
    """The keys of every secret, by docs/kubernetes.md's table."""
    text = (ROOT / "docs" / "kubernetes.md").read_text()
    _, _, table = text.partition("| secret | keys |\n")
    rows = [line.split("|") for line in table.split("\n\n")[0].splitlines()]
    return {name: set(re.findall(r"`([\w.-]+)`", row[2])) for row in rows for name in re.findall(r"`([\w-]+)`", row[1])}


@every_folder
def test_secrets_are_documented_each_services_own_and_never_committed(folder: str) -> None:
    assert not k8s_of("Secret", folder)
    for name, workload in workloads(folder).items():
        for secret in secrets(pod(workload)):
            assert secret in (name, f"{name}-tls", "lock-broker-tls"), "each service reads its own secret"
            assert secret in documented_secrets()
        if name not in CONTAINERS:
            continue
        for variable, value in k8s_environment(name, folder).items():
            secretive = re.search("PASSWORD|TOKEN|SECRET|ACCESS_KEY|PRIVATE_KEY", variable)
            assert not secretive or variable.endswith("_FILE") or not value


@every_folder
def test_every_service_is_a_user_of_its_own_in_redis(folder: str) -> None:
    for name in workloads(folder).keys() & set(CONTAINERS):
        environment = k8s_environment(name, folder)
        assert environment["PTZ_REDIS_USER"] == name
        assert environment["PTZ_REDIS_PASSWORD_FILE"].endswith("/ptz_redis_password")


def test_keda_logs_in_with_a_secret_that_is_documented() -> None:
    [login] = k8s_of("TriggerAuthentication", "overlays/cluster").values()
    for each in login["spec"]["secretTargetRef"]:
        assert each["key"] in documented_secrets()[each["name"]]


@every_folder
def test_files_that_settings_name_are_in_a_secret_that_is_mounted(folder: str) -> None:
    for name in CONTAINERS:
        if name not in workloads(folder):
            continue
        spec = pod(workloads(folder)[name])
        mounts = {mount["mountPath"]: mount["name"] for mount in spec["containers"][0]["volumeMounts"]}
        volumes = {volume["name"]: volume for volume in spec["volumes"]}
        for variable, value in k8s_environment(name, folder).items():
            if not value.startswith("/etc/"):
                continue
            place, _, file = value.rpartition("/")
            secret = volumes[mounts[place]]["secret"]
            assert "items" not in secret or file in [item["path"] for item in secret["items"]], variable
            assert file in documented_secrets()[secret["secretName"]], variable


@pytest.mark.parametrize("container", CONTAINERS)
def test_tls_gives_the_brokers_key_to_the_broker_alone(container: str) -> None:
    workload = workloads("tls")[container]
    if container != "lock-broker":
        assert "tls.key" not in str(pod(workload))
        return
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        plain = pod(workloads()[container])["containers"][0][probe]
        assert pod(workload)["containers"][0][probe].keys() == plain.keys()
    assert workload["spec"]["template"]["metadata"]["annotations"]["prometheus.io/scheme"] == "https"


def test_with_tls_redis_is_told_what_compose_tells_it() -> None:
    """The same switches; only where the files lie differs."""
    container = pod(workloads("tls")["redis"])["containers"][0]
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    there = {
        "/run/secrets/redis_certificate": f"{mounts['tls']}/tls.crt",
        "/run/secrets/redis_key": f"{mounts['tls']}/tls.key",
    }
    told = [there.get(word, word) for word in compose_tls()["services"]["redis"]["command"]]
    assert sorted(container["args"]) == sorted(told)
    tls = f"--tls --cacert {mounts['tls']}/ca.crt "
    plain = pod(workloads()["redis"])["containers"][0]["readinessProbe"]["exec"]["command"]
    asked = container["readinessProbe"]["exec"]["command"]
    assert tls in asked[-1]
    assert [word.replace(tls, "") for word in asked] == plain
