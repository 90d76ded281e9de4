"""The whole system, as a newcomer runs it, while its processes are killed one after the other."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from ptzjepa.services import START_ORDER

pytestmark = [pytest.mark.demo, pytest.mark.timeout(300)]

ROOT = Path(__file__).resolve().parents[2]
MARKS = {
    "redis": "unixsocket",
    "lock-broker": "lock_broker",
    "camera-sampler": "camera_sampler",
    "world-model-trainer": "world_model_trainer",
    "dream-generator": "dreamer_agent dream",
    "rl-agent": "dreamer_agent agent",
}
"""Words in a service's command line."""


class Demo:
    """A ``ptzjepa`` process whose output is read from a file while it runs."""

    def __init__(self, folder: Path, *arguments: str, **settings: str) -> None:
        self.out, self.output = folder / "run", folder / "output.txt"
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PTZ_")}
        with self.output.open("w") as file:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "ptzjepa", *arguments, "--out", str(self.out)],
                stdout=file,
                stderr=subprocess.STDOUT,
                cwd=ROOT,
                env={**environment, **settings, "PYTHONUNBUFFERED": "1"},
            )

    def said(self) -> str:
        return self.output.read_text()

    def wait_for(self, what: Callable[[], bool], seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            assert self.process.poll() is None, self.said()
            if what():
                return True
            time.sleep(0.2)
        return False

    def service(self, name: str) -> psutil.Process | None:
        for child in psutil.Process(self.process.pid).children():
            try:
                if MARKS[name] in " ".join(child.cmdline()):
                    return child
            except psutil.Error:
                continue
        return None

    def kill_service(self, name: str) -> None:
        assert self.wait_for(lambda: self.service(name) is not None, 20), f"{name} does not run"
        service = self.service(name)
        assert service is not None
        service.kill()

    def summary(self) -> dict[str, object]:
        summary: dict[str, object] = json.loads((self.out / "summary.json").read_text())
        return summary


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Demo]]:
    demos: list[Demo] = []

    def begin(*arguments: str, **settings: str) -> Demo:
        demos.append(Demo(tmp_path, *arguments, **settings))
        return demos[-1]

    yield begin
    for demo in demos:
        if demo.process.poll() is None:
            demo.process.kill()  # the services die with it
            demo.process.wait()


def services_of(demo: Demo) -> list[psutil.Process]:
    return psutil.Process(demo.process.pid).children(recursive=True)


def test_every_service_may_be_killed_once(start: Callable[..., Demo]) -> None:
    demo = start("demo", "--minutes", "0.75", "--seed", "1")
    assert demo.wait_for(lambda: "time 0:4" in demo.said(), 90), demo.said()
    for name in ("camera-sampler", "redis", "lock-broker", "dream-generator", "world-model-trainer"):
        demo.kill_service(name)
        time.sleep(1.5)
    # The agent last: either it steers, or there is hardly time left to start again.
    demo.wait_for(lambda: "steering agent" in demo.said() or "time 0:05" in demo.said(), 60)
    demo.kill_service("rl-agent")
    code = demo.process.wait(timeout=120)
    text = demo.said()
    assert code == 0, text
    assert "Traceback" not in text
    summary = demo.summary()
    assert summary["ok"] is True
    services = summary["services"]
    assert isinstance(services, dict)
    assert set(services) == set(START_ORDER)
    for name, service in services.items():
        assert service["restarts"] >= 1, f"{name} was killed: {services}"
        assert service["exit"] == 0, f"{name}: {services}"
    report = (demo.out / "report.html").read_text()
    assert "The run is ok" in report
    assert "data:image/jpeg" in report


def test_ctrl_c_stops_in_order_and_still_writes_both(start: Callable[..., Demo]) -> None:
    demo = start("demo", "--minutes", "5")
    assert demo.wait_for(lambda: "time 4:5" in demo.said(), 90), demo.said()
    children = services_of(demo)
    assert len(children) >= len(START_ORDER)
    demo.process.send_signal(signal.SIGINT)
    assert demo.process.wait(timeout=60) == 130, demo.said()
    summary = demo.summary()
    assert summary["interrupted"] is True
    assert {name: service["exit"] for name, service in summary["services"].items()} == dict.fromkeys(START_ORDER, 0)  # type: ignore[attr-defined]
    assert (demo.out / "report.html").exists()
    assert not [child for child in children if child.is_running()]


def test_ctrl_c_during_the_start(start: Callable[..., Demo]) -> None:
    demo = start("up")
    assert demo.wait_for(lambda: "redis is up" in demo.said(), 60), demo.said()
    children = services_of(demo)
    demo.process.send_signal(signal.SIGINT)
    demo.process.wait(timeout=60)
    assert "Traceback" not in demo.said()
    assert demo.summary()["interrupted"] is True
    assert not [child for child in children if child.is_running()]


def test_up_goes_on_from_what_it_had_learnt(start: Callable[..., Demo]) -> None:
    def trainer_said(words: str) -> bool:
        log = demo.out / "logs" / "world-model-trainer.log"
        return log.exists() and words in log.read_text()

    demo = start("up", PTZ_COMMIT_SECONDS="2")
    assert demo.wait_for(lambda: trainer_said("checkpoint committed"), 90), demo.said()
    demo.process.send_signal(signal.SIGINT)
    assert demo.process.wait(timeout=60) == 0, demo.said()
    before = demo.summary()["world_model"]
    former = (demo.out / "logs" / "world-model-trainer.log").read_text().count("checkpoint committed")
    demo = start("up", PTZ_COMMIT_SECONDS="2")
    assert demo.wait_for(lambda: trainer_said("training state loaded"), 60), demo.said()
    again = demo.out / "logs" / "world-model-trainer.log"
    assert demo.wait_for(lambda: again.read_text().count("checkpoint committed") > former, 60), demo.said()
    assert "going on from its state" in demo.said()
    demo.process.send_signal(signal.SIGINT)
    assert demo.process.wait(timeout=60) == 0, demo.said()
    after = demo.summary()["world_model"]
    assert isinstance(before, dict)
    assert isinstance(after, dict)
    assert after["checkpoints"] > before["checkpoints"]
    assert after["training_steps"] > before["training_steps"]


def test_killing_the_parent_leaves_no_service_behind(start: Callable[..., Demo]) -> None:
    demo = start("up")
    assert demo.wait_for(lambda: "lock-broker is up" in demo.said(), 60), demo.said()
    children = services_of(demo)
    demo.process.kill()
    demo.process.wait()
    gone, alive = psutil.wait_procs(children, timeout=10)
    assert gone
    assert not alive
