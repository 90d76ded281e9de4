"""Reports to Waggle on a real RabbitMQ, as on a node: what arrives, and what a broker that dies or hangs costs."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from redis import Redis

from camera_sampler import waggle
from camera_sampler.waggle import Waggle
from shared.messages import StreamName, Surprise
from shared.streams import FIELD
from shared.telemetry import Metrics
from tests.camera_sampler import rabbitmq
from tests.camera_sampler.rabbitmq import RabbitMQ
from tests.camera_sampler.test_waggle import NOW, count
from tests.conftest import RedisServer
from tests.support import Process, until

pytestmark = pytest.mark.skipif(rabbitmq.SERVER is None or rabbitmq.EPMD is None, reason=rabbitmq.MISSING)

SLOW = 60.0


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitMQ]:
    broker = RabbitMQ(tmp_path_factory.mktemp("rabbitmq"))
    try:
        broker.start()
        yield broker
    finally:
        broker.close()


@pytest.fixture
def node(server: RabbitMQ, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RabbitMQ:
    """The environment that a plugin's pod gets on a node; the broker's queue is empty."""
    variables = {
        "WAGGLE_PLUGIN_HOST": "127.0.0.1",
        "WAGGLE_PLUGIN_PORT": str(server.port),
        "WAGGLE_PLUGIN_USERNAME": "plugin",
        "WAGGLE_PLUGIN_PASSWORD": "plugin",
        "WAGGLE_APP_ID": "2f1a0c6e-0000-4000-8000-000000000000",
        "WAGGLE_PLUGIN_UPLOAD_PATH": str(tmp_path / "uploads"),
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("PYWAGGLE_LOG_DIR", raising=False)
    server.take()
    return server


def collect(node: RabbitMQ, enough: Callable[[list[Any]], bool]) -> list[Any]:
    """Take messages until there are enough of them."""
    found: list[Any] = []

    def look() -> bool:
        found.extend(message for message, _ in node.take())
        return enough(found)

    until(look, lambda: repr(found), seconds=SLOW)
    return found


def test_what_is_published_arrives_as_it_was(node: RabbitMQ, tmp_path: Path) -> None:
    metrics = Metrics("test")
    link = Waggle(metrics)
    link.start()
    link.publish("ptz.pose.pan", 12.5, NOW, {"camera": "camera-0", "units": "degrees"})
    link.publish("ptz.view.count", 3, NOW + 1, {"camera": "camera-0"})
    link.publish("ptz.surprise", float("nan"), NOW, {})
    link.publish("ptz.surprise", 0.5, NOW, {"camera": 1})  # type: ignore[dict-item]
    link.publish("ptz.surprise", 0.5, NOW, {"node": "overwritten by the node"})
    link.upload("camera-0.jpg", b"jpeg", NOW + 2, {"camera": "camera-0"})
    link.close()
    arrived = node.take()
    assert [(message.name, message.value, message.timestamp, message.meta) for message, _ in arrived[:2]] == [
        ("ptz.pose.pan", 12.5, NOW, {"camera": "camera-0", "units": "degrees"}),
        ("ptz.view.count", 3, NOW + 1, {"camera": "camera-0"}),
    ]
    upload, _ = arrived[2]
    assert len(arrived) == 3
    assert (upload.name, upload.timestamp) == ("upload", NOW + 2)
    assert upload.meta == {"camera": "camera-0", "filename": "camera-0.jpg"}
    assert (tmp_path / "uploads" / upload.value / "data").read_bytes() == b"jpeg"
    assert json.loads((tmp_path / "uploads" / upload.value / "meta").read_text())["timestamp"] == NOW + 2
    for _, properties in arrived:
        assert (properties.user_id, properties.delivery_mode) == ("plugin", 2)
        assert properties.app_id == os.environ["WAGGLE_APP_ID"]
    assert count(metrics, "dropped_total", reason="invalid") == 3.0
    assert count(metrics, "dropped_total", reason="exit") == 0.0


def test_a_wrong_password_is_no_reason_to_stall(node: RabbitMQ, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WAGGLE_PLUGIN_PASSWORD", "wrong")
    metrics = Metrics("test")
    link = Waggle(metrics)
    link.start()
    for number in range(10):
        link.publish("ptz.view.count", number, NOW, {})
    began = time.monotonic()
    link.close(seconds=1.0)
    assert time.monotonic() - began < SLOW
    assert count(metrics, "dropped_total", reason="exit") == 10.0
    assert node.take() == []


@pytest.mark.parametrize("death", [signal.SIGKILL, signal.SIGSTOP])
def test_a_broker_that_dies_or_hangs_costs_a_bounded_queue(
    node: RabbitMQ, death: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waggle, "PLUGIN_BACKLOG", 4)
    metrics = Metrics("test")
    link = Waggle(metrics, length=10)
    link.start()
    link.publish("ptz.view.count", -1, NOW, {})
    collect(node, lambda found: len(found) == 1)
    node.signal(death)
    try:
        for number in range(20_000):
            link.publish("ptz.view.count", number, NOW, {})
        if death is signal.SIGKILL:
            until(lambda: count(metrics, "queue") == 10.0, seconds=SLOW)
        assert count(metrics, "queue") <= 10.0
    finally:
        node.signal(signal.SIGCONT) if death is signal.SIGSTOP else node.start()
    # The newest survives: what was dropped is the oldest.
    after = collect(node, lambda found: any(message.value == 19_999 for message in found))
    assert all(message.name == "ptz.view.count" for message in after)
    link.publish("ptz.view.count", 20_000, NOW, {})
    link.close(seconds=SLOW)
    assert [message.value for message, _ in node.take()][-1:] == [20_000]
    assert count(metrics, "dropped_total", reason="exit") == 0.0


def sampler(node: RabbitMQ, redis: RedisServer, directory: Path) -> Process:
    # A small scene, since painting the large one takes a busy machine long.
    Image.effect_noise((256, 128), 90).convert("RGB").save(directory / "noise.png")
    return Process(
        directory / "sampler",
        "-m",
        "camera_sampler",
        redis_url=redis.url,
        admin_host="127.0.0.1",
        admin_port="0",
        panorama=str(directory / "noise.png"),
        time_scale="50",
        views_per_second="20",
        waggle="on",
        waggle_seconds="0.2",
        waggle_upload_seconds="0.2",
    )


def newest(redis: RedisServer) -> int:
    with Redis.from_url(redis.url, protocol=2) as client:
        return int(client.xlen(StreamName.views("camera-0")))


def surprise(redis: RedisServer, error: float) -> None:
    message = Surprise(
        camera="camera-0",
        view="view",
        world_model="wm_00_00",
        world_model_version=1,
        error=error,
        copy_last_error=1.0,
        predicted=1.0,
    )
    with Redis.from_url(redis.url, protocol=2) as client:
        client.xadd(StreamName.surprise("camera-0"), {FIELD: message.model_dump_json().encode()})


def test_the_sampler_reports_and_outlives_its_broker(
    node: RabbitMQ, own_redis_server: RedisServer, tmp_path: Path
) -> None:
    with sampler(node, own_redis_server, tmp_path) as process:
        process.ready()
        surprise(own_redis_server, 2.0)
        wanted = {"ptz.view.count", "ptz.camera.healthy", "ptz.pose.pan", "ptz.pose.tilt", "ptz.pose.zoom"}
        wanted |= {"ptz.surprise", "upload"}
        found = collect(node, lambda messages: wanted <= {message.name for message in messages})
        assert {message.name for message in found} == wanted
        assert all(message.meta["camera"] == "camera-0" for message in found)
        assert all(abs(message.timestamp - time.time_ns()) < 300e9 for message in found)
        by_name = {message.name: message for message in found}
        assert by_name["ptz.surprise"].value == 2.0
        assert by_name["ptz.surprise"].meta["world_model"] == "wm_00_00"
        assert by_name["ptz.camera.healthy"].value == 1
        assert by_name["ptz.pose.zoom"].meta["units"] == "magnification"
        node.signal(signal.SIGKILL)
        seen = newest(own_redis_server)
        until(lambda: newest(own_redis_server) >= seen + 20, lambda: process.log, seconds=SLOW)
        node.start()
        counts = [message.value for message in found if message.name == "ptz.view.count"]
        later = collect(
            node, lambda messages: any(m.name == "ptz.view.count" and m.value > counts[-1] + 20 for m in messages)
        )
        process.send(signal.SIGTERM)
        assert process.wait(SLOW) == 0
        later += [message for message, _ in node.take()]
        # The last report is made when the sampler stops, and arrives: it counts every view.
        last = max(message.value for message in later if message.name == "ptz.view.count")
        assert last == newest(own_redis_server)
        assert "Traceback" not in process.log


def test_the_sampler_ends_although_its_broker_hangs(
    node: RabbitMQ, own_redis_server: RedisServer, tmp_path: Path
) -> None:
    with sampler(node, own_redis_server, tmp_path) as process:
        process.ready()
        collect(node, lambda found: len(found) >= 3)
        node.signal(signal.SIGSTOP)
        try:
            seen = newest(own_redis_server)
            until(lambda: newest(own_redis_server) >= seen + 20, lambda: process.log, seconds=SLOW)
            process.send(signal.SIGTERM)
            assert process.wait(SLOW) == 0
        finally:
            node.signal(signal.SIGCONT)
