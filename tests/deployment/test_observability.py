"""Dashboards and alert rules: well-formed, and every series and label in them is exported by some service."""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from docs import metrics_table
from observability.dashboards import files
from tests.deployment.manifests import CONTAINERS, ROOT, compose
from tests.deployment.promql import TARGET_LABELS, labels_of, names_in
from tests.deployment.watched import (
    ALERTS,
    DASHBOARDS,
    GRAFANA,
    OBSERVABILITY,
    exported,
    expressions,
    known,
    panels,
)

METRICS = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
OPERATIONS = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
ENDING = re.compile(r"_(bucket|count|sum)$")


@pytest.mark.parametrize(
    ("expression", "gives", "names"),
    [
        ('sum by (a) (rate(x_total{b!="c"}[$__rate_interval])) / on (a) y', {"a"}, {"x_total", "y"}),
        ("histogram_quantile(0.5, sum by (le, a) (rate(z_bucket[5m])))", {"a"}, {"z_bucket"}),
        ("time() - (x_total > 0) > 300 and on () y == 0", {"a", "b", *TARGET_LABELS}, {"x_total", "y"}),
        ('label_replace({__name__=~"x_.+"}, "d", "$1", "a", "(.+)")', {"a", "b", "d", *TARGET_LABELS}, {"x_total"}),
        ("sum(y) or max by (instance) (x_total)", {"instance"}, {"x_total", "y"}),
    ],
)
def test_expressions_are_read_right(expression: str, gives: set[str], names: set[str]) -> None:
    series = {"x_total": {"a", "b"}, "y": {"a"}, "z_bucket": {"a", "le"}}
    assert labels_of(expression, series) == gives
    assert names_in(expression, series) == names


@pytest.mark.parametrize(
    "wrong",
    ["w", 'y{b="c"}', "sum by (b) (y)", "x_total / on (b) y", '{__name__=~"q.*"}', "histogram_quantile(0.5, y)"],
)
def test_what_nobody_exports_is_found(wrong: str) -> None:
    with pytest.raises(AssertionError):
        labels_of(wrong, {"x_total": {"a", "b"}, "y": {"a"}})


@pytest.mark.parametrize(("place", "expression"), expressions())
def test_every_series_and_label_is_exported(place: str, expression: str) -> None:
    assert names_in(expression, known()), f"{place} asks for nothing"


def test_every_panel_shows_labels_that_its_expressions_keep() -> None:
    for place, panel in panels():
        for target in panel["targets"]:
            spoken = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
            assert spoken <= labels_of(target["expr"], known()), f"{place}: {panel['title']}"


def test_every_alert_keeps_the_labels_that_it_speaks_of() -> None:
    for name, rule in ALERTS.items():
        spoken = set(re.findall(r"\$labels\.(\w+)", " ".join(rule["annotations"].values())))
        assert spoken <= labels_of(rule["expr"], known()), name


def test_everything_that_is_measured_is_shown_somewhere() -> None:
    asked = set().union(*(names_in(expression, known()) for _, expression in expressions()))
    shown = {ENDING.sub("", name) for name in asked}
    # Of a process itself there is more than anybody asks for every day.
    measured = {ENDING.sub("", name) for name in exported() if "_process_" not in name}
    assert measured <= shown


def test_names_follow_prometheus_practice() -> None:
    units = re.compile(r"_(seconds|bytes|ratio|degrees)(_total|_bucket|_count|_sum)?$")
    for name, labels in exported().items():
        assert re.fullmatch(r"ptz_[a-z][a-z0-9_]*", name)
        assert not re.search(r"_(ms|milliseconds|minutes|hours|mib|kb|percent)(_|$)", name), f"{name}: base units"
        if name.endswith(("_bucket", "_sum")):
            assert units.search(name), f"{name}: a histogram tells its unit"
        assert not labels & {"token", "user", "path", "id", "view", "request_id", "lease_id"}, name


def test_every_container_shows_whether_it_is_ready() -> None:
    asked = names_in('process:ptz_ready or {__name__=~"ptz_.+_ready"}', known())
    assert {f"ptz_{name.replace('-', '_')}_ready" for name in CONTAINERS} <= asked


def test_table_of_metrics_is_current() -> None:
    assert metrics_table.current(METRICS) == METRICS, "run `make docs`"


def test_every_metric_that_the_page_names_exists() -> None:
    names = set(re.findall(r"\bptz_[a-z_]+", METRICS.split("<!-- generated")[0]))
    assert names
    described = {ENDING.sub("", name) for name in exported()}
    assert names <= described


