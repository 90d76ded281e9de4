"""Reports to Waggle, with the real pywaggle: its run log, its upload directory, and a broker that never comes."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from camera_sampler import waggle
from camera_sampler.settings import SamplerSettings
from camera_sampler.waggle import BadRecord, Waggle, check_meta, check_name, check_timestamp, check_value
from shared.errors import UserError
from shared.messages import StreamName, Surprise
from shared.redis_client import RedisClients
from shared.streams import publish
from shared.telemetry import Metrics
from tests.camera_sampler.sampling import at_least, eventually, fast, metric, running, views
from tests.support import REPOSITORY, until

NOW = 1_795_000_000_000_000_000


@pytest.fixture
def no_broker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WAGGLE_PLUGIN_HOST", "127.0.0.1")
    monkeypatch.setenv("WAGGLE_PLUGIN_PORT", "1")
    monkeypatch.delenv("PYWAGGLE_LOG_DIR", raising=False)
    monkeypatch.delenv("WAGGLE_PLUGIN_UPLOAD_PATH", raising=False)


@pytest.fixture
def run_log(no_broker: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PYWAGGLE_LOG_DIR", str(tmp_path / "run-log"))
    return tmp_path / "run-log"


def lines(run_log: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run_log / "data.ndjson").read_text().splitlines()]


def count(metrics: Metrics, name: str, **labels: str) -> float:
    return metrics.registry.get_sample_value(f"ptz_test_waggle_{name}", labels) or 0.0


def assert_is_the_original(upload: dict[str, Any], originals: Path) -> None:
    """The picture is the view's own, untouched, and the sampler's file is still there."""
    (original,) = originals.glob(f"*-{upload['meta']['view']}.jpg")
    assert Path(upload["value"]).read_bytes() == original.read_bytes()


@pytest.mark.parametrize("name", ["ptz.pose.pan", "a", "x_1.y2", "a" * 128])
def test_good_names(name: str) -> None:
    assert check_name(name) == name


@pytest.mark.parametrize("name", ["", "upload", "Ptz", "ptz-pan", "ptz..pan", ".a", "a.", "a b", "a\n", "a" * 129, 7])
def test_bad_names(name: object) -> None:
    with pytest.raises(BadRecord, match="name"):
        check_name(name)


@pytest.mark.parametrize(
    "value",
    [True, None, b"x", [1], {}, float("nan"), float("inf"), np.float64(1.0), np.float32(1.0), np.int64(1), np.bool_(1)],
)
def test_bad_values(value: object) -> None:
    with pytest.raises(BadRecord, match="value"):
        check_value(value)


@pytest.mark.parametrize("timestamp", [0, 1_795_000_000, 1.795e18, np.int64(NOW), True, None, 2**63])
def test_bad_timestamps(timestamp: object) -> None:
    with pytest.raises(BadRecord, match="timestamp"):
        check_timestamp(timestamp)


@pytest.mark.parametrize("meta", [None, "x", {"pan": 1.0}, {1: "x"}, {"node": "x"}, {"filename": "x"}, {"a": None}])
def test_bad_meta(meta: object) -> None:
    with pytest.raises(BadRecord, match="meta"):
        check_meta(meta)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    name=st.one_of(st.text(max_size=12), st.from_regex(r"[a-z0-9_]{1,8}(\.[a-z0-9_]{1,8}){0,3}", fullmatch=True)),
    value=st.one_of(st.integers(), st.floats(), st.text(max_size=5), st.booleans(), st.none()),
    timestamp=st.integers(-(2**70), 2**70),
    meta=st.dictionaries(st.text(max_size=5), st.one_of(st.text(max_size=5), st.integers()), max_size=3),
)
def test_what_passes_is_what_pywaggle_takes(name: str, value: Any, timestamp: int, meta: Any) -> None:
    """Nothing that we let through does pywaggle refuse, and it is JSON."""
    from waggle.plugin.plugin import raise_for_invalid_publish_name, valid_meta

    try:
        check_name(name), check_value(value), check_timestamp(timestamp), check_meta(meta)
    except BadRecord:
        return
    raise_for_invalid_publish_name(name)
    assert isinstance(value, int | float | str)
    assert valid_meta(meta)
    json.loads(json.dumps([name, value, timestamp, meta], allow_nan=False))


def test_the_run_log_has_what_was_published_and_nothing_bad(run_log: Path) -> None:
    metrics = Metrics("test")
    link = Waggle(metrics)
    link.start()
    assert link.publish("ptz.pose.pan", 12.5, NOW, {"camera": "camera-0", "units": "degrees"})
    assert not link.publish("ptz.pose.pan", float("nan"), NOW, {})
    assert not link.publish("ptz.pose.pan", 1.0, NOW, {"pan": 1.0})  # type: ignore[dict-item]
    assert link.publish("ptz.view.count", 3, NOW, {})
    assert not link.upload("../x.jpg", b"jpeg", NOW, {})
    assert not link.upload("x.jpg", b"jpeg", NOW, {"pan": 1.0})  # type: ignore[dict-item]
    assert link.upload("camera-0.jpg", b"jpeg", NOW, {"camera": "camera-0"})
    link.close()
    found = lines(run_log)
    assert [(line["name"], line["value"]) for line in found[:2]] == [("ptz.pose.pan", 12.5), ("ptz.view.count", 3)]
    assert found[0]["meta"] == {"camera": "camera-0", "units": "degrees"}
    assert found[2]["name"] == "upload"
    assert found[2]["meta"] == {"camera": "camera-0", "filename": "camera-0.jpg"}
    assert Path(found[2]["value"]).read_bytes() == b"jpeg"
    assert count(metrics, "published_total") == 2.0
    assert count(metrics, "uploads_total") == 1.0
    assert count(metrics, "dropped_total", reason="invalid") == 4.0
    assert count(metrics, "dropped_total", reason="exit") == 0.0


def test_a_run_log_does_not_wait_for_a_broker(run_log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waggle, "PLUGIN_BACKLOG", 4)
    link = Waggle(Metrics("test"))
    link.start()
    for number in range(50):
        link.publish("ptz.view.count", number, NOW, {})
    link.close()
    assert [line["value"] for line in lines(run_log)] == list(range(50))


def test_without_a_broker_the_oldest_go_and_the_end_comes(
    no_broker: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waggle, "PLUGIN_BACKLOG", 4)
    metrics = Metrics("test")
    link = Waggle(metrics, length=10)
    link.start()
    for number in range(100):
        link.publish("ptz.view.count", number, NOW, {})
    until(lambda: count(metrics, "published_total") == 4.0)
    for number in range(100):
        link.publish("ptz.view.count", number, NOW, {})
    assert count(metrics, "queue") == 10.0
    began = time.monotonic()
    link.close(seconds=0.5)
    assert time.monotonic() - began < 30.0
    assert count(metrics, "dropped_total", reason="full") == 200.0 - 4.0 - 10.0
    assert count(metrics, "dropped_total", reason="exit") == 14.0


def test_on_a_node_the_upload_is_staged_whole(no_broker: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WAGGLE_PLUGIN_UPLOAD_PATH", str(tmp_path / "uploads"))
    metrics = Metrics("test")
    link = Waggle(metrics)
    link.start()
    link.upload("camera-0.jpg", b"jpeg", NOW, {"camera": "camera-0"})
    link.close(seconds=0.5)
    (staged,) = (tmp_path / "uploads").iterdir()
    assert (staged / "data").read_bytes() == b"jpeg"
    labels = json.loads((staged / "meta").read_text())["labels"]
    assert labels == {"camera": "camera-0", "filename": "camera-0.jpg"}


def test_a_place_that_cannot_be_is_the_users_error(
    no_broker: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("PYWAGGLE_LOG_DIR", str(tmp_path / "file"))
    with pytest.raises(UserError, match="PYWAGGLE_LOG_DIR"):
        Waggle(Metrics("test")).start()


async def test_the_sampler_reports(
    run_log: Path, clients: RedisClients, sampler_settings: SamplerSettings, tmp_path: Path
) -> None:
    settings = fast(
        sampler_settings.redis_url,
        waggle="on",
        waggle_seconds=0.2,
        waggle_upload_seconds=0.2,
        keep_originals=tmp_path / "originals",
    )
    async with running(settings, clients) as sampler:
        await at_least(clients, 5)
        surprise = {"camera": "camera-0", "view": "v", "world_model": "wm_00_00", "world_model_version": 1}
        for error in (1.0, 3.0):
            message = Surprise.model_validate({**surprise, "error": error, "copy_last_error": 1.0, "predicted": 1.0})
            await publish(clients.commands, StreamName.surprise("camera-0"), message, max_length=64)

        async def reported() -> bool:
            return {"ptz.surprise", "upload", "ptz.view.count"} <= {line["name"] for line in lines(run_log)}

        await eventually(reported)
    found = lines(run_log)
    by_name = {line["name"]: line for line in found}
    taken = metric(sampler, "views_total", policy="random-walk")
    assert by_name["ptz.view.count"]["value"] == taken
    assert by_name["ptz.camera.healthy"]["value"] == 1
    assert sum(line["value"] * int(line["meta"]["views"]) for line in found if line["name"] == "ptz.surprise") == 4.0
    last = (await views(clients))[-1].message
    for axis, value in zip(("pan", "tilt", "zoom"), last.pose.as_tuple(), strict=True):
        line = by_name[f"ptz.pose.{axis}"]
        assert line["value"] == pytest.approx(value)
        assert line["meta"] == {"camera": "camera-0", "units": "magnification" if axis == "zoom" else "degrees"}
    assert_is_the_original(by_name["upload"], tmp_path / "originals")


def test_pywaggle_is_loaded_only_on_request() -> None:
    code = "import sys, camera_sampler.service; sys.exit('pika' in sys.modules or 'waggle' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, check=False).returncode == 0
