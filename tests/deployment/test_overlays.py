"""What is particular to each overlay and component of ``k8s/``."""

from __future__ import annotations

import re
from typing import Any

import jsonschema
import pytest
import yaml

from dreamer_agent.dream_service import LEARNER_GROUP
from dreamer_agent.settings import DreamSettings
from shared.messages import StreamName
from tests.deployment.manifests import CONTAINERS, FOLDERS, ROOT, k8s, k8s_of, pod, workloads
from tests.deployment.test_cluster import labels, ports, selects

FOREIGN_KINDS = {"ScaledObject", "TriggerAuthentication", "ServiceMonitor"}
"""Kinds of KEDA and of the Prometheus Operator: the validator of Kubernetes' own kinds does not know them."""

SCALED_OBJECT = {
    "required": ["scaleTargetRef", "minReplicaCount", "maxReplicaCount", "pollingInterval", "advanced", "triggers"],
    "properties": {
        "scaleTargetRef": {"required": ["apiVersion", "kind", "name"]},
        "minReplicaCount": {"type": "integer", "minimum": 0},
        "maxReplicaCount": {"type": "integer", "minimum": 1},
        "pollingInterval": {"type": "integer", "minimum": 1},
        "advanced": {
            "properties": {
                "scalingModifiers": {
                    "required": ["formula", "target"],
                    "properties": {
                        "formula": {"type": "string"},
                        "target": {"type": "string"},
                        "metricType": {"enum": ["AverageValue", "Value"]},
                    },
                    "additionalProperties": False,
                },
                "horizontalPodAutoscalerConfig": {
                    "properties": {
                        "behavior": {"properties": {"scaleUp": {}, "scaleDown": {}}, "additionalProperties": False}
                    },
                    "additionalProperties": False,
                },
            },
            "additionalProperties": False,
        },
        "triggers": {
            "minItems": 1,
            "items": {
                "required": ["type", "name", "metadata"],
                "properties": {
                    "type": {"const": "redis-streams"},
                    "name": {"type": "string"},
                    "authenticationRef": {"required": ["name"], "properties": {"name": {"type": "string"}}},
                    "metadata": {
                        "required": ["address", "stream", "consumerGroup"],
                        "properties": {
                            name: {"type": "string"}
                            for name in ("address", "stream", "consumerGroup", "lagCount", "pendingEntriesCount")
                        },
                        "additionalProperties": False,
                    },
                },
                "additionalProperties": False,
            },
        },
    },
    "additionalProperties": False,
}
"""Those of a ScaledObject's fields that are used here, as KEDA 2.12's definition has them."""


@pytest.mark.parametrize("folder", FOLDERS)
def test_no_kind_escapes_the_validator_that_is_not_looked_at_here(folder: str) -> None:
    own = {"v1", "apps/v1", "batch/v1", "policy/v1", "networking.k8s.io/v1", "node.k8s.io/v1"}
    foreign = {item["kind"] for item in k8s(folder) if item["apiVersion"] not in own}
    assert foreign == (FOREIGN_KINDS if folder == "overlays/cluster" else set())


def scaled_object() -> dict[str, Any]:
    [found] = k8s_of("ScaledObject", "overlays/cluster").values()
    assert found["apiVersion"] == "keda.sh/v1alpha1"
    return found


def test_scaled_object_has_kedas_fields() -> None:
    jsonschema.validate(scaled_object()["spec"], SCALED_OBJECT)


def test_dreams_are_scaled_by_the_learners_backlog() -> None:
    spec = scaled_object()["spec"]
    target = k8s_of(spec["scaleTargetRef"]["kind"], "overlays/cluster")[spec["scaleTargetRef"]["name"]]
    assert target["metadata"]["name"] == "dream-generator"
    assert "replicas" not in target["spec"], "KEDA's to say"
    for trigger in spec["triggers"]:
        assert trigger["metadata"]["stream"] == StreamName.DREAMS
        assert trigger["metadata"]["consumerGroup"] == LEARNER_GROUP
        service = k8s_of("Service", "overlays/cluster")["redis"]
        host = f"redis.{service['metadata']['namespace']}.svc.cluster.local"
        assert trigger["metadata"]["address"] == f"{host}:{service['spec']['ports'][0]['port']}"
    assert [trigger["name"] for trigger in spec["triggers"]] == ["lag", "pending"]
    [login] = k8s_of("TriggerAuthentication", "overlays/cluster").values()
    assert {trigger["authenticationRef"]["name"] for trigger in spec["triggers"]} == {login["metadata"]["name"]}
    assert {each["parameter"] for each in login["spec"]["secretTargetRef"]} == {"username", "password"}


def test_fewer_dream_the_more_dreams_wait() -> None:
    spec = scaled_object()["spec"]
    formula = re.sub(r"(.+) \? (.+) : (.+)", r"(\2) if (\1) else (\3)", spec["advanced"]["scalingModifiers"]["formula"])
    assert spec["advanced"]["scalingModifiers"]["target"] == "1", "so the formula counts replicas"
    pause = DreamSettings.model_fields["dream_backlog"].default
    replicas = [eval(formula, {}, {"lag": backlog, "pending": 0}) for backlog in range(pause + 1)]  # noqa: S307
    assert replicas[0] == spec["maxReplicaCount"]
    assert replicas == sorted(replicas, reverse=True)
    assert replicas[-1] == spec["minReplicaCount"] == 1
    assert eval(formula, {}, {"lag": 1, "pending": 1}) == replicas[2]  # noqa: S307


