"""Alert and recording rules: Prometheus takes them, and each alert goes off when it should and not otherwise."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from docs.metrics_table import services
from tests.deployment.promql import names_in
from tests.deployment.watched import ALERTS, OBSERVABILITY, RECORDED, known, prometheus_tool

RULE_FILES = sorted((OBSERVABILITY / "rules").glob("*.yml"))
TEST_FILES = sorted((OBSERVABILITY / "tests").glob("*.yml"))
FIRING = 'count by (alertname) (ALERTS{alertstate="firing"})'


@pytest.fixture(scope="module")
def promtool() -> Path:
    return prometheus_tool("promtool")


def run(promtool: Path, *arguments: str | Path, stdin: bytes = b"") -> None:
    done = subprocess.run([promtool, *arguments], input=stdin, capture_output=True, timeout=100)
    assert done.returncode == 0, (done.stdout + done.stderr).decode()


def test_prometheus_takes_the_rules(promtool: Path) -> None:
    run(promtool, "check", "rules", *RULE_FILES)


@pytest.mark.parametrize("name", ["prometheus.yml", "prometheus-tls.yml"])
def test_prometheus_takes_its_configuration(promtool: Path, name: str) -> None:
    run(promtool, "check", "config", "--syntax-only", OBSERVABILITY / name)


@pytest.mark.parametrize("path", TEST_FILES, ids=lambda path: path.stem)
def test_alerts_go_off_when_they_should(promtool: Path, path: Path) -> None:
    run(promtool, "test", "rules", path)


def test_names_of_metrics_please_prometheus(promtool: Path) -> None:
    run(promtool, "check", "metrics", stdin=b"".join(service.metrics_text() for service in services().values()))


def scenarios(path: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = yaml.safe_load(path.read_text())["tests"]
    return found


def test_every_alert_is_seen_to_go_off() -> None:
    seen: set[str] = set()
    for path in TEST_FILES:
        for scenario in scenarios(path):
            for question in scenario["promql_expr_test"]:
                assert question["expr"] == FIRING, "only all alerts together show that no other goes off"
                for sample in question["exp_samples"]:
                    seen |= set(re.findall(r'alertname="(\w+)"', sample["labels"]))
    assert seen == ALERTS.keys()


def test_every_alert_is_seen_to_stay_silent_before_it_goes_off_and_in_good_times() -> None:
    [scenario] = scenarios(OBSERVABILITY / "tests" / "healthy.yml")
    assert all(question["exp_samples"] == [] for question in scenario["promql_expr_test"])
    there = {entry["series"].split("{")[0] for entry in scenario["input_series"]}
    for name, rule in ALERTS.items():
        asked = names_in(rule["expr"], known())
        looked_at = {found for each in asked for found in (_sources(each) if each in RECORDED else {each})}
        # Of what is recorded for all processes, one is enough.
        one_of = {found for each in asked if each.startswith("process:") for found in _sources(each)}
        assert looked_at - one_of <= there, name
        assert not one_of or one_of & there, name


def _sources(recorded: str) -> set[str]:
    return names_in(RECORDED[recorded], known())
