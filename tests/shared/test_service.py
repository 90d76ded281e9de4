"""The skeleton of every service, as a process: how it starts, answers and ends."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support import Process, until


def sample(directory: Path, behaviour: str = "", **settings: str) -> Process:
    settings = {"admin_port": "0", "admin_host": "127.0.0.1", **settings}
    process = Process(directory, "-m", "tests.shared.sample_service", **settings)
    process.environment["SAMPLE"] = behaviour
    return process


def events(process: Process) -> list[dict[str, Any]]:
    return [json.loads(line) for line in process.log.splitlines() if line.startswith("{")]


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_with_a_last_line(tmp_path: Path, signum: signal.Signals) -> None:
    with sample(tmp_path) as process:
        process.ready()
        process.send(signum)
        assert process.wait() == 0
    last = events(process)[-1]
    assert (last["event"], last["reason"], last["exit"], last["service"]) == ("stopped", signum.name, 0, "sample")


def test_a_second_signal_ends_it_at_once(tmp_path: Path) -> None:
    with sample(tmp_path, "stubborn") as process:
        until(lambda: httpx.get(f"{process.url}/healthz").status_code == 200)
        process.send(signal.SIGTERM)
        until(lambda: "stopping" in process.log)
        assert process.running.poll() is None
        process.send(signal.SIGTERM)
        assert process.wait() == 128 + signal.SIGTERM


def test_health_readiness_and_metrics(tmp_path: Path) -> None:
    with sample(tmp_path, "stubborn") as process:
        until(lambda: "camera" in httpx.get(f"{process.url}/readyz").text)
        ready = httpx.get(f"{process.url}/readyz")
        assert (ready.status_code, ready.json()) == (503, {"ready": False, "missing": {"camera": "looking for it"}})
        assert httpx.get(f"{process.url}/healthz").text == "ok\n"
        assert httpx.get(f"{process.url}/nowhere").status_code == 404
        metrics = httpx.get(f"{process.url}/metrics")
        assert "ptz_sample_ready 0.0" in metrics.text
        assert 'ptz_sample_missing{part="camera"} 1.0' in metrics.text
        assert "ptz_sample_turns_total 1.0" in metrics.text
        assert metrics.headers["content-type"].startswith("text/plain")


@pytest.mark.parametrize(
    ("behaviour", "line"),
    [
        ("user-error", "error: the panorama is a text file"),
        ("user-error-in-a-group", "error: no such camera"),
    ],
)
def test_wrong_input_is_one_line_and_exit_2(tmp_path: Path, behaviour: str, line: str) -> None:
    with sample(tmp_path, behaviour) as process:
        assert process.wait() == 2
    assert [text for text in process.log.splitlines() if not text.startswith("{")] == [line]
    assert events(process)[-1]["exit"] == 2


def test_a_fault_is_exit_1_with_a_traceback_and_without_secrets(tmp_path: Path) -> None:
    with sample(tmp_path, "crash") as process:
        assert process.wait() == 1
    last, failed = events(process)[-1], events(process)[-2]
    assert (last["reason"], last["exit"]) == ("RuntimeError: of length 7", 1)
    assert failed["exception"][0]["exc_type"] == "RuntimeError"
    assert "sample_service" in json.dumps(failed["exception"])
    assert '"hunter2"' not in process.log.replace("\\", ""), "local variables were logged"
    assert "'hunter2'" not in process.log


def test_one_that_has_finished_says_so(tmp_path: Path) -> None:
    with sample(tmp_path, "finishes") as process:
        assert process.wait() == 0
    assert events(process)[-1]["reason"] == "finished"


def test_a_taken_port_is_the_users_error(tmp_path: Path) -> None:
    with sample(tmp_path / "first") as first:
        port = first.url.rpartition(":")[2]
        with sample(tmp_path / "second", admin_port=port) as second:
            assert second.wait() == 2
    assert f"127.0.0.1:{port}" in second.log
    assert "Traceback" not in second.log


def test_a_wrong_setting_is_the_users_error(tmp_path: Path) -> None:
    with sample(tmp_path, camera="Not A Name") as process:
        assert process.wait() == 2
    assert process.log.startswith("error: setting PTZ_CAMERA: ")
    assert "Not A Name" not in process.log


def test_a_port_file_that_can_not_be_written_is_the_users_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    process = sample(tmp_path / "run")
    process.environment["PTZ_ADMIN_PORT_FILE"] = str(tmp_path / "file" / "port")
    with process.start():
        assert process.wait() == 2
    assert "PTZ_ADMIN_PORT_FILE" in process.log
