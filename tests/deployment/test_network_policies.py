"""Network policies: every connection that a service makes is allowed, at both ends, and no other."""

from __future__ import annotations

import ipaddress
import itertools
from typing import Any

import pytest

from tests.deployment.manifests import FOLDERS, k8s_of, workloads
from tests.deployment.test_cluster import NAME, labels, ports, selects

CLIENTS = ("camera-sampler", "world-model-trainer", "dream-generator", "rl-agent")
CONNECTIONS = {
    *((client, "lock-broker") for client in CLIENTS),
    *((service, "redis") for service in ("lock-broker", *CLIENTS)),
}
"""Who asks whom, of our own."""

every_folder = pytest.mark.parametrize("folder", FOLDERS)


def policies(folder: str, own: dict[str, str], direction: str) -> list[dict[str, Any]]:
    """The rules of one direction that hold for a pod with these labels."""
    found = []
    for policy in k8s_of("NetworkPolicy", folder).values():
        spec = policy["spec"]
        if direction.title() in spec["policyTypes"] and selects(spec["podSelector"], own):
            found += spec.get(direction, [])
    return found


def allows(rules: list[dict[str, Any]], end: str, other: dict[str, str] | str, port: int) -> bool:
    """Whether a rule lets a pod of ours with these labels, or an address, at the other end (``from``, ``to``)."""
    for rule in rules:
        if port not in [item["port"] for item in rule["ports"] if item["protocol"] == "TCP"]:
            continue
        for peer in rule[end]:
            if isinstance(other, str):
                block = peer.get("ipBlock", {"cidr": "255.255.255.255/32"})
                address = ipaddress.ip_address(other)
                out = any(address in ipaddress.ip_network(cidr) for cidr in block.get("except", []))
                if address in ipaddress.ip_network(block["cidr"]) and not out:
                    return True
            elif "podSelector" in peer and "namespaceSelector" not in peer and selects(peer["podSelector"], other):
                return True
    return False


@every_folder
def test_nothing_is_allowed_that_no_policy_names(folder: str) -> None:
    deny = k8s_of("NetworkPolicy", folder)["default-deny"]["spec"]
    assert deny == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}


@every_folder
def test_services_reach_whom_they_ask_and_nobody_else(folder: str) -> None:
    everybody = workloads(folder)
    for one, other in itertools.product(everybody, repeat=2):
        for port in ports(everybody[other]).values():
            goes_out = allows(policies(folder, labels(everybody[one]), "egress"), "to", labels(everybody[other]), port)
            comes_in = allows(
                policies(folder, labels(everybody[other]), "ingress"), "from", labels(everybody[one]), port
            )
            assert (goes_out and comes_in) == ((one, other) in CONNECTIONS), f"{one} to {other}:{port}"


@every_folder
def test_ports_in_policies_are_those_that_somebody_listens_on(folder: str) -> None:
    everybody = workloads(folder)
    for name, policy in k8s_of("NetworkPolicy", folder).items():
        chosen = [
            workload for workload in everybody.values() if selects(policy["spec"]["podSelector"], labels(workload))
        ]
        assert chosen, f"{name} is for nobody"
        listened = {port for workload in chosen for port in ports(workload).values()}
        for rule in policy["spec"].get("ingress", []):
            named = {item["port"] for item in rule["ports"]}
            assert named <= listened | ({8700} if "lock-broker" not in everybody else set()), name


@every_folder
def test_names_can_be_resolved_and_prometheus_comes_in(folder: str) -> None:
    for name, workload in workloads(folder).items():
        rules = policies(folder, labels(workload), "egress")
        assert any({"protocol": "UDP", "port": 53} in rule["ports"] for rule in rules), name
        if name == "redis":
            continue
        came = [
            item["port"]
            for rule in policies(folder, labels(workload), "ingress")
            for peer in rule["from"]
            if peer.get("podSelector", {}).get("matchLabels") == {NAME: "prometheus"} and "namespaceSelector" in peer
            for item in rule["ports"]
        ]
        assert set(ports(workload).values()) <= set(came), name


@pytest.mark.parametrize("folder", ["overlays/blade", "overlays/node"])
def test_the_sampler_alone_reaches_the_cameras_and_not_the_nodes_own_computers(folder: str) -> None:
    for name, workload in workloads(folder).items():
        rules = policies(folder, labels(workload), "egress")
        for port in (80, 443, 554):
            assert allows(rules, "to", "10.31.81.20", port) == (name == "camera-sampler")
            for own in range(10):
                assert not allows(rules, "to", f"10.31.81.{own}", port)
        assert not allows(rules, "to", "10.31.81.20", 22)


def test_a_node_reaches_its_blade_at_the_address_that_its_services_have() -> None:
    folder = "overlays/node"
    ends = k8s_of("Endpoints", folder)
    wanted = {
        "redis": {"camera-sampler", "rl-agent"},
        "lock-broker": {"camera-sampler", "rl-agent"},
        "model-store": {"rl-agent"},
    }
    assert ends.keys() == wanted.keys()
    for name, end in ends.items():
        service = k8s_of("Service", folder)[name]["spec"]
        assert "selector" not in service
        [subset] = end["subsets"]
        assert {item["name"]: item["port"] for item in subset["ports"]} == {
            item["name"]: item["port"] for item in service["ports"]
        }
        for address, item in itertools.product(subset["addresses"], subset["ports"]):
            for asker in wanted[name]:
                rules = policies(folder, labels(workloads(folder)[asker]), "egress")
                assert allows(rules, "to", address["ip"], item["port"]), f"{asker} to {name}"
