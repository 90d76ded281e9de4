"""Several services in one container: chosen by name, behind one port, started again when they end."""

from __future__ import annotations

import signal
import socket
from pathlib import Path

import httpx
import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families

from ptzjepa.node.service import Node
from ptzjepa.node.settings import NodeSettings
from ptzjepa.services import BROKER_URL, REDIS_URL, START_ORDER
from shared.errors import UserError
from tests.support import Process, until

SERVICES = "redis,lock-broker,camera-sampler"


@pytest.fixture(autouse=True)
def _in_nobody_s_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(REDIS_URL, raising=False)
    monkeypatch.delenv(BROKER_URL, raising=False)


def free_port() -> str:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return str(listener.getsockname()[1])


def node(directory: Path, services: str = SERVICES, **settings: str) -> Process:
    return Process(
        directory,
        "-m",
        "ptzjepa.node",
        node_services=services,
        admin_host="127.0.0.1",
        admin_port="0",
        **{"spool": str(directory / "spool"), **settings},
    )


def figures(process: Process) -> dict[str, float]:
    families = text_string_to_metric_families(httpx.get(f"{process.url}/metrics", timeout=30.0).text)
    return {
        sample.name + "".join(sample.labels.values()): sample.value for family in families for sample in family.samples
    }


def test_services_run_behind_one_port_and_a_killed_one_is_started_again(short_dir: Path) -> None:
    process = node(short_dir, redis_directory=str(short_dir / "redis"), broker_port=free_port(), time_scale="20")
    with process:
        process.ready()
        until(lambda: figures(process)["ptz_camera_sampler_ready"] == 1.0, lambda: process.log)
        found = figures(process)
        assert found["ptz_lock_broker_ready"] == 1.0
        assert [found[f"ptz_node_child_up{name}"] for name in SERVICES.split(",")] == [1.0, 1.0, 1.0]
        children = psutil.Process(process.running.pid).children()
        [sampler] = [child for child in children if "camera_sampler" in child.cmdline()]
        sampler.kill()
        until(lambda: figures(process)["ptz_node_child_restarts_totalcamera-sampler"] == 1.0, lambda: process.log)
        process.ready()
        process.send(signal.SIGTERM)
        assert process.wait() == 0
    stops = [line.split('"service": "')[1].split('"')[0] for line in process.log.splitlines() if '"stopped"' in line]
    assert stops == ["camera-sampler", "lock-broker", "node"], "who asks before who answers"
    assert "Valkey is now ready to exit" in process.log or "Redis is now ready to exit" in process.log


def test_a_service_whose_settings_are_wrong_ends_the_container_with_its_reason(short_dir: Path) -> None:
    services = "camera-sampler"
    with node(
        short_dir, services, redis_url="redis://127.0.0.1:1/0", camera_kind="axis", camera_url="ftp://x"
    ) as wrong:
        assert wrong.wait() == 2
    assert "the camera-sampler cannot work with these settings" in wrong.log.splitlines()[-1]
    assert "PTZ_CAMERA_URL" in wrong.log


def test_services_beside_a_blade_s_leave_its_redis_and_broker_where_they_are() -> None:
    settings = NodeSettings.from_environment(
        node_services="camera-sampler, rl-agent", redis_url="redis://blade:6379/0", broker_url="http://blade:8700"
    )
    missing = Node(settings).not_ready
    assert missing.keys() == {"start", "camera-sampler", "rl-agent"}


def test_everything_runs_unless_told_otherwise(tmp_path: Path) -> None:
    assert NodeSettings.from_environment().chosen == START_ORDER
    assert Node(NodeSettings.from_environment(redis_directory=tmp_path)).not_ready.keys() == {"start", *START_ORDER}


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"node_services": "camera-sampler,trainer"}, "not 'trainer'"),
        ({"node_services": " , "}, "not 'nothing'"),
        ({"redis_url": "redis://blade:6379/0"}, "starts a redis here and PTZ_REDIS_URL names another"),
        ({"broker_url": "http://blade:8700"}, "starts a lock-broker here and PTZ_BROKER_URL names another"),
    ],
)
def test_what_does_not_fit_together_is_refused(settings: dict[str, str], says: str) -> None:
    with pytest.raises(UserError, match=says):
        NodeSettings.from_environment(**settings)
