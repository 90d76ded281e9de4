"""What watches the system: rules, dashboards, and the series that they may name."""

from __future__ import annotations

import functools
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from docs.metrics_table import metrics_of, services
from tests.deployment.manifests import ROOT
from tests.deployment.promql import labels_of

OBSERVABILITY = ROOT / "observability"
GRAFANA = OBSERVABILITY / "grafana"
DASHBOARDS: dict[str, dict[str, Any]] = {
    path.stem: json.loads(path.read_text()) for path in sorted((GRAFANA / "dashboards").glob("*.json"))
}
RULES: list[dict[str, Any]] = [
    rule
    for path in sorted((OBSERVABILITY / "rules").glob("*.yml"))
    for group in yaml.safe_load(path.read_text())["groups"]
    for rule in group["rules"]
]
ALERTS = {rule["alert"]: rule for rule in RULES if "alert" in rule}
RECORDED = {rule["record"]: rule["expr"] for rule in RULES if "record" in rule}


def panels() -> Iterator[tuple[str, dict[str, Any]]]:
    """Every panel that shows something, with the dashboard it stands on."""
    for name, dashboard in DASHBOARDS.items():
        for panel in dashboard["panels"]:
            if panel["type"] != "row":
                yield name, panel


def expressions() -> list[tuple[str, str]]:
    """Every PromQL expression with the place it stands in."""
    shown = [
        (f"{name}: {panel['title']}, {target['refId']}", target["expr"])
        for name, panel in panels()
        for target in panel["targets"]
    ]
    return shown + [(rule.get("alert") or rule["record"], rule["expr"]) for rule in RULES]


@functools.cache
def exported() -> dict[str, set[str]]:
    """The labels of every series that the services export, by its name."""
    found: dict[str, set[str]] = {}
    for service in services().values():
        for metric in metrics_of(service.metrics.registry):
            for name, labels in metric.series.items():
                assert name not in found, f"{name} is exported twice"
                found[name] = labels
    return found


@functools.cache
def known() -> dict[str, set[str]]:
    """The same with what Prometheus adds: ``up``, recorded series, and its own of alerts."""
    series = exported() | {"up": set()}
    for name, expression in RECORDED.items():
        series[name] = labels_of(expression, series)
    alerts = set().union(*(labels_of(rule["expr"], series) | rule["labels"].keys() for rule in ALERTS.values()))
    return series | {"ALERTS": alerts | {"alertname", "alertstate"}}


def prometheus_tool(name: str) -> Path:
    """Return Prometheus' own program of this name, from the machine or from .venv; skip the test without it."""
    found = shutil.which(name) or shutil.which(ROOT / ".venv" / "prometheus" / "usr" / "bin" / name)
    if found is None:
        pytest.skip(f"no {name}: `make install` unpacks Debian's package of Prometheus where there is apt-get")
    return Path(found)
