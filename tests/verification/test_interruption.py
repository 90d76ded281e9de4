"""Ctrl-C of ``ptzjepa verify leases``, as in a terminal: it ends soon, says so, and leaves no process behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.support import REPOSITORY, until


@pytest.fixture
def trial(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    said = (tmp_path / "said").open("wb")
    process = subprocess.Popen(
        [sys.executable, "-m", "ptzjepa", "verify", "leases", "--json", str(tmp_path / "result.json")],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        stdout=said,
        stderr=said,
    )
    with said:
        yield process
    process.kill()
    process.wait()


def children(trial: subprocess.Popen[bytes]) -> list[psutil.Process]:
    return psutil.Process(trial.pid).children(recursive=True)


def interrupt(trial: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """Interrupt it; returns those of its children that outlived it."""
    started = children(trial)
    trial.send_signal(signal.SIGINT)
    assert trial.wait(180) == 130
    _, alive = psutil.wait_procs(started, timeout=10)
    return alive


def test_before_it_has_begun(trial: subprocess.Popen[bytes], tmp_path: Path) -> None:
    until(lambda: children(trial))
    assert interrupt(trial) == []
    assert (tmp_path / "said").read_text().split() == ["stopped"]
    assert not (tmp_path / "result.json").exists()


def test_in_the_midst_of_it(trial: subprocess.Popen[bytes], tmp_path: Path) -> None:
    said = tmp_path / "said"
    until(lambda: " operations (" in said.read_text(), said.read_text, seconds=60)
    assert len(children(trial)) >= 2
    assert interrupt(trial) == []
    assert "Traceback" not in said.read_text()
    assert said.read_text().splitlines()[-1] == "stopped"
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["interrupted"]
    assert 0 < result["operations"] < result["operations_asked"]
    assert result["violations"] == []
