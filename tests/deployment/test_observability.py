"""Dashboard and alert rules: well-formed, and every metric and label in them is exported by some service."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry

from camera_sampler.service import CameraSampler
from camera_sampler.settings import SamplerSettings
from dreamer_agent.agent_service import Learner
from dreamer_agent.container import AgentContainer
from dreamer_agent.dream_service import DreamGenerator
from dreamer_agent.pilot import Pilot
from dreamer_agent.settings import AgentSettings, DreamSettings
from lock_broker.metrics import BrokerMetrics
from lock_broker.service import LockBroker
from lock_broker.settings import BrokerSettings
from shared.service import Service
from tests.deployment.manifests import CONTAINERS, ROOT, compose
from world_model_trainer.service import WorldModelTrainer
from world_model_trainer.settings import TrainerSettings

OBSERVABILITY = ROOT / "observability"
GRAFANA = OBSERVABILITY / "grafana"
DASHBOARD: dict[str, Any] = json.loads((GRAFANA / "dashboards" / "ptzjepa.json").read_text())
RULES: list[dict[str, Any]] = [
    rule
    for group in yaml.safe_load((OBSERVABILITY / "rules" / "ptzjepa.yml").read_text())["groups"]
    for rule in group["rules"]
]
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]

SAMPLES = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_count", "_sum")}
FROM_PROMETHEUS: dict[str, set[str]] = {"up": set()}
TARGET_LABELS = {"job", "instance", "service"}

WORDS = {"by", "without", "on", "ignoring", "and", "or", "unless", "bool", "offset", "group_left", "group_right"}
"""Words of PromQL that are neither metrics nor functions."""


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, set[str]]:
    """The labels of every sample that the services export, by the sample's name."""
    common = {"admin_port": 0, "model_store": str(tmp_path_factory.mktemp("store"))}
    broker = LockBroker(BrokerSettings(**common))
    BrokerMetrics(broker.metrics)
    agent = AgentSettings(**common)
    services: list[Service[Any]] = [
        broker,
        CameraSampler(SamplerSettings(**common)),
        WorldModelTrainer(TrainerSettings(**common)),
        DreamGenerator(DreamSettings(**common)),
        AgentContainer(agent),
        Learner(agent),
        Pilot(agent),
    ]
    found = dict(FROM_PROMETHEUS)
    for service in services:
        for name, labels in samples(service.metrics.registry):
            assert name not in found, f"{name} is exported twice"
            found[name] = labels
    return found


def samples(registry: CollectorRegistry) -> Iterator[tuple[str, set[str]]]:
    for family in registry.collect():
        labels = set(registry._names_to_collectors[family.name]._labelnames)  # type: ignore[attr-defined]
        for suffix in SAMPLES[family.type]:
            yield family.name + suffix, labels | ({"le"} if suffix == "_bucket" else set())


def expressions() -> Iterator[tuple[str, str]]:
    """Every PromQL expression with the place it stands in."""
    for panel in PANELS:
        for target in panel["targets"]:
            yield f"panel {panel['title']!r}", target["expr"]
    for rule in RULES:
        yield f"alert {rule['alert']!r}", rule["expr"]


def metrics_in(expression: str) -> set[str]:
    """The metrics that an expression names: what is left without matchers, ranges, groupings and functions."""
    bare = re.sub(r'\{[^}]*\}|\[[^\]]*\]|"[^"]*"', " ", expression)
    bare = re.sub(r"\b(by|without|on|ignoring)\s*\([^)]*\)", " ", bare)
    names = re.findall(r"(?<![\w.$])[a-zA-Z_:][\w:]*(?!\w*\s*\()", bare)
    return set(names) - WORDS


def labels_in(expression: str) -> set[str]:
    """The labels that an expression matches or groups by."""
    matched = re.findall(r"[{,]\s*(\w+)\s*(?:=|!)", expression)
    grouped = re.findall(r"\b(?:by|without|on|ignoring)\s*\(([^)]*)\)", expression)
    return set(matched) | {name.strip() for group in grouped for name in group.split(",") if name.strip()}


@pytest.mark.parametrize(
    ("expression", "metrics", "labels"),
    [
        ('sum by (a, le) (rate(x_bucket{b!="c"}[5m])) / y', {"x_bucket", "y"}, {"a", "b", "le"}),
        ("histogram_quantile(0.5, sum(rate(x_bucket[$__rate_interval])))", {"x_bucket"}, set()),
        ("time() - (x > 0) > 300 and on () y == 0", {"x", "y"}, set()),
    ],
)
def test_expressions_are_read_right(expression: str, metrics: set[str], labels: set[str]) -> None:
    assert metrics_in(expression) == metrics
    assert labels_in(expression) == labels


