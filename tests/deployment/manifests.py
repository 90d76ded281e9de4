"""The files that describe a deployment, read once for all tests of this folder."""

from __future__ import annotations

import functools
import json
import re
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
VERSION: str = PROJECT["version"]
CONTAINERS = ("lock-broker", "camera-sampler", "world-model-trainer", "dream-generator", "rl-agent")
IMAGES = (*CONTAINERS, "node")
"""Every image: the node's runs several services, and is neither in the compose file nor in the cluster."""
FOLDERS = ("base", "tls", "overlays/blade", "overlays/node", "overlays/kind", "overlays/cluster")
"""What of ``k8s/`` can be applied."""
FIELDS = {
    "spec.nodeName": "node",
    "metadata.name": "pod-0",
    "metadata.labels['apps.kubernetes.io/pod-index']": "0",
}
"""What the cluster fills in, and an example of it."""


@functools.cache
def compose() -> dict[str, Any]:
    """docker-compose.yml with its anchors merged."""
    loaded: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    return loaded


@functools.cache
def compose_tls() -> dict[str, Any]:
    """What docker-compose.tls.yml changes."""
    loaded: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.tls.yml").read_text())
    return loaded


@functools.cache
def k8s(folder: str = "base") -> list[dict[str, Any]]:
    """Every object that the kustomize base, or an overlay of it, renders to."""
    kubectl = Path(sys.executable).with_name("kubectl")
    rendered = subprocess.run([kubectl, "kustomize", ROOT / "k8s" / folder], check=True, capture_output=True, text=True)
    return [item for item in yaml.safe_load_all(rendered.stdout) if item]


def k8s_of(kind: str, folder: str = "base") -> dict[str, dict[str, Any]]:
    return {item["metadata"]["name"]: item for item in k8s(folder) if item["kind"] == kind}


def workloads(folder: str = "base") -> dict[str, dict[str, Any]]:
    """Deployments, stateful sets and jobs by name."""
    return k8s_of("Deployment", folder) | k8s_of("StatefulSet", folder) | k8s_of("Job", folder)


def pod(workload: dict[str, Any]) -> dict[str, Any]:
    spec: dict[str, Any] = workload["spec"]["template"]["spec"]
    return spec


def compose_environment(container: str) -> dict[str, str]:
    """What a container's environment is when the person who starts it has set nothing."""
    environment = compose()["services"][container].get("environment", {})
    return {
        name: re.sub(r"\$\{\w+(?::-([^}]*))?\}", r"\1", str(value))
        for name, value in environment.items()
        if name.startswith("PTZ_")
    }


def compose_tls_environment(container: str) -> dict[str, str]:
    """The same with TLS to the broker."""
    return compose_environment(container) | compose_tls()["services"][container]["environment"]


def k8s_environment(container: str, folder: str = "base") -> dict[str, str]:
    """The same in the cluster, with an example for what the cluster fills in."""
    [described] = pod(workloads(folder)[container])["containers"]
    found: dict[str, str] = {}
    for source in described["envFrom"]:
        found |= k8s_of("ConfigMap", folder)[source["configMapRef"]["name"]]["data"]
    for entry in described["env"]:
        filled_in = entry.get("valueFrom", {}).get("fieldRef", {}).get("fieldPath")
        found[entry["name"]] = FIELDS[filled_in] if filled_in else entry["value"]
    return found


@dataclass(frozen=True)
class Dockerfile:
    """The instructions of one Dockerfile, continuation lines joined."""

    lines: tuple[tuple[str, str], ...]

    @classmethod
    def of(cls, container: str) -> Dockerfile:
        text = (ROOT / "services" / container / "Dockerfile").read_text()
        text = re.sub(r"^#.*\n", "", text, flags=re.MULTILINE).replace("\\\n", " ")
        pairs = (line.split(maxsplit=1) for line in text.splitlines() if line.strip())
        return cls(tuple((name, " ".join(rest.split())) for name, rest in pairs))

    def all(self, instruction: str) -> list[str]:
        return [rest for name, rest in self.lines if name == instruction]

    def last(self, instruction: str) -> str:
        return self.all(instruction)[-1]

    @property
    def stages(self) -> dict[str, tuple[tuple[str, str], ...]]:
        """The instructions of every stage after its FROM, by the stage's name; the last stage's is empty."""
        found: dict[str, list[tuple[str, str]]] = {}
        for name, rest in self.lines:
            if name == "FROM":
                inside = found.setdefault(rest.partition(" AS ")[2], [])
            elif found:
                inside.append((name, rest))
        return {name: tuple(lines) for name, lines in found.items()}

    @property
    def argument(self) -> dict[str, str]:
        """Every build argument with what it is unless told otherwise."""
        return {name: value.strip('"') for name, _, value in (each.partition("=") for each in self.all("ARG"))}

    @property
    def entrypoint(self) -> list[str]:
        command: list[str] = json.loads(self.last("ENTRYPOINT"))
        return command

    @property
    def port(self) -> int:
        return int(self.last("EXPOSE"))

    @property
    def environment(self) -> dict[str, str]:
        """The settings that the image brings along."""
        pairs = (word.split("=", 1) for word in " ".join(self.all("ENV")).split())
        return {name: value for name, value in pairs if name.startswith("PTZ_")}

    @property
    def extras(self) -> str:
        """The extras that it installs unless told otherwise, with commas between them."""
        return self.argument["EXTRAS"]

    @property
    def copied(self) -> list[str]:
        """What it takes from the build context, unless told otherwise."""
        sources = [rest.split()[:-1] for rest in self.all("COPY") if not rest.startswith("--from")]
        return [Template(source.rstrip("/")).substitute(self.argument) for group in sources for source in group]
