"""A real Prometheus fetches from real services, evaluates all rules, and answers every expression of the dashboards."""

from __future__ import annotations

import contextlib
import re
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from PIL import Image

from docs.metrics_table import services
from shared.service import admin_server
from tests.conftest import RedisServer
from tests.deployment.promql import names_in
from tests.deployment.watched import OBSERVABILITY, expressions, known, prometheus_tool
from tests.support import Process

pytestmark = pytest.mark.timeout(900)  # four programs start, on a machine that may be busy

ALIVE = ("camera-sampler", "lock-broker")
"""Services that run; of the others only the page of metrics is there."""


class Prometheus:
    """One that fetches every two seconds, with our rules."""

    def __init__(self, program: Path, directory: Path, targets: dict[str, str]) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.address = f"127.0.0.1:{free.getsockname()[1]}"
        self.services = set(targets)
        jobs = [{"targets": [address], "labels": {"service": service}} for service, address in targets.items()]
        configuration = {
            "global": {"scrape_interval": "2s", "evaluation_interval": "2s"},
            "rule_files": [str(OBSERVABILITY / "rules" / "*.yml")],
            "scrape_configs": [{"job_name": "ptzjepa", "static_configs": jobs}],
        }
        file = directory / "prometheus.yml"
        file.write_text(yaml.safe_dump(configuration))
        self.client = httpx.Client(base_url=f"http://{self.address}", timeout=30.0, trust_env=False)
        self.log = directory / "log"
        command = [program, f"--config.file={file}", f"--storage.tsdb.path={directory / 'data'}"]
        command += [f"--web.listen-address={self.address}", "--log.level=warn"]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)

    def get(self, path: str, **parameters: str) -> Any:
        reply = self.client.get(f"/api/v1/{path}", params=parameters).json()
        assert reply["status"] == "success", f"{parameters}: {reply.get('error')}"
        return reply["data"]

    def ask(self, expression: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.get("query", query=as_grafana_sends(expression))["result"]
        return found

    def stop(self) -> None:
        self.client.close()
        self.process.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def as_grafana_sends(expression: str) -> str:
    return re.sub(r"\$__(rate_interval|interval|range)\b", "1m", expression).replace("$instance", ".*")


def patiently(done: Callable[[], object], explain: Callable[[], str]) -> None:
    """Wait until ``done()`` holds, asking seldom: some of those that are asked live in this very process."""
    deadline = time.monotonic() + 240.0
    while time.monotonic() < deadline:
        with contextlib.suppress(httpx.TransportError, OSError):
            if done():
                return
        time.sleep(0.3)
    raise AssertionError(f"not in time: {explain()}")


def address_of(process: Process) -> str:
    """Wait until a service is ready, for long where the machine is busy, and return its address."""
    patiently(process.port_file.is_file, lambda: process.log)
    patiently(lambda: httpx.get(f"{process.url}/readyz", timeout=30.0).is_success, lambda: process.log)
    return process.url.removeprefix("http://")


@pytest.fixture(scope="module")
def prometheus(redis_server: RedisServer) -> Iterator[Prometheus]:
    program = prometheus_tool("prometheus")
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        common = {"redis_url": redis_server.url, "admin_host": "127.0.0.1", "admin_port": "0", "node": "test"}
        panorama = directory / "noise.png"
        Image.effect_noise((256, 128), 90).convert("RGB").save(panorama)
        sampler = {"time_scale": "50", "camera": "watched", "panorama": str(panorama)}
        running = {
            "camera-sampler": Process(directory / "sampler", "-m", "camera_sampler", **common, **sampler),
            "lock-broker": Process(directory / "broker", "-m", "lock_broker", **common, broker_port="0"),
        }
        for process in running.values():
            stack.enter_context(process)
        targets = {name: address_of(process) for name, process in running.items()}
        for name, service in services().items():
            if name not in ALIVE:
                targets[name] = f"127.0.0.1:{stack.enter_context(admin_server(service))}"
        server = Prometheus(program, directory, targets)
        stack.callback(server.stop)
        patiently(lambda: server.client.get("/-/ready").is_success, server.log.read_text)
        patiently(lambda: len(server.ask("process:ptz_ready")) == len(targets), server.log.read_text)
        patiently(lambda: server.ask("rate(ptz_camera_sampler_views_total[1m]) > 0"), server.log.read_text)
        yield server


@pytest.fixture(scope="module")
def watching(prometheus: Prometheus) -> Prometheus:
    """The same once every rule has been evaluated on what it records from."""
    patiently(lambda: prometheus.ask("instance:ptz_redis_memory:ratio"), prometheus.log.read_text)
    return prometheus


def test_every_service_answers_and_those_alive_are_ready(watching: Prometheus) -> None:
    def labels(expression: str, label: str) -> set[str]:
        return {item["metric"][label] for item in watching.ask(expression)}

    patiently(lambda: labels("up == 1", "service") == watching.services, watching.log.read_text)
    alive = {name.replace("-", "_") for name in ALIVE}
    patiently(lambda: labels("process:ptz_ready == 1", "process") == alive, watching.log.read_text)


def test_rules_are_evaluated_without_a_fault(watching: Prometheus) -> None:
    rules = [rule for group in watching.get("rules")["groups"] for rule in group["rules"]]
    assert len(rules) > 40
    assert [(rule["name"], rule.get("lastError")) for rule in rules if rule["health"] == "err"] == []


def test_every_expression_is_answered(watching: Prometheus) -> None:
    for place, expression in expressions():
        try:
            watching.ask(expression)
        except AssertionError as error:
            raise AssertionError(place) from error


def test_what_lives_has_curves(watching: Prometheus) -> None:
    """Every expression that only asks of the living gives numbers, apart from those of what seldom happens."""
    prefixes = tuple(f"ptz_{name.replace('-', '_')}_" for name in ALIVE)
    living = {
        expression: place.split(": ")[1].split(",")[0]
        for place, expression in expressions()
        if place.startswith("ptzjepa") and all(name.startswith(prefixes) for name in names_in(expression, known()))
    }
    # Nobody holds a lease, no disk is watched, and nothing was refused.
    seldom = {"Who holds what", "Changes of hands", "Free disk", "Refused at the gate"}

    def silent() -> set[str]:
        return {panel for expression, panel in living.items() if not watching.ask(expression)}

    # A rate is there once two samples are, and each service's first came when it came.
    patiently(lambda: silent() <= seldom, lambda: str(silent() - seldom))