def test_dream_generators_side_by_side_have_names_and_seeds_of_their_own() -> None:
    [container] = pod(workloads("overlays/cluster")["dream-generator"])["containers"]
    filled_in = {
        item["name"]: item["valueFrom"]["fieldRef"]["fieldPath"] for item in container["env"] if "valueFrom" in item
    }
    assert filled_in["PTZ_NODE"] == "metadata.name"
    assert "pod-index" in filled_in["PTZ_SEED"]
    store = k8s_of("PersistentVolumeClaim", "overlays/cluster")["model-store"]
    assert store["spec"]["accessModes"] == ["ReadWriteMany"]


def test_keda_may_ask_redis() -> None:
    policy = k8s_of("NetworkPolicy", "overlays/cluster")["keda-to-redis"]["spec"]
    redis = workloads("overlays/cluster")["redis"]
    assert selects(policy["podSelector"], labels(redis))
    assert [item["port"] for rule in policy["ingress"] for item in rule["ports"]] == list(ports(redis).values())


def test_service_monitor_finds_every_service_and_only_ports_that_have_metrics() -> None:
    [monitor] = k8s_of("ServiceMonitor", "overlays/cluster").values()
    assert monitor["apiVersion"] == "monitoring.coreos.com/v1"
    spec = monitor["spec"]
    assert spec.keys() == {"jobLabel", "selector", "endpoints"}
    assert all(endpoint.keys() == {"port", "path", "interval"} for endpoint in spec["endpoints"])
    assert {endpoint["path"] for endpoint in spec["endpoints"]} == {"/metrics"}
    scraped = {
        name
        for name, service in k8s_of("Service", "overlays/cluster").items()
        if selects(spec["selector"], service["metadata"]["labels"])
        for port in service["spec"]["ports"]
        if port["name"] in [endpoint["port"] for endpoint in spec["endpoints"]]
    }
    assert scraped == set(CONTAINERS)


def test_training_job_has_a_rank_for_each_gpu_and_room_to_talk() -> None:
    everybody = workloads("overlays/cluster")
    job = everybody["world-model-trainer"]
    assert job["kind"] == "Job"
    [container] = pod(job)["containers"]
    gpus = container["resources"]["limits"]["nvidia.com/gpu"]
    assert {"name": "GPUS", "value": str(gpus)} in container["env"]
    assert container["command"][0] == "torchrun"
    assert "--nproc-per-node=$(GPUS)" in container["command"]
    mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
    [shared] = [volume for volume in pod(job)["volumes"] if volume["name"] == mounts["/dev/shm"]]
    assert shared["emptyDir"]["medium"] == "Memory"
    # What the Deployment has besides, the Job has, too.
    [plain] = pod(workloads("base")["world-model-trainer"])["containers"]
    assert {mount["mountPath"] for mount in plain["volumeMounts"]} < mounts.keys()
    assert plain["envFrom"][0]["configMapRef"].keys() == container["envFrom"][0]["configMapRef"].keys()


def test_kind_publishes_what_its_cluster_forwards() -> None:
    [node] = yaml.safe_load((ROOT / "k8s" / "overlays" / "kind" / "cluster.yaml").read_text())["nodes"]
    forwarded = {item["containerPort"] for item in node["extraPortMappings"]}
    published = {
        port["nodePort"]
        for service in k8s_of("Service", "overlays/kind").values()
        for port in service["spec"]["ports"]
        if service["spec"].get("type") == "NodePort"
    }
    assert published == forwarded
    assert all(30000 <= port <= 32767 for port in published)
    assert {item["listenAddress"] for item in node["extraPortMappings"]} == {"127.0.0.1"}


def test_kind_has_the_same_redis_with_less_memory() -> None:
    [plain] = pod(workloads("base")["redis"])["containers"]
    [small] = pod(workloads("overlays/kind")["redis"])["containers"]
    pairs = dict(zip(plain["args"][1::2], plain["args"][2::2], strict=True))
    fewer = dict(zip(small["args"][1::2], small["args"][2::2], strict=True))
    assert {name for name in pairs if pairs[name] != fewer[name]} == {"--maxmemory"}
    for container in (plain, small):
        most = int(container["args"][container["args"].index("--maxmemory") + 1].removesuffix("mb"))
        limit = container["resources"]["limits"]["memory"]
        assert most <= 0.8 * int(limit[:-2]) * {"Mi": 1, "Gi": 1024}[limit[-2:]], (
            "room for copies while it rewrites its file"
        )


def test_a_nodes_pilot_is_the_agents_own() -> None:
    [container] = pod(workloads("overlays/node")["rl-agent"])["containers"]
    source = (ROOT / "dreamer_agent" / "__main__.py").read_text()
    assert container["args"] == ["--role", "pilot"]
    assert '"--role", choices=("both", "learner", "pilot")' in source
    assert workloads("overlays/node").keys() == {"camera-sampler", "rl-agent"}


def test_a_blade_shares_its_gpu_without_a_device_plugin() -> None:
    folder = "overlays/blade"
    [runtime] = k8s_of("RuntimeClass", folder)
    for name, workload in workloads(folder).items():
        spec = pod(workload)
        learns = name in ("world-model-trainer", "dream-generator", "rl-agent")
        assert spec.get("runtimeClassName") == (runtime if learns else None)
        assert "nvidia.com/gpu" not in spec["containers"][0]["resources"]["limits"]
    for claim in k8s_of("PersistentVolumeClaim", folder).values():
        assert claim["spec"]["storageClassName"] == "local-path"
