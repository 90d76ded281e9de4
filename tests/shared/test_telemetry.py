from __future__ import annotations

import json
from pathlib import Path

import pytest
import structlog

from shared.settings import ServiceSettings
from shared.telemetry import Metrics, configure_logging, redact_text


def logged(capsys: pytest.CaptureFixture[str]) -> dict[str, object]:
    line: dict[str, object] = json.loads(capsys.readouterr().err.splitlines()[-1])
    return line


def test_lines_are_json_with_service_and_node(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(ServiceSettings(node="blade", log_format="json"), "sample")
    structlog.get_logger().info("started", views=3)
    line = logged(capsys)
    assert (line["event"], line["views"], line["service"], line["node"]) == ("started", 3, "sample", "blade")


def test_what_sounds_like_a_credential_is_blanked(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(ServiceSettings(log_format="json"), "sample")
    structlog.get_logger().info(
        "asked",
        Password="hunter2",
        broker_token="hunter2",
        fencing_token=17,
        nested={"authorization": "Bearer hunter2", "deep": [{"api_secret": "hunter2"}]},
        url="rtsp://admin:hunter2@camera/stream",
        reason="cannot open http://u:hunter2@h/x and redis://:hun/ter2@h",
    )
    line = logged(capsys)
    assert line["fencing_token"] == 17
    assert "hunter2" not in json.dumps(line)
    assert "ter2" not in json.dumps(line)
    assert line["url"] == "rtsp://***@camera/stream"


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_tracebacks_show_no_locals(capsys: pytest.CaptureFixture[str], log_format: str) -> None:
    configure_logging(ServiceSettings(log_format=log_format), "sample")  # type: ignore[arg-type]
    # A name that sounds harmless, so that only the missing locals keep it out.
    word = "".join(("hun", "ter2"))
    try:
        raise RuntimeError(f"{len(word)} at http://u:{word}@h/")
    except RuntimeError:
        structlog.get_logger().exception("failed")
    text = capsys.readouterr().err
    assert "RuntimeError" in text
    assert "test_telemetry.py" in text
    assert word not in text


def test_levels(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(ServiceSettings(log_level="warning", log_format="json"), "sample")
    structlog.get_logger().info("quiet")
    assert capsys.readouterr().err == ""


def test_text_without_credentials_stays() -> None:
    for text in ("see https://host/path?x=1", "mail someone@example.org", "a:b@c"):
        assert redact_text(text) == text


def test_metrics_have_the_services_name_and_their_own_registry() -> None:
    first, second = Metrics("lock-broker"), Metrics("lock-broker")
    first.counter("grants", "Grants").inc()
    second.counter("grants", "Grants")
    assert first.registry.get_sample_value("ptz_lock_broker_grants_total") == 1
    assert second.registry.get_sample_value("ptz_lock_broker_grants_total") == 0


def test_rows_come_and_go_together() -> None:
    metrics = Metrics("lock-broker")
    holders = metrics.rows("lease_fencing_token", "Tokens", ("resource", "holder"))
    value = metrics.registry.get_sample_value
    holders.replace([(("camera/a", "one"), 1.0), (("camera/b", "two"), 7.0)])
    assert value("ptz_lock_broker_lease_fencing_token", {"resource": "camera/b", "holder": "two"}) == 7.0
    holders.replace([(("camera/b", "one"), 8.0)])
    assert value("ptz_lock_broker_lease_fencing_token", {"resource": "camera/b", "holder": "two"}) is None
    assert value("ptz_lock_broker_lease_fencing_token", {"resource": "camera/b", "holder": "one"}) == 8.0


def test_the_process_and_its_disks_are_measured(tmp_path: Path) -> None:
    metrics = Metrics("camera-sampler")
    metrics.disks({"spool": tmp_path / "not" / "there yet", "track": None})
    value = metrics.registry.get_sample_value
    assert (value("ptz_camera_sampler_process_resident_memory_bytes") or 0.0) > 1e6
    free = value("ptz_camera_sampler_disk_free_bytes", {"directory": "spool"})
    assert free is not None
    assert 0.0 < free <= (value("ptz_camera_sampler_disk_size_bytes", {"directory": "spool"}) or 0.0)
    assert value("ptz_camera_sampler_disk_free_bytes", {"directory": "track"}) is None