@pytest.mark.parametrize(("place", "expression"), list(expressions()))
def test_every_metric_and_label_is_exported(place: str, expression: str, exported: Mapping[str, set[str]]) -> None:
    metrics = metrics_in(expression)
    assert metrics, f"{place} asks for nothing"
    assert metrics <= exported.keys(), place
    known = set.union(TARGET_LABELS, *(exported[name] for name in metrics))
    assert labels_in(expression) <= known, place


def test_every_panel_shows_labels_that_its_expressions_keep() -> None:
    for panel in PANELS:
        for target in panel["targets"]:
            for label in re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]):
                summed = re.search(r"sum by \(([^)]*)\)", target["expr"])
                assert summed is None or label in summed[1].replace(" ", "").split(","), panel["title"]


def test_dashboard_is_what_grafana_loads() -> None:
    assert DASHBOARD["uid"] == "ptzjepa"
    assert DASHBOARD["schemaVersion"] >= 39
    [variable] = DASHBOARD["templating"]["list"]
    assert (variable["type"], variable["query"]) == ("datasource", "prometheus")
    for panel in PANELS:
        assert panel["datasource"] == {"type": "prometheus", "uid": f"${{{variable['name']}}}"}
        assert panel["description"], f"{panel['title']} says nothing about itself"
        references = [target["refId"] for target in panel["targets"]]
        assert len(set(references)) == len(references)
    identifiers = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(identifiers)) == len(identifiers)


def test_panels_do_not_overlap() -> None:
    for one, other in itertools.combinations([panel["gridPos"] for panel in DASHBOARD["panels"]], 2):
        apart_x = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        apart_y = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert apart_x or apart_y
        assert one["x"] + one["w"] <= 24


def test_every_container_shows_whether_it_is_ready() -> None:
    asked = set().union(*(metrics_in(expression) for _, expression in expressions()))
    assert {f"ptz_{name.replace('-', '_')}_ready" for name in CONTAINERS} <= asked


def test_every_alert_says_what_to_do() -> None:
    for rule in RULES:
        assert rule["labels"]["severity"] in ("warning", "critical")
        assert {"summary", "description"} <= rule["annotations"].keys()


def test_every_alert_keeps_the_labels_that_it_speaks_of() -> None:
    for rule in RULES:
        spoken = set(re.findall(r"\$labels\.(\w+)", " ".join(rule["annotations"].values()))) - TARGET_LABELS
        for grouping in re.findall(r"sum by \(([^)]*)\)", rule["expr"]) or ([""] if "sum(" in rule["expr"] else []):
            assert spoken <= {label.strip() for label in grouping.split(",")}, rule["alert"]


def test_everything_the_sampler_measures_is_shown_somewhere(exported: Mapping[str, set[str]]) -> None:
    asked = set().union(*(metrics_in(expression) for _, expression in expressions()))
    ends = re.compile(r"_(bucket|count|sum)$")
    measured = {ends.sub("", name) for name in exported if name.startswith("ptz_camera_sampler_")}
    assert measured <= {ends.sub("", name) for name in asked}


def test_grafana_finds_what_is_mounted() -> None:
    mounts = dict(volume.split(":")[:2][::-1] for volume in compose()["services"]["grafana"]["volumes"])
    [provider] = yaml.safe_load((GRAFANA / "provisioning" / "dashboards" / "ptzjepa.yml").read_text())["providers"]
    folder = mounts[provider["options"]["path"]]
    assert (ROOT / folder / "ptzjepa.json").is_file()
    home = compose()["services"]["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert Path(home) == Path(provider["options"]["path"]) / "ptzjepa.json"
    [source] = yaml.safe_load((GRAFANA / "provisioning" / "datasources" / "prometheus.yml").read_text())["datasources"]
    assert source["url"] == "http://prometheus:9090"


def test_prometheus_finds_what_is_mounted() -> None:
    mounts = dict(volume.split(":")[:2][::-1] for volume in compose()["services"]["prometheus"]["volumes"])
    [pattern] = yaml.safe_load((OBSERVABILITY / "prometheus.yml").read_text())["rule_files"]
    assert list((ROOT / mounts[str(Path(pattern).parent)]).glob(Path(pattern).name))