def test_dashboards_are_current() -> None:
    assert {path.stem for path in files()} == DASHBOARDS.keys(), "run `make docs`"
    for path, text in files().items():
        assert path.read_text(encoding="utf-8") == text, "run `make docs`"


@pytest.mark.parametrize("name", list(DASHBOARDS))
def test_dashboard_is_what_grafana_loads(name: str) -> None:
    dashboard = DASHBOARDS[name]
    assert dashboard["uid"] == name
    assert len(name) <= 40
    assert dashboard["schemaVersion"] >= 39
    first, *rest = dashboard["templating"]["list"]
    assert (first["type"], first["query"]) == ("datasource", "prometheus")
    for variable in rest:
        match = re.fullmatch(r"label_values\((\w+), (\w+)\)", variable["query"])
        assert match is not None
        assert match[2] in labels_of(match[1], known())
        assert f"${variable['name']}" in str(dashboard["panels"])
    identifiers = [panel["id"] for panel in dashboard["panels"]]
    assert len(set(identifiers)) == len(identifiers)
    titles = [panel["title"] for panel in dashboard["panels"] if panel["type"] != "row"]
    assert len(set(titles)) == len(titles)


def test_panels_tell_what_they_show() -> None:
    for place, panel in panels():
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        assert panel["description"], f"{place}: {panel['title']} says nothing about itself"
        assert panel["fieldConfig"]["defaults"]["unit"]
        references = [target["refId"] for target in panel["targets"]]
        assert references
        assert len(set(references)) == len(references)
        colours = panel["fieldConfig"]["defaults"]["thresholds"]["steps"]
        assert colours[0]["value"] is None
        assert [step["value"] for step in colours[1:]] == sorted(step["value"] for step in colours[1:])


@pytest.mark.parametrize("name", list(DASHBOARDS))
def test_panels_do_not_overlap(name: str) -> None:
    for one, other in itertools.combinations([panel["gridPos"] for panel in DASHBOARDS[name]["panels"]], 2):
        apart_x = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        apart_y = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert apart_x or apart_y
        assert one["x"] + one["w"] <= 24


def test_every_alert_says_what_to_do() -> None:
    page = "https://github.com/waggle-sensor/ptzjepa/blob/main/docs/operations.md"
    for name, rule in ALERTS.items():
        assert rule["labels"]["severity"] in ("warning", "critical")
        assert {"summary", "description", "runbook_url"} == rule["annotations"].keys()
        assert rule["annotations"]["runbook_url"] == f"{page}#{name.lower()}"


def test_every_alert_has_its_heading_in_the_runbook_and_the_other_way_round() -> None:
    section = OPERATIONS.split("\n## Alerts\n")[1].split("\n## ")[0]
    entries = dict(re.findall(r"\n### (\w+)\n(.*?)(?=\n### |\Z)", section, flags=re.DOTALL))
    assert entries.keys() == ALERTS.keys()
    for name, text in entries.items():
        assert re.findall(r"^\* \*\*(\w+):\*\*", text, flags=re.MULTILINE) == ["Means", "Look", "Do"], name


def test_the_runbook_names_panels_and_dashboards_that_exist() -> None:
    section = OPERATIONS.split("\n## Alerts\n")[1].split("\n## ")[0].replace("\n  ", " ")
    titles = {panel["title"] for _, panel in panels()}
    names = {dashboard["title"].removeprefix("PTZJEPA: ") for dashboard in DASHBOARDS.values()}
    quoted = set(re.findall(r'"([A-Z][^"]*)"', section))
    assert quoted
    assert quoted <= titles | names


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
    mounts: dict[str, Any] = dict(
        volume.split(":")[:2][::-1] for volume in compose()["services"]["prometheus"]["volumes"]
    )
    [pattern] = yaml.safe_load((OBSERVABILITY / "prometheus.yml").read_text())["rule_files"]
    assert list((ROOT / mounts[str(Path(pattern).parent)]).glob(Path(pattern).name))


def test_targets_have_the_job_that_rules_and_dashboards_ask_for() -> None:
    asked = {job for _, expression in expressions() for job in re.findall(r'up\{job="(\w+)"\}', expression)}
    for name in ("prometheus.yml", "prometheus-tls.yml"):
        jobs = yaml.safe_load((OBSERVABILITY / name).read_text())["scrape_configs"]
        assert asked == {"ptzjepa"} <= {job["job_name"] for job in jobs}
    monitor = yaml.safe_load((ROOT / "k8s" / "components" / "service-monitor" / "service-monitor.yaml").read_text())[
        "spec"
    ]
    assert monitor["selector"]["matchLabels"][monitor["jobLabel"]] == "ptzjepa"
